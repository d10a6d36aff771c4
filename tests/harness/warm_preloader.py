"""The preloader of a supervisor that was forked (`harness.warm_server`) is forked too, with all imports made.

It is forked before the supervisor runs, and waits to be told its job, as `serving.host.fork_server` is by a
preloader; a supervisor that starts another one starts a fresh Python. Nothing else of the product is changed.
"""

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from serving.host import entry
from serving.host.fork_server import MOST_DESCRIPTORS, Job, _place
from serving.host.process_title import show_as
from understudy.supervision import preloader
from understudy.supervision.processes import Forked, Process, Start, executed

LONGEST_BYTES = 1 << 17
"""Of a job: its environment is that of the test."""


def fork_preloader() -> None:
    """Fork it from this process, which is going to be a supervisor; returns only there."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if pid := os.fork():
        theirs.close()
        preloader.executed = _first(pid, ours)
        return
    ours.close()
    _wait_and_run(theirs)


def _first(pid: int, channel: socket.socket) -> Start:
    """`executed`, but for the first that is begun so: that is told to the process which waits for it."""

    async def begun(
        arguments: Sequence[str], environment: Mapping[str, str], inherit: Sequence[int]
    ) -> Process:
        if channel.fileno() < 0:
            return await executed(arguments, environment, inherit)
        with channel:
            job = Job(os.getpid(), list(arguments), dict(environment), list(inherit))
            socket.send_fds(channel, [job.encode()], job.descriptors)
        return Forked(pid)

    return begun


def _wait_and_run(channel: socket.socket) -> NoReturn:
    """Become what is asked for, as a fresh Python would; nothing, if nobody asks."""
    os.setpgid(0, 0)
    told, descriptors, _, _ = socket.recv_fds(channel, LONGEST_BYTES, MOST_DESCRIPTORS)
    if not told:
        os._exit(0)
    job = Job(**json.loads(told))
    os.umask(_umask_of(job.parent))
    _place(descriptors, job.descriptors)
    os.environ.clear()
    os.environ.update(job.environment)
    sys.argv = [entry.__name__, *job.arguments]
    show_as([sys.executable, "-m", *sys.argv], job.environment)
    entry.main()
    sys.exit()


def _umask_of(pid: int) -> int:
    """Which a fresh Python has from its parent; a supervisor changes nothing else that it would have."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [umask] = [line.split()[1] for line in lines if line.startswith("Umask:")]
    return int(umask, 8)
