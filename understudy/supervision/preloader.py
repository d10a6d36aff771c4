"""One process that has imported what the others need; they are forked from it, in a few milliseconds each.

Law: nothing depends on it. Until it is there, and where it cannot be or does not answer, each process is
begun as a fresh Python; those that it forked are children of the supervisor and outlive it. One that it
forks after nobody waits for that any more is told nothing, and ends.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from serving.host import fork_server
from serving.host.fork_server import FORK, MOST_BYTES, MOST_DESCRIPTORS, PID, READY, UNFIT, Job
from serving.host.process import adopting
from understudy.supervision.child import Child
from understudy.supervision.processes import Forked, Process, executed

log = structlog.get_logger()

PRELOADED = ("router.worker", "router.sandbox")
"""What control imports beyond these it imports itself, beside the workers, who need not wait for it."""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy starts others as it is imported, and what is forked beside them may hang."""
IMPORT_SECONDS = 30.0
ANSWER_SECONDS = 10.0
"""Within which it forks; then it hangs."""


class Preloader:
    """Begins processes by forking, as long as its own is there."""

    def __init__(self) -> None:
        self._asking = asyncio.Lock()
        self._begun = asyncio.Event()
        self._channel: socket.socket | None = None
        self._ready = False
        self.child: Child | None = None

    def begin(self, environment: Mapping[str, str], restarted: Callable[[str], None]) -> None:
        """Begin its own process, where this system has all that it takes.

        Args:
            environment: added to this process's own.
            restarted: told why, each time it is started again.
        """
        if _can_be():
            environment = {**environment, **ONE_THREAD}
            self.child = Child(
                "preloader", fork_server.__name__, environment, restarted=restarted, start=self._begin
            )

    async def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], inherit: Sequence[int]
    ) -> Process:
        """Begin a process, forked or fresh; see `Start`.

        Raises:
            OSError: there can be no more processes.
        """
        if self.child is not None:
            await self._begun.wait()
        async with self._asking:
            process = await self._fork(arguments, environment, inherit)
        return process or await executed(arguments, environment, inherit)

    async def end(self, grace_seconds: float) -> None:
        """End it; what it forked runs on."""
        if self.child is not None:
            await self.child.end(grace_seconds)
        self._begun.set()
        self._let_go()

    async def _begin(
        self, arguments: Sequence[str], environment: Mapping[str, str], inherit: Sequence[int]
    ) -> Process:
        """Begin its own process, with a new socket."""
        self._let_go()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._begun.set()
        with theirs:
            told = [*arguments, str(theirs.fileno()), ",".join(PRELOADED)]
            return await executed(told, environment, [*inherit, theirs.fileno()])

    def _let_go(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel, self._ready = None, False

    async def _fork(
        self, arguments: Sequence[str], environment: Mapping[str, str], inherit: Sequence[int]
    ) -> Process | None:
        """Have one forked, and tell it its job; None where that cannot be just now."""
        channel = self._channel
        if channel is None or len(inherit) >= MOST_DESCRIPTORS:
            return None
        job = Job(os.getpid(), list(arguments), dict(environment), list(inherit))
        forked: Process | None = None
        try:
            if self._ready or await self._waited_for(channel):
                forked = await _asked(channel, job)
        except TimeoutError:
            if self.child is not None:
                self.child.kill("hung")
        except OSError as error:
            log.warning("a process is started afresh, not forked", process=arguments[0], reason=str(error))
        finally:
            if forked is None and channel is self._channel:  # what it still answers is to no later question
                self._let_go()
        return forked

    async def _waited_for(self, channel: socket.socket) -> bool:
        """Wait until it has imported everything; whether it can fork then.

        Raises:
            TimeoutError: it hangs.
            OSError: it has ended.
        """
        said = await _received(channel, IMPORT_SECONDS)
        if said.startswith(UNFIT):
            log.warning("processes are started afresh, not forked", reason=said.decode())
            child, self.child = self.child, None
            if child is not None:
                await child.end(ANSWER_SECONDS)
            return False
        self._ready = said == READY
        return self._ready


async def _asked(channel: socket.socket, job: Job) -> Process:
    """Have a process forked, and tell it its job.

    Raises:
        TimeoutError: there was no answer.
        OSError: it could not be forked, or the one asked has ended.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with adopting():
            with theirs:
                socket.send_fds(channel, [FORK], [theirs.fileno(), *job.descriptors])
            word, _, rest = (await _received(channel, ANSWER_SECONDS)).partition(b" ")
        if word != PID:
            raise OSError(rest.decode())
        forked = Forked(int(rest))
        ours.setblocking(False)
        with suppress(ConnectionError):  # it has ended already, as anyone will see who waits for it
            await asyncio.get_running_loop().sock_sendall(ours, job.encode())
    return forked


async def _received(channel: socket.socket, seconds: float) -> bytes:
    async with asyncio.timeout(seconds):
        packet = await asyncio.get_running_loop().sock_recv(channel, MOST_BYTES)
    if not packet:
        raise ConnectionError("the preloader has ended")
    return packet


def _can_be() -> bool:
    """Whether this system has all that it takes."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
        with adopting():
            return True
    except OSError:
        return False
