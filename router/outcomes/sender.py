"""Sends what is in the spool to control, for as long as that takes.

Law: a line leaves the disk when control has answered for it, never before. Control is told each line at least
once and takes it once. Where control is away, does not lead, or is too old to know outcomes, nothing is lost:
it is tried again, with growing pauses. What it will never read stays on disk and is named in the log.
A process that ends sends what it has once more: its disk may end with it, as a pod's does.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from secrets import SystemRandom
from typing import Final

import structlog

from router.hop.client import ClientReply
from router.outcomes.spool import Spool
from router.outcomes.spool_file import SpoolFile
from router.sync import Link
from router.wire.outcomes import MAX_LINE_BYTES, each_of
from serving.clock import clock
from serving.errors import InvalidInput, ServingError

log = structlog.get_logger()

GATHER_SECONDS: Final = 0.5
"""From the first line that comes until it is sent, with those that came meanwhile."""
LOOK_SECONDS: Final = 10.0
"""How often it is looked whether another process of the node has ended and left something."""
BATCH_BYTES: Final = 512 * 1024
"""Of one request to control; so many hold fewer lines than a request may have."""
ANSWER_SECONDS: Final = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
_NEVER_READ: Final = {400, 413, 422}


class _Refused(Exception):
    """Control has read lines and will never take them."""


class _Ended(Exception):
    """This process ends, and control does not take lines now."""


def jittered_pauses() -> Iterator[float]:
    """How long to wait before each further try: longer each time, and not the same for all nodes."""
    pause, random = FIRST_PAUSE, SystemRandom()
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class Sender:
    """Sends the files of one spool, and those that nobody holds any more.

    Args:
        link: how control is reached.
        spool: what is sent.
    """

    def __init__(self, link: Link, spool: Spool) -> None:
        self._pool = link.pool()
        self._headers = b"content-type: application/x-ndjson\r\n"
        if link.token:
            self._headers += b"authorization: Bearer " + link.token.encode() + b"\r\n"
        self._spool = spool
        self._reachable = True
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Send until told to end, and then once more what is there."""
        with suppress(_Ended):
            while not self._ending.is_set():
                await self._send_all()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._spool.filled.wait()
                        await self._rest(GATHER_SECONDS)
            await self._send_all()

    def end(self) -> None:
        """Send what is there, if control takes it at once; `run` returns then."""
        self._ending.set()
        self._spool.filled.set()

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until told to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _send_all(self) -> None:
        try:
            await self._spool.take_over()
            while (file := await self._spool.next_file()) is not None:
                await self._send(file)
        except _Ended:
            raise
        except OSError as error:
            log.error("outcomes on disk cannot be read; tried again", reason=str(error))
            await self._rest(LOOK_SECONDS)
        except Exception:  # a fault of ours must not keep outcomes here for ever
            log.exception("sending outcomes failed")
            await self._rest(LOOK_SECONDS)

    def close(self) -> None:
        """Drop the connection."""
        self._pool.close()

    async def _send(self, file: SpoolFile) -> None:
        at = 0
        try:
            while lines := await self._spool.batch(file, at, BATCH_BYTES):
                await self._tell(lines)
                at += len(lines)
                self._spool.sent(lines.count(b"\n"))
        except _Refused as error:
            _keep(file, at, str(error))
            return
        if at < file.size:
            _keep(file, at, "a line that is longer than any outcome")
            return
        await self._spool.remove(file)

    async def _tell(self, lines: bytes) -> None:
        """Until control has answered.

        Raises:
            _Refused: it will never take them.
        """
        try:
            await self._tell_until_answered(lines)
        except _Refused:
            readable = _readable(lines)
            if readable == lines:
                raise
            log.warning("lines that a crash left half written are left out", bytes=len(lines) - len(readable))
            if readable:
                await self._tell_until_answered(readable)

    async def _tell_until_answered(self, lines: bytes) -> None:
        for pause in jittered_pauses():
            try:
                reply = await self._pool.post(
                    b"/v1/sync/outcomes", self._headers, lines, clock() + ANSWER_SECONDS
                )
            except ServingError as error:
                problem = str(error)
            else:
                if reply.status == 200:
                    self._reached()
                    return
                problem = f"it answered with status {reply.status}: {_words(reply)}"
                if reply.status in _NEVER_READ:
                    raise _Refused(problem)
            self._missed(problem)
            if self._ending.is_set():
                raise _Ended
            await self._rest(pause)

    def _reached(self) -> None:
        if not self._reachable:
            self._reachable = True
            log.info("control takes outcomes again")

    def _missed(self, reason: str) -> None:
        if self._reachable:
            self._reachable = False
            log.warning("control does not take outcomes now; they wait on disk", reason=reason)


def _keep(file: SpoolFile, at: int, reason: str) -> None:
    """Nobody else gets at it while this process lives."""
    log.error(
        "control does not read outcomes; they stay on disk and are sent again after the next start",
        file=str(file.path),
        from_byte=at,
        reason=reason,
    )


def _words(reply: ClientReply) -> str:
    return reply.body[:200].decode("utf-8", "replace")


def _readable(lines: bytes) -> bytes:
    """Those that are outcomes; a crash may have left others, for which nobody was answered."""
    return b"".join(line for line in lines.splitlines(keepends=True) if _is_outcome(line))


def _is_outcome(line: bytes) -> bool:
    try:
        return len(line) <= MAX_LINE_BYTES and bool(list(each_of(line, from_node=True)))
    except InvalidInput:
        return False
