"""A sign of life from an event loop to the process that watches it: a number in shared memory that moves.

Law: the number moves only while the loop turns, so a blocked or stopped process stands still. It is written
by a timer of the loop and never by a thread, and a model that runs long in a thread does not stop it.
Whoever reads measures silence by its own looks: each counts at most `MOST_PER_LOOK` seconds, so that a
machine that slept, or a watcher that was stopped together with those it watches, sees no long silence.
Beside it stands whether the process accepts connections, for those who would do so in its stead.
"""

import asyncio
import mmap
import os
from pathlib import Path

BEAT_SECONDS = 0.25
MOST_PER_LOOK = 2.0
_BYTES = 16
_BEATS, _DOOR = 0, 1
_OPEN, _SHUT = 1, 2
"""Of the door; 0 before it was open for the first time, when nobody is to take its place yet."""
SILENT_LOOKS = 4


def _map(path: Path, flags: int) -> "memoryview[int]":
    descriptor = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        if flags:
            os.posix_fallocate(descriptor, 0, _BYTES)
        return memoryview(mmap.mmap(descriptor, _BYTES)).cast("Q")
    finally:
        os.close(descriptor)


class Heart:
    """The side of the process that lives; `path` was made by its `Watch`."""

    __slots__ = ("_cell",)

    def __init__(self, path: Path) -> None:
        self._cell = _map(path, 0)

    def beat(self) -> None:
        """Show that the loop turned."""
        self._cell[_BEATS] += 1

    def door(self, *, is_open: bool) -> None:
        """Show whether this process accepts connections."""
        self._cell[_DOOR] = _OPEN if is_open else _SHUT

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_SECONDS)


class Watch:
    """The side that watches one process after another through one file.

    Args:
        path: made here, for the `Heart`.
    """

    __slots__ = ("_cell", "_looked", "_seen", "silent_seconds")

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._cell = _map(path, os.O_CREAT | os.O_EXCL)
        self.begin()

    def begin(self) -> None:
        """A new process was started; its silence counts from its first beat on."""
        self._cell[_BEATS] = 0
        self._seen = 0
        self._looked: float | None = None
        self.silent_seconds = 0.0

    def ended(self) -> None:
        """The process is gone, and so accepts nothing."""
        self._cell[_DOOR] = _SHUT

    @property
    def is_open(self) -> bool:
        """Whether the process says that it accepts connections."""
        return self._cell[_DOOR] == _OPEN

    def look(self, now: float) -> float:
        """The seconds for which nothing moved, as far as this side was awake to see it.

        Args:
            now: on the watcher's monotonic clock, in seconds.
        """
        beats = self._cell[_BEATS]
        looked, self._looked = self._looked, now
        if beats != self._seen or beats == 0 or looked is None:
            self._seen = beats
            self.silent_seconds = 0.0
        else:
            self.silent_seconds += min(now - looked, MOST_PER_LOOK)
        return self.silent_seconds


class Neighbour:
    """The side of a process that takes another one's place at the door while that one is away.

    Args:
        path: made by the other's `Watch`, now or later.
    """

    __slots__ = ("_cell", "_path", "_seen", "_still")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cell: memoryview[int] | None = None
        self._seen = 0
        self._still = 0

    def is_away(self) -> bool:
        """Whether it accepts nothing: it has ended, starts anew, or has stood still for some looks.

        To be called every `BEAT_SECONDS`.
        """
        if self._cell is None:
            try:
                self._cell = _map(self._path, 0)
            except FileNotFoundError:
                return False
        beats, door = self._cell[_BEATS], self._cell[_DOOR]
        self._still = self._still + 1 if beats == self._seen else 0
        self._seen = beats
        return door == _SHUT or (door == _OPEN and self._still >= SILENT_LOOKS)
