"""A model run on the rows of a block: in batches, and where one fails, halved until the row is found.

Law: which rows run together follows from the block alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from serving.errors import ModelFailed, ServingError
from serving.wire.tensors import Array, TensorSpec
from understudy.offline.running import Answer, Opened

Feeds = Mapping[str, Array]
Outputs = Mapping[str, Array]
"""By output, rows in the first dimension."""


@dataclass(slots=True)
class Answers:
    """What a model made of rows.

    Args:
        rows: those that it answered, ascending.
        pieces: what it answered, in their order; each of one row or more.
        failed: of each other row why, without outputs.
    """

    rows: list[int] = field(default_factory=list)
    pieces: list[Outputs] = field(default_factory=list)
    failed: dict[int, Answer] = field(default_factory=dict)

    def of(self, name: str, rows: Sequence[int]) -> Sequence[Array]:
        """An output of some of the rows that were answered: an array, or, of several shapes, a list."""
        places = np.searchsorted(np.array(self.rows, np.int64), np.array(rows, np.int64))
        whole = self.joined([name])
        if whole is not None:
            return whole[name][places]  # type: ignore[return-value]  # an array is a sequence of its rows
        alone = [row for piece in self.pieces for row in piece[name]]
        return [alone[place] for place in places]

    def joined(self, names: Sequence[str]) -> dict[str, Array] | None:
        """All answers as one array an output; None where they have several shapes."""
        try:
            return {name: np.concatenate([piece[name] for piece in self.pieces]) for name in names}
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs a model on rows.

    Args:
        opened: the model.
        batch: the most rows of one run.
        joined: whether rows may be joined; else each is fed alone, and `batch` is 1.
    """

    opened: Opened
    batch: int
    joined: bool

    def run(self, feeds: Sequence[Feeds], rows: Sequence[int]) -> Answers:
        """Run it on rows, in order.

        Args:
            feeds: of all of them, each of one or, joined, of several.
            rows: how they are called.
        """
        found = Answers()
        if not self.joined:
            for row, feed in zip(rows, _single(feeds, len(rows)), strict=True):
                self._run(feed, [row], found)
            return found
        first = 0
        for whole, count in joined_feeds(feeds):
            for begin in range(0, count, self.batch):
                end = min(begin + self.batch, count)
                part = {name: array[begin:end] for name, array in whole.items()}
                self._run(part, rows[first + begin : first + end], found)
            first += count
        return found

    def _run(self, feeds: Feeds, rows: Sequence[int], found: Answers) -> None:
        try:
            outputs = self._outputs(feeds, len(rows))
        except ServingError as error:
            if len(rows) == 1:
                why = error.reason if isinstance(error, ModelFailed) else str(error)
                found.failed[rows[0]] = Answer(None, why, refused=error.status < 500)
                return
            half = len(rows) // 2
            for begin, end in ((0, half), (half, len(rows))):
                part = {name: array[begin:end] for name, array in feeds.items()}
                self._run(part, rows[begin:end], found)
        else:
            found.rows += rows
            found.pieces.append(outputs)

    def _outputs(self, feeds: Feeds, rows: int) -> Outputs:
        names = self.opened.output_names
        arrays = self.opened.model.run(feeds, names)
        return {name: self._by_rows(name, array, rows) for name, array in zip(names, arrays, strict=True)}

    def _by_rows(self, name: str, array: Array, rows: int) -> Array:
        """An output with rows in its first dimension.

        Raises:
            ModelFailed: it has others than went in, or another rank than the model says.
        """
        spec = self.opened.model.signature.output_by_name[name]
        leads = has_rows(spec, joined=self.joined)
        if (spec.shape is not None and array.ndim != len(spec.shape)) or (leads and len(array) != rows):
            why = f"the output {name!r} has the shape {list(array.shape)} for {rows} rows"
            raise ModelFailed(why, why)
        return array if leads else array[np.newaxis]


def has_rows(spec: TensorSpec, *, joined: bool) -> bool:
    """Whether the first dimension of an output is rows, rather than something of one row."""
    return spec.shape is not None and spec.shape[:1] == ((-1,) if joined else (1,))


def joined_feeds(feeds: Sequence[Feeds]) -> Iterator[tuple[Feeds, int]]:
    """Those of one shape that follow each other as one, with its rows."""
    for _, alike in groupby(feeds, _shapes):
        parts = list(alike)
        rows = sum(len(next(iter(part.values()))) for part in parts)
        if len(parts) == 1:
            yield parts[0], rows
        else:
            yield {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, rows


def _shapes(feeds: Feeds) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, array.shape[1:]) for name, array in feeds.items()]


def _single(feeds: Sequence[Feeds], rows: int) -> Iterator[Feeds]:
    assert len(feeds) == rows, "rows that are not joined are fed one by one"
    yield from feeds
