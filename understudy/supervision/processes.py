"""A process below the supervisor, however it began: a fresh Python, or forked from one that has imported."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from serving.host import entry


class Process(Protocol):
    """What is asked of one; as `asyncio.subprocess.Process`."""

    @property
    def pid(self) -> int:
        """Its id, not given to another before it was waited for."""

    @property
    def returncode(self) -> int | None:
        """How it ended, by a signal as a negative number; None while it runs."""

    async def wait(self) -> int:
        """Until it has ended; how it did."""

    def send_signal(self, number: int, /) -> None:
        """Send one, unless it has ended."""

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""


Start = Callable[[Sequence[str], Mapping[str, str], Sequence[int]], Awaitable[Process]]
"""Begins a process: a module with a `main()` and its arguments, all of the environment, what is inherited."""


async def executed(
    arguments: Sequence[str], environment: Mapping[str, str], inherit: Sequence[int]
) -> Process:
    """Begin a fresh Python, in a process group of its own, as are those that it forks.

    So Ctrl-C at a terminal, a signal to the whole group in the foreground, is for the supervisor alone, which
    ends the others in order.

    Raises:
        OSError: it could not be started.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        entry.__name__,
        *arguments,
        env=environment,
        pass_fds=tuple(inherit),
        process_group=0,
    )


class Forked:
    """A child of this process that another one forked (Linux; pidfd_open(2)).

    Args:
        pid: of it.

    Raises:
        OSError: it is no child of this process.
    """

    def __init__(self, pid: int) -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        self.pid = pid
        self.returncode: int | None = None
        self._fd = os.pidfd_open(pid)
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._ended)

    def _ended(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._over.set()

    async def wait(self) -> int:
        """As `Process`."""
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int, /) -> None:
        """As `Process`."""
        if self.returncode is None:
            os.kill(self.pid, number)  # not yet waited for, so the id is its own

    def kill(self) -> None:
        """As `Process`."""
        self.send_signal(signal.SIGKILL)
