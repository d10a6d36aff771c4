"""A candidate held against a base on rows: run, compare, time, judge, and say where they differ."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from control.judging.aa_report import share
from router.counting.pairs import PairCounts
from router.counting.stage_counts import StageCounts
from router.rollout.values import Rollout
from router.targets.compatibility import incompatibility
from serving.clock import clock
from serving.errors import InvalidInput
from understudy.offline import answers, figures, judging
from understudy.offline.counts import Tally
from understudy.offline.data.rows import Rows
from understudy.offline.features import Categories, Feature, of_columns, of_inputs
from understudy.offline.outcome import Output, Side, Tested
from understudy.offline.running import Opened, run_both
from understudy.offline.segments import Segment, worst
from understudy.offline.timing import Timed, time_both

MOST_FAILURES = 5
"""Of the candidate alone, that are told."""

Note = Callable[[str, int], None]
"""Is told what is being done, and how many rows of it are done."""


@dataclass(slots=True)
class _Values:
    """The value that each model says of each row, once it is known how to read it."""

    names: tuple[str, ...]
    read: answers.Reading | None = None
    base: list[Any] = field(default_factory=list)
    candidate: list[Any] = field(default_factory=list)


def differential(
    base: Opened,
    candidate: Opened,
    rows: Rows,
    rollout: Rollout | None,
    timing_seconds: float,
    note: Note = lambda _what, _rows: None,
) -> Tested:
    """Test a candidate.

    Args:
        base: what was there.
        candidate: what is to be.
        rows: read for the base.
        rollout: whose rules and guards judge; None for the defaults.
        timing_seconds: how long the two are timed at most.
        note: told how far it is.

    Raises:
        InvalidInput: the candidate cannot stand in for the base, or a label is none.
    """
    began = clock()
    reason = incompatibility(base.model.signature, candidate.model.signature)
    if reason:
        raise InvalidInput(f"{candidate.key} cannot stand in for {base.key}: {reason}")
    judged_by, notes = judging.document(base.key, candidate.key, base.model.signature, rollout)
    tally, values = _compared(base, candidate, rows, judged_by, note)
    timed = _timed(base, candidate, rows, judged_by, tally, timing_seconds, note)
    counts = tally.counts(timed.pairs)
    return Tested(
        rows.columns.file,
        len(rows),
        Side(base.key, base.sha256, counts.stable.failures, base.peak_bytes),
        Side(candidate.key, candidate.sha256, counts.canary.failures, candidate.peak_bytes),
        judging.verdict(judged_by, counts),
        (*notes, *_unanswered(base, rows, tally)),
        _outputs(counts),
        _failures(rows, tally),
        figures.speed(timed.base, timed.candidate),
        _accuracy(values, rows),
        _confusion(values),
        _segments(base, values, rows, tally),
        clock() - began,
    )


def _compared(
    base: Opened, candidate: Opened, rows: Rows, rollout: Rollout, note: Note
) -> tuple[Tally, _Values]:
    tally, values = Tally(rollout), _Values(base.model.labels)
    both = run_both(base, candidate, rows.feeds, lambda: note("running both models", len(tally.differs)))
    for feeds, (ours, theirs) in zip(rows.feeds, both, strict=True):
        tally.add(feeds, ours, theirs)
        if values.read is None and ours.outputs is not None:
            values.read = answers.reading(base.model.signature, values.names, ours.outputs)
        values.base.append(values.read and values.read.of(ours.outputs))
        values.candidate.append(values.read and values.read.of(theirs.outputs))
    return tally, values


def _timed(
    base: Opened,
    candidate: Opened,
    rows: Rows,
    rollout: Rollout,
    tally: Tally,
    seconds: float,
    note: Note,
) -> Timed:
    def decided(pairs: PairCounts) -> bool:
        return judging.times_decided(rollout, tally.counts(pairs))

    answered = [feeds for feeds, both in zip(rows.feeds, tally.answered, strict=True) if both]
    asked = judging.timed_for(rollout)
    return time_both(
        base, candidate, answered, asked, seconds, decided, lambda: note("timing both models", len(rows))
    )


def _outputs(counts: StageCounts) -> tuple[Output, ...]:
    return tuple(
        Output(output, share(differing, total), counts.farthest.get(output, 0.0))
        for output, (total, differing) in counts.agreement.items()
    )


def _unanswered(base: Opened, rows: Rows, tally: Tally) -> list[str]:
    """That nothing could be compared on some rows, in words; or nothing."""
    if not tally.unanswered:
        return []
    row, why = next(iter(tally.unanswered.items()))
    count = len(tally.unanswered)
    return [f"{base.key} gave no answer to {count:,} rows, first {rows.columns.place(row)}: {why}"]


def _failures(rows: Rows, tally: Tally) -> tuple[str, ...]:
    told = list(tally.only_candidate.items())[:MOST_FAILURES]
    return tuple(f"{rows.columns.place(row)}: {why}" for row, why in told)


def _accuracy(values: _Values, rows: Rows) -> figures.Accuracy | figures.Deviation | None:
    if rows.labels is None or values.read is None:
        return None
    like = next((value for value in values.base if value is not None), None)
    labels = answers.truth(values.read, rows.labels, like, rows.columns)
    measure = figures.deviation if values.read.kind == "number" else figures.accuracy
    return measure(values.read.output, values.base, values.candidate, labels)


def _confusion(values: _Values) -> tuple[figures.Cell, ...]:
    if values.read is None or values.read.kind == "number":
        return ()
    return figures.confusion(values.base, values.candidate)


def _segments(base: Opened, values: _Values, rows: Rows, tally: Tally) -> tuple[Segment, ...]:
    """By the inputs, further columns, and what the base says."""
    differs = np.array(tally.differs, bool)
    features: list[Feature] = [*of_columns(rows.further), *of_inputs(rows.feeds, differs)]
    if values.read is not None and values.read.kind != "number":
        said = Categories(f"{base.key}'s {values.read.output}", tuple(map(str, values.base)))
        features.insert(0, said)
    return worst(features, differs)
