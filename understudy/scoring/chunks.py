"""One chunk of a file, from its bytes to its part; many may be under way in as many threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from router.counting.stage_counts import StageCounts, from_json, to_json
from router.rollout.values import Rollout
from understudy.scoring.canary import NOTHING, compared
from understudy.scoring.drawing import drawn
from understudy.scoring.feeds import Read, Reader
from understudy.scoring.formats.block import Bad, Block, Chunk, Format, Layout, Wanted
from understudy.scoring.output import Output, Scored
from understudy.scoring.parts import PartWriter
from understudy.scoring.running import Answers, Feeds, Runner


class Done(NamedTuple):
    """What became of a chunk.

    Args:
        rows: that have an answer.
        bad: rows that have none.
        canary: of `rows`, those whose answer is the canary's.
        drawn: whether rows were drawn for it.
        counts: of the rows that it scored.
    """

    rows: int
    bad: int
    canary: int
    drawn: bool
    counts: StageCounts


def said_by(done: Done) -> dict[str, Any]:
    """It as JSON values, for the footer of a part."""
    return {**done._asdict(), "counts": to_json(done.counts)}


def done_of(said: dict[str, Any]) -> Done:
    """The inverse."""
    return Done(**{**said, "counts": from_json(said["counts"])})


@dataclass(frozen=True, slots=True)
class Side:
    """The canary of a job.

    Args:
        runner: runs it.
        rollout: whose rules compare.
        share: of the rows, 0 to 1.
        salt: of the draw.
        serves: whether its answers are the output.
    """

    runner: Runner
    rollout: Rollout
    share: float
    salt: str
    serves: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What every chunk of a job needs.

    Args:
        path: of the input.
        folder: of the output.
        format: of the input.
        layout: of the input.
        wanted: its columns.
        reader: of the inputs.
        runner: of stable.
        output: its columns.
        side: the canary, if there is one.
    """

    path: Path
    folder: Path
    format: Format
    layout: Layout
    wanted: Wanted
    reader: Reader
    runner: Runner
    output: Output
    side: Side | None

    def score(self, chunk: Chunk, *, draws: bool) -> Done:
        """Score a chunk, and write its part.

        Args:
            chunk: which one.
            draws: whether the canary scores some of its rows.

        Raises:
            ServingError: the file is broken here.
            OSError: it cannot be read, or the part not written.
        """
        side = self.side if draws else None
        lines, name = self.layout.lines, self.path.name
        with PartWriter(self.folder, chunk.number, name, self.output.schema, lines=lines) as part:
            canary, counts = 0, NOTHING
            for block in self.format.blocks(self.path, self.layout, chunk, self.wanted):
                found = self._block(block, side)
                part.add(found.table, found.bad)
                canary, counts = canary + found.canary, counts + found.counts
            done = Done(part.rows, part.bad, canary, draws, counts)
            part.done(said_by(done))
        return done

    def _block(self, block: Block, side: Side | None) -> "_Found":
        read = self.reader.read(block)
        stable = self.runner.run(read.feeds, read.rows)
        beside = None if side is None else _beside(block, read, stable, side, joined=self.reader.joined)
        served = set(stable.rows) if beside is None else {*stable.rows, *beside.served}
        bad = sorted([*block.bad, *read.bad, *_failed(block, stable, served)], key=lambda each: each.row)
        scored = self._scored(stable, beside)
        counts = NOTHING if beside is None else beside.counts
        return _Found(self.output.table(block, scored), bad, int(scored.by_canary.sum()), counts)

    def _scored(self, stable: Answers, beside: "_Beside | None") -> Scored:
        outputs = self.output.outputs(stable)
        places = np.array(stable.rows, np.int64)
        if beside is None:
            none = np.zeros(len(places), bool)
            return Scored(places, outputs, none, none, [None] * len(places))
        if beside.served:
            places, outputs = self._replaced(outputs, stable, beside)
        rows = places.tolist()
        return Scored(
            places,
            outputs,
            np.isin(places, beside.served),
            np.isin(places, beside.rows),
            [beside.agreed.get(row) for row in rows],
        )

    def _replaced(
        self, outputs: dict[str, Any], stable: Answers, beside: "_Beside"
    ) -> tuple[Any, dict[str, Any]]:
        """The canary's answers in the place of stable's, where it gave one."""
        other = self.output.outputs(beside.answers)
        at = {row: place for place, row in enumerate(stable.rows)}
        at |= {row: len(stable.rows) + place for place, row in enumerate(beside.answers.rows)}
        places = sorted(at)
        order = pa.array([at[row] for row in places], pa.int64())
        both = {name: pa.concat_arrays([column, other[name]]).take(order) for name, column in outputs.items()}
        return np.array(places, np.int64), both


class _Found(NamedTuple):
    """A block, scored."""

    table: Any
    bad: Sequence[Bad]
    canary: int
    counts: StageCounts


class _Beside(NamedTuple):
    """What a canary made of rows of a block.

    Args:
        rows: those that it was asked.
        served: those whose answer is its own.
        answers: what it said.
        agreed: of each that was compared.
        counts: of all.
    """

    rows: list[int]
    served: list[int]
    answers: Answers
    agreed: dict[int, bool]
    counts: StageCounts


def _beside(block: Block, read: Read, stable: Answers, side: Side, *, joined: bool) -> _Beside:
    places = np.array(read.rows, np.int64)
    chosen = np.flatnonzero(drawn(block.rows[places], side.salt, side.share))
    rows = places[chosen].tolist()
    answers = side.runner.run(chosen_feeds(read.feeds, chosen.tolist(), joined=joined), rows)
    found = compared(rows, stable, answers, side.rollout)
    served = answers.rows if side.serves else []
    return _Beside(rows, served, answers, dict(found.agreed), found.counts)


def chosen_feeds(feeds: Sequence[Feeds], chosen: Sequence[int], *, joined: bool) -> list[Feeds]:
    """Some of the rows of feeds.

    Args:
        feeds: as they were read.
        chosen: which rows of all, ascending.
        joined: whether a feed has several.
    """
    if not joined:
        return [feeds[place] for place in chosen]
    found: list[Feeds] = []
    first = 0
    places = np.array(chosen, np.int64)
    for feed in feeds:
        rows = len(next(iter(feed.values())))
        inside = places[(places >= first) & (places < first + rows)] - first
        if len(inside):
            found.append({name: array[inside] for name, array in feed.items()})
        first += rows
    return found


def _failed(block: Block, stable: Answers, served: set[int]) -> list[Bad]:
    """Rows that nobody answered."""
    return [
        Bad(int(block.rows[row]), answer.error, block.values(row))
        for row, answer in stable.failed.items()
        if row not in served
    ]
