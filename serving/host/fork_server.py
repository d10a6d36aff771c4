"""A process that has imported what others need, and forks them; `python -m serving.host.entry` runs it.

Law: it has one thread, so what it forks is whole; and it learns no secret, for what a new process is told
comes to that process itself, after the fork. Who started this one becomes the parent of each, as their
subreaper (prctl(2)), so they live on when this one ends.

It is asked by packets on a socket: `fork`, with descriptors (SCM_RIGHTS, unix(7)), of which the first is a
socket that brings the `Job` and the others are for the process. It answers with one packet each, `pid N` or
`error REASON`. Before the first it says `ready`, or `unfit REASON` where it cannot do this.
"""

import fcntl
import gc
import json
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from serving.host import entry
from serving.host.process import die_with_parent
from serving.host.process_title import show_as

FORK, READY, UNFIT, PID, ERROR = b"fork", b"ready", b"unfit", b"pid", b"error"
MOST_BYTES = 1024
"""Of a packet."""
MOST_DESCRIPTORS = 253
"""Of a packet: the kernel's SCM_MAX_FD."""


class Job(NamedTuple):
    """What a forked process is told, as JSON until the end of its socket.

    Args:
        parent: the process that it ends with.
        arguments: a module, whose `main()` it runs, and what that finds behind it in `sys.argv`.
        environment: all of its environment.
        descriptors: numbers at which it finds what it inherits, in the order in which they were sent.
    """

    parent: int
    arguments: list[str]
    environment: dict[str, str]
    descriptors: list[int]

    def encode(self) -> bytes:
        """For the socket."""
        return json.dumps(self._asdict()).encode()  # orjson refuses bytes that are no UTF-8


def main() -> None:
    """Import what is named behind the number of the socket, with commas; fork until that is closed."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    before = dict(os.environ)
    for name in sys.argv[2].split(","):
        entry.served(name)
    by_imports = {name: value for name, value in os.environ.items() if before.get(name) != value}
    if (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        channel.send(b"%s imports started %d threads" % (UNFIT, threads - 1))
        return
    gc.disable()  # until it is forked: a collection writes to pages that all of them share
    channel.send(READY)
    if (found := _forked(channel)) is None:
        return
    told, *inherited = found
    job = _job(told)
    _end_with(job.parent)
    _place(inherited, job.descriptors)
    os.environ.clear()
    os.environ.update(by_imports | job.environment)
    sys.argv = [entry.__name__, *job.arguments]
    show_as([sys.executable, "-m", *sys.argv], job.environment)
    gc.enable()
    entry.main()


def _forked(channel: socket.socket) -> list[int] | None:
    """Fork whenever asked to.

    Returns:
        In each process that was forked the descriptors that came with the question; in this one None, when
        nobody is left to ask.
    """
    with channel:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(channel, MOST_BYTES, MOST_DESCRIPTORS)
            if packet != FORK or not descriptors:
                return None
            try:
                pid = _fork_for_parent()
            except OSError as error:
                answer = b"%s %s" % (ERROR, str(error).encode())
            else:
                if pid == 0:
                    return descriptors
                answer = b"%s %d" % (PID, pid)
            for descriptor in descriptors:
                os.close(descriptor)
            with suppress(BrokenPipeError):  # the next look finds that nobody is there
                channel.send(answer)


def _fork_for_parent() -> int:
    """Fork a process that is its subreaper's child, not ours, by the time that this returns.

    Returns:
        Its process id; 0 in that process.

    Raises:
        OSError: there can be no more processes.
    """
    read, write = os.pipe()
    try:
        between = os.fork()
        if between == 0 and _fork_and_leave(write):
            return 0
        os.waitpid(between, 0)
        os.set_blocking(read, False)
        return int(os.read(read, 20))
    finally:
        os.close(read)
        os.close(write)


def _fork_and_leave(write: int) -> bool:
    """Fork; only the new process goes on, whose id is written there."""
    try:
        pid = os.fork()
        if pid == 0:
            return True
        os.write(write, b"%d" % pid)
        os._exit(0)
    except OSError:
        os._exit(1)


def _job(told: int) -> Job:
    """Wait for it; a process that is told none is not wanted any more."""
    with socket.socket(fileno=told) as source:
        received = b"".join(iter(lambda: source.recv(1 << 16), b""))
    try:
        return Job(**json.loads(received))
    except (ValueError, TypeError):
        os._exit(1)


def _end_with(parent: int) -> None:
    die_with_parent()
    if os.getppid() != parent:  # it has ended before that
        os._exit(1)


def _place(found: Sequence[int], numbers: Sequence[int]) -> None:
    """Have descriptors at these numbers, and but for the standard ones no others."""
    above = max([2, *numbers, *found]) + 1
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above) for descriptor in found]
    for descriptor, number in zip(aside, numbers, strict=True):
        os.dup2(descriptor, number, inheritable=False)
    kept = {0, 1, 2, *numbers}
    for descriptor in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - kept:
        with suppress(OSError):  # the one of the listing itself
            os.close(descriptor)
