"""What waits for one model, and the batches that are made of it. Pure.

Law: a batch holds requests of one key only, in the order in which they came, and never more rows than the
largest batch, unless it is a single request that is larger by itself. The next batch is that of the request
that has waited longest, so that no shape can starve another.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from itertools import chain
from typing import Generic, Protocol, TypeVar


class Waiter(Protocol):
    """A request as far as batches are concerned.

    Attributes:
        key: equal where two may run together.
        rows: what it adds to a batch.
        queued: when it came; never less than that of the one before.
    """

    key: Hashable
    rows: int
    queued: float


W = TypeVar("W", bound=Waiter)


class _Line(Generic[W]):
    """Those of one key."""

    __slots__ = ("jobs", "rows")

    def __init__(self) -> None:
        self.jobs: deque[W] = deque()
        self.rows = 0


class Batches(Generic[W]):
    """A queue in lines, one a key.

    Args:
        max_rows: of the largest batch, at least 1.
    """

    __slots__ = ("_count", "_lines", "_max_rows")

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._lines: dict[Hashable, _Line[W]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[W]:
        return chain.from_iterable(line.jobs for line in self._lines.values())

    def add(self, job: W) -> None:
        """Put it at the end of its line."""
        line = self._lines.get(job.key)
        if line is None:
            line = self._lines[job.key] = _Line()
        line.jobs.append(job)
        line.rows += job.rows
        self._count += 1

    def remove(self, job: W) -> None:
        """Take out one that will not be run; it has to be there."""
        line = self._lines[job.key]
        line.jobs.remove(job)
        self._left(line, job)

    @property
    def full(self) -> bool:
        """Whether waiting longer cannot make the next batch larger."""
        return self._count > 0 and self._next().rows >= self._max_rows

    def take(self) -> list[W]:
        """The next batch, empty only if nothing waits."""
        batch: list[W] = []
        if not self._count:
            return batch
        line = self._next()
        room = self._max_rows
        while line.jobs and (not batch or line.jobs[0].rows <= room):
            job = line.jobs.popleft()
            self._left(line, job)
            batch.append(job)
            room -= job.rows
        return batch

    def _next(self) -> _Line[W]:
        if len(self._lines) == 1:
            return next(iter(self._lines.values()))
        return min(self._lines.values(), key=lambda line: line.jobs[0].queued)

    def _left(self, line: _Line[W], job: W) -> None:
        self._count -= 1
        line.rows -= job.rows
        if not line.jobs:
            del self._lines[job.key]
