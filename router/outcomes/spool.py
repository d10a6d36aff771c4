"""What a node has taken and control has not yet: on disk before it is answered, whole requests or nothing.

Law: who is told that outcomes were taken finds them at control, or on this disk: they are fsynced before the
answer and removed after control's. Requests that wait for the disk share one fsync (group commit). Files of
processes that ended, of this start or an earlier one, are taken over by whoever finds them unlocked.

All that touches the disk runs in one thread, one thing after the other; the event loop waits for none of it.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, TypeVar

import structlog

from router.metrics import OUTCOMES_SPOOLED
from router.outcomes.spool_file import SUFFIX, SpoolFile
from serving.errors import ServingError, TooLarge, Unavailable
from serving.host.whole_files import sync_folder
from serving.telemetry.cells import Metrics

log = structlog.get_logger()

ROLL_BYTES: Final = 8 << 20
"""A file that has so many is not written to any more."""
FULL_SECONDS: Final = 10
"""When who was refused may ask again: room is made when control answers, or a disk is mended."""

R = TypeVar("R")


class SpoolFull(Unavailable):
    """Nothing more can be taken now: the spool is full, or its disk does not write."""

    retry_after_seconds = FULL_SECONDS


@dataclass(slots=True)
class _Request:
    """Lines that wait for the disk."""

    lines: bytes
    count: int
    done: "asyncio.Future[None]"


@dataclass(slots=True)
class _Written:
    """What one turn of the disk came to.

    Attributes:
        refused: why a request was not taken, in the order of the requests; None where it was.
        sealed: files that nothing is written to any more.
        problem: what the disk said; empty where it writes.
    """

    refused: Sequence[ServingError | None]
    sealed: list[SpoolFile]
    problem: str = ""


class Spool:
    """The spool of one process.

    Args:
        folder: of the node, all of whose processes have their files there.
        process: what the names of this one's files begin with.
        most_bytes: that the folder may hold; processes that write at once may go over it by a request each.
        metrics: where the waiting lines are shown.

    Attributes:
        filled: set with what is to be sent; `next_file` clears it, and is to be called until there is none.
    """

    def __init__(self, folder: Path, process: str, most_bytes: int, metrics: Metrics) -> None:
        self._folder = folder
        self._names = (folder / f"{process}-{os.getpid()}-{number}{SUFFIX}" for number in count(1))
        self._most = most_bytes
        self._gauge = metrics.gauge(OUTCOMES_SPOOLED)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outcomes")
        self._waiting: list[_Request] = []
        self._committing: asyncio.Task[None] | None = None
        self._open: SpoolFile | None = None  # of the thread alone
        self._sealed: deque[SpoolFile] = deque()
        self._given: set[SpoolFile] = set()  # to who sends them
        self._problem = ""
        self.filled = asyncio.Event()

    # ------------------------------------------------------------------ taking

    async def add(self, lines: bytes, count: int) -> None:
        """Take lines; they are on disk when this returns.

        Raises:
            SpoolFull: not now; none of them is taken.
            TooLarge: they will never fit.
        """
        if len(lines) > self._most:
            raise TooLarge(f"outcomes of {len(lines):,} bytes, where a spool of {self._most:,} bytes is kept")
        request = _Request(lines, count, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit(), name="commit outcomes")
        await request.done

    async def _commit(self) -> None:
        """Write what waits, and what has come meanwhile together, until nothing waits."""
        while self._waiting:
            group, self._waiting = self._waiting, []
            fault: Exception | None = None
            try:
                written = await self._on_disk(self._write, group)
            except Exception as error:  # noqa: BLE001  (a fault of ours must leave nobody waiting for ever)
                fault = error
                written = _Written([SpoolFull(type(error).__name__)] * len(group), [])
            self._sealed.extend(written.sealed)
            for request, refused in zip(group, written.refused, strict=True):
                if refused is None:
                    self._gauge.add(request.count)
                    self.filled.set()
                if not request.done.done():
                    _settle(request.done, refused)
            self._tell(written.problem, fault)

    def _write(self, group: Sequence[_Request]) -> _Written:
        """In the thread: as many of the requests as there is room for, in one write and one fsync."""
        try:
            fits = self._fit(group)
            fitting = [request for request, does in zip(group, fits, strict=True) if does]
            sealed = self._append(fitting) if fitting else []
        except OSError as error:
            failed = SpoolFull(f"outcomes cannot be written: {error.strerror or type(error).__name__}")
            return _Written([failed] * len(group), self._seal(), str(error))
        full = SpoolFull("the spool for outcomes is full: control takes none just now")
        return _Written([None if does else full for does in fits], sealed)

    def _fit(self, group: Iterable[_Request]) -> list[bool]:
        """Which of the requests there is room for; a small one behind a large one may still fit."""
        room, fits = self._most - used_bytes(self._folder), []
        for request in group:
            fits.append(len(request.lines) <= room)
            room -= len(request.lines) if fits[-1] else 0
        return fits

    def _append(self, requests: Sequence[_Request]) -> list[SpoolFile]:
        file = self._open = self._open or self._new_file()
        file.append(b"".join(each.lines for each in requests), sum(each.count for each in requests))
        return self._seal() if file.size >= ROLL_BYTES else []

    def _new_file(self) -> SpoolFile:
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self._folder.parent)
        while True:
            try:
                return SpoolFile.create(next(self._names))
            except FileExistsError:  # of an earlier process with this one's id
                continue

    def _seal(self) -> list[SpoolFile]:
        """Write no more to the open file; it, where something is in it."""
        file, self._open = self._open, None
        if file is not None and not file.size:
            file.remove()
            return []
        return [] if file is None else [file]

    def _tell(self, problem: str, fault: Exception | None) -> None:
        """Say once that the disk does not write, and once that it does again."""
        if fault is not None:
            log.error("outcomes could not be written", exc_info=fault)
        if problem and not self._problem:
            log.error("outcomes are refused: the disk does not take them", reason=problem)
        elif self._problem and not problem:
            log.info("the disk takes outcomes again")
        self._problem = problem

    # ------------------------------------------------------------------ sending

    async def take_over(self) -> None:
        """Lock what processes left that have ended."""
        found = await self._on_disk(self._orphans)
        if found:
            lines = sum(file.lines for file in found)
            log.info("outcomes of a process that ended", files=len(found), lines=lines)
            self._sealed.extend(found)
            self._gauge.add(lines)
            self.filled.set()

    def _orphans(self) -> list[SpoolFile]:
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                file = SpoolFile.adopt(path)
            except OSError as error:
                log.error("outcomes cannot be read", file=path.name, reason=str(error))
                continue
            if file is not None:
                found.append(file)
        return found

    async def next_file(self) -> SpoolFile | None:
        """The oldest that is to be sent, to which nothing is written any more; None where there is none."""
        self.filled.clear()  # before it is looked: what is added meanwhile sets it again
        if not self._sealed:
            self._sealed.extend(await self._on_disk(self._seal))
        if not self._sealed:
            return None
        file = self._sealed.popleft()
        self._given.add(file)
        return file

    async def batch(self, file: SpoolFile, at: int, most: int) -> bytes:
        """As `SpoolFile.batch`."""
        return await self._on_disk(file.batch, at, most)

    async def remove(self, file: SpoolFile) -> None:
        """Control has what is in it."""
        self._given.discard(file)
        await self._on_disk(file.remove)

    def sent(self, count: int) -> None:
        """So many lines of a file do not wait any more."""
        self._gauge.add(-count)

    async def _on_disk(self, work: Callable[..., R], *arguments: object) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def close(self) -> None:
        """Write what still waits; what is in the files is for the next process."""
        if self._committing is not None:
            await self._committing
        self._sealed.extend(await self._on_disk(self._seal))
        for file in (*self._sealed, *self._given):  # nothing runs in the thread any more
            file.close()
        self._thread.shutdown()


def _settle(done: "asyncio.Future[None]", refused: ServingError | None) -> None:
    if refused is None:
        done.set_result(None)
    else:
        done.set_exception(refused)


def used_bytes(folder: Path) -> int:
    """What the files of a spool take, whosever they are."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                total += _size(entry)
    except FileNotFoundError:
        return 0
    return total


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # sent meanwhile
        return 0
