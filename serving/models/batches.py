"""What waits for one model, the batches that are made of it, and a batch's run. Pure.

Law: a batch holds requests of one key only, in the order in which they came, and never more rows than the
largest batch, unless it is a single request that is larger by itself. The next batch is that of the request
that has waited longest, so that no shape can starve another.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Generic, Protocol, TypeVar

import numpy as np

from serving.models.runnable import Outputs
from serving.wire.tensors import Array

Arrays = Mapping[str, Array]
Run = Callable[[Arrays, Sequence[str]], list[Array]]


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


def rows_of(feeds: Arrays) -> int:
    """Rows that they add to a batch."""
    for array in feeds.values():
        return array.shape[0] if array.ndim else 1
    return 1


def join_key(feeds: Arrays, inputs: int) -> Hashable:
    """Equal where feeds can be joined: datatypes and the shapes of rows, input by input.

    One that is equal to no other is of feeds that run by themselves: inputs of unequal rows would shift their
    neighbours', an optional input is one request's own, and the proof that rows are independent does not
    speak of what is empty.

    Args:
        feeds: of one request.
        inputs: how many a request has that gives no optional one.
    """
    if len(feeds) != inputs:
        return object()
    if len(feeds) == 1:
        [array] = feeds.values()
        return (array.dtype, array.shape[1:]) if array.size else object()
    if len({array.shape[:1] for array in feeds.values()}) > 1 or not all(a.size for a in feeds.values()):
        return object()
    return tuple((name, array.dtype, array.shape[1:]) for name, array in sorted(feeds.items()))


def run_joined(run: Run, batch: Sequence[Arrays], output_names: Sequence[str]) -> list[list[Array]] | None:
    """Run several requests of one key as one.

    Returns:
        The outputs of each; None where the run failed, or did not give a row for each that went in: one
        request's fault must not become its neighbours'.
    """
    first = batch[0]
    try:
        feeds = {name: np.concatenate([feeds[name] for feeds in batch]) for name in first}
        outputs = run(feeds, output_names)
    except Exception:  # noqa: BLE001  (each is then run by itself, and tells)
        return None
    name = next(iter(first))
    rows = feeds[name].shape[:1]
    for output in outputs:
        if output.shape[:1] != rows:
            return None
    parts: list[list[Array]] = []
    start = 0
    for asked in batch:
        stop = start + asked[name].shape[0]
        parts.append([output[start:stop] for output in outputs])
        start = stop
    if isinstance(outputs, Outputs):
        return [Outputs(part, outputs.seconds) for part in parts]
    return parts
