"""What a watch has seen as a report, and back. Pure."""

import math

from router.drift.histograms import Moments
from router.drift.tally import Tally, tally_of
from router.drift.watch import Slice, Watch
from router.wire.drift_report import DriftReport, SliceReport, TallyReport


def told(model: str, target: str, watch: Watch, slices: tuple[Slice, ...]) -> DriftReport:
    """What control is told of a target.

    Args:
        model: the rollout's public name.
        target: its key.
        watch: who has seen it.
        slices: that control is to be told of.
    """
    return DriftReport(
        model=model,
        target=target,
        profile=watch.reference.digest,
        problem=watch.problem[:1000],
        slices=tuple(_slice(each) for each in slices),
    )


def _slice(seen: Slice) -> SliceReport:
    tallies = {name: tally_of(each.histogram) for name, each in seen.counted.features.items()}
    return SliceReport(
        begins=seen.begins,
        answers=seen.answers,
        left_out=seen.left_out,
        of=seen.of,
        features={name: _tally(tally) for name, tally in tallies.items() if tally.rows},
    )


def _tally(tally: Tally) -> TallyReport:
    moments = tally.moments
    if not (math.isfinite(moments.mean) and math.isfinite(moments.squares)):
        moments = Moments()  # the greatest floats were among them
    met = moments.number > 0
    return TallyReport(
        counts=tally.counts,
        missing=tally.missing,
        finite=moments.number,
        mean=moments.mean,
        squares=moments.squares,
        least=tally.least if met else None,
        greatest=tally.greatest if met else None,
    )


def heard(said: TallyReport) -> Tally:
    """What was told of a feature, as the value."""
    least = math.inf if said.least is None else said.least
    greatest = -math.inf if said.greatest is None else said.greatest
    moments = Moments(said.finite, said.mean, said.squares)
    return Tally(said.counts, said.missing, moments, least, greatest)
