"""What outcomes of one stage have come to, for one guard: all that is judged of them. Pure.

Law: sums over mature units, whatever the order in which they came; stages add up as the tests say. A unit
without an outcome adds nothing: what is expected of each is 0, so that nobody needs to know how many there
were.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from control.judging.evidence import Counts, Floats
from control.judging.outcomes.amounts import AmountSums, Baseline, amount_sums
from control.judging.outcomes.mean_bets import MeanBets, bet_on_mean
from control.judging.outcomes.paired_labels import PairedLabels
from control.judging.outcomes.scores import Answered, scores
from router.rollout.values import Outcome

_UNCUT = Baseline(np.inf, 0.0)
"""Nothing is expected, and what is cut was cut before."""
_SUMS = ("canary", "stable", "canary_total", "stable_total", "canary_squares", "stable_squares")


@dataclass(frozen=True, slots=True)
class StageOutcomes:
    """The mature outcomes of one stage, by the draw.

    Args:
        weight: the canary's share of the draws of this stage, a fraction; with sticky users of those whom no
            earlier stage had drawn, who alone are counted here.
        canary: units at the canary with the outcome: it happened, or is an amount other than 0.
        stable: the same at stable.
        canary_total: the sum of their values; of amounts without a range once they are cut.
        stable_total: the same at stable.
        canary_squares: the sum of the squares of those.
        stable_squares: the same at stable.
        bets: of amounts in a range, and of labels with a loss: what bets on the mean have won.
        sums: of amounts without a range; nothing as long as there is no baseline to cut them at.
        labels: of labels that are right or wrong, on requests that both answered.
        waiting: outcomes that are told and not mature, or labels whose pair is not known.
        matures_in: seconds until the first of those that wait is mature; None where none waits for that.
        outcome: as the document has it; of labels it may be left out.
    """

    weight: float
    canary: float = 0.0
    stable: float = 0.0
    canary_total: float = 0.0
    stable_total: float = 0.0
    canary_squares: float = 0.0
    stable_squares: float = 0.0
    bets: MeanBets = field(default_factory=MeanBets)
    sums: AmountSums = field(default_factory=AmountSums)
    labels: PairedLabels = field(default_factory=PairedLabels)
    waiting: int = 0
    matures_in: float | None = None
    outcome: Outcome | None = None

    def __add__(self, other: "StageOutcomes") -> "StageOutcomes":
        """Of the same stage; what waits is that of the other, which is the later look."""
        return replace(
            other,
            bets=self.bets + other.bets,
            sums=self.sums + other.sums,
            labels=self.labels + other.labels,
            **{name: getattr(self, name) + getattr(other, name) for name in _SUMS},
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values; without what waits and the outcome, which are not sums."""
        return {
            "weight": self.weight,
            **{name: getattr(self, name) for name in _SUMS},
            "bets": self.bets.to_json(),
            "sums": self.sums.to_json(),
            "labels": self.labels.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "StageOutcomes":
        """What `to_json` made."""
        sums: dict[str, Any] = {name: float(value[name]) for name in _SUMS}
        return cls(
            float(value["weight"]),
            **sums,
            bets=MeanBets.from_json(value["bets"]),
            sums=AmountSums.from_json(value["sums"]),
            labels=PairedLabels.from_json(value["labels"]),
        )


def matured_outcomes(
    outcome: Outcome,
    limit: float,
    weight: float,
    values: Counts,
    at_canary: Counts,
    cut: float | None = None,
) -> StageOutcomes:
    """What so many more mature outcomes of a stage add, in any order.

    With r = 1 - d where more is better, else 1 + d, and Y the value, the score of an amount is
    `Y (A / w - r (1 - A) / (1 - w))`, turned around where less is better: that of `scores` with nothing
    expected. Its mean is at least 0 where the tolerance is kept.

    Args:
        outcome: binary, or a number.
        limit: d, the greatest drop that is tolerated, or the greatest rise where less is better.
        weight: w, of the draws. Of 0 or 1 there was no draw, and nothing is added.
        values: of each unit; shape (units,).
        at_canary: whether it was drawn to the canary; same shape.
        cut: of a number without a range, what greater amounts count as (`amounts.Baseline`); None as long as
            there is no baseline.

    Raises:
        ValueError: if a value is beyond the outcome's range.
    """
    y, canary = np.atleast_1d(np.asarray(values, float)), np.atleast_1d(np.asarray(at_canary, bool))
    found = StageOutcomes(weight, outcome=outcome)
    if not 0.0 < weight < 1.0:
        return found
    if outcome.kind == "number" and outcome.range is None and cut is not None:
        y = np.minimum(y, cut)
    some = y != 0.0
    found = replace(
        found,
        canary=float(np.sum(some & canary)),
        stable=float(np.sum(some & ~canary)),
        canary_total=float(y[canary].sum()),
        stable_total=float(y[~canary].sum()),
        canary_squares=float((y[canary] ** 2).sum()),
        stable_squares=float((y[~canary] ** 2).sum()),
    )
    if outcome.kind != "number":
        return found
    better = 1.0 if outcome.better == "higher" else -1.0
    answered, max_drop = Answered(better * y[some], canary[some], weight), better * limit
    if outcome.range is not None:
        least, most = score_ends(outcome.range, weight, max_drop, better)
        return (
            replace(found, bets=bet_on_mean(scores(answered, max_drop), least, most)) if some.any() else found
        )
    return found if cut is None else replace(found, sums=amount_sums(answered, _UNCUT, max_drop))


def score_ends(of_value: tuple[float, float], weight: float, max_drop: float, better: float) -> Floats:
    """The least and the greatest that a score can be where a value may be in the range, or 0."""
    ends = np.array([min(of_value[0], 0.0), max(of_value[1], 0.0)])
    at_either = [scores(Answered(better * ends, side, weight), max_drop) for side in (True, False)]
    found: Floats = np.array([np.min(at_either), np.max(at_either)])
    return found
