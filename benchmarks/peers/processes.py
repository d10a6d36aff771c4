"""A server with all its processes: pinned, timed, waited for, and gone at the end.

This process becomes the reaper of its orphans (Linux's child subreaper), so everything that a server starts,
detached or not, stays below it: what is to be counted, and ended, are this process's descendants.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.tools.bench import ROOT, SERVER_CORE, TICKS

PR_SET_CHILD_SUBREAPER = 36
END_SECONDS = 10.0
KILL_SECONDS = 10.0


class NotStartedError(Exception):
    """A server that did not come to answer; the message says why, as it goes into the table."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def parents(proc: Path = Path("/proc")) -> dict[int, int]:
    """Of every process its parent."""
    found = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = int(_stat(entry)[1])
    return found


def descendants(of: int, parent: Mapping[int, int]) -> list[int]:
    """The processes below one, without it."""
    children: dict[int, list[int]] = {}
    for pid, above in parent.items():
        children.setdefault(above, []).append(pid)
    found, left = [], [of]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def cpu_seconds() -> float:
    """User and system time of all descendants, with that of the children they have reaped.

    So the difference of two readings holds for servers whose processes come and go in between.
    """
    ticks = 0
    for pid in descendants(os.getpid(), parents()):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in _stat(Path(f"/proc/{pid}"))[11:15])
    return ticks / TICKS


def _stat(process: Path) -> list[str]:
    """The fields of `stat` after the name: state, parent, ...; utime, stime, cutime, cstime are 11 to 14."""
    return (process / "stat").read_text().rpartition(")")[2].split()


@contextmanager
def started(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    answers: Callable[[], bool],
    seconds: float,
) -> Iterator[None]:
    """A server on the server's core, from when it answers until the end of the block.

    Args:
        command: what to run.
        environment: beside this process's own.
        log: where its output goes.
        answers: whether it is ready; OSError counts as not yet.
        seconds: to wait for that.

    Raises:
        NotStartedError: it ended or did not answer in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            _wait(process, log, answers, seconds)
            yield
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], log: Path, answers: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotStartedError(f"ended with {process.returncode}: {last_words(log)}")
        with contextlib.suppress(OSError):
            if answers():
                return
        time.sleep(0.1)
    raise NotStartedError(f"no answer in {seconds:g} s: {last_words(log)}")


def last_words(log: Path) -> str:
    """The last line that names an error, else the last line; short enough for a table."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it said nothing"])[-1]


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and time to act on it; then SIGKILL to whatever is left."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    kill_all()
    process.wait(KILL_SECONDS)


def kill_all() -> None:
    """SIGKILL to every descendant, until there is none."""
    deadline = time.monotonic() + KILL_SECONDS
    while (left := descendants(os.getpid(), parents())) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
