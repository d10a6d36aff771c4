"""What outcomes of one stage of an A/B/n test have come to at each side: all that the best is found by. Pure.

Law: sums over mature units, or over labels of requests that both sides answered, whatever the order in which
they came. Side 0 is stable, side k the candidate of that number, which never changes: one that is taken off
keeps its place, with the weight 0 from then on. Of two sides only the units at either of them count, with the
weights of their own draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from control.judging.evidence import Counts, Floats
from control.judging.outcomes.mean_bets import MeanBets, bet_on_mean
from control.judging.outcomes.paired_labels import PairedLabels
from control.judging.outcomes.scores import Answered, scores
from control.judging.outcomes.stage_outcomes import score_ends
from router.rollout.values import Outcome

Two = tuple[int, int]
"""Two sides, the lower number first; gains are those of the second over the first."""


@dataclass(frozen=True, slots=True)
class SideSums:
    """The outcomes of one stage, by the draw.

    Args:
        weights: of the draws, by side; fractions that add up to 1; shape (sides,). Of labels it has no part.
        units: at each side with the outcome: it happened, or is an amount other than 0; shape (..., sides).
        totals: the sums of their values; same shape.
        bets: of amounts in a range, and of labels with a loss: what bets on the mean gain have won, in which
            `safe` is against "the second is no better than the first", `harm` against "no worse".
        labels: of labels that are right or wrong; `gained` are those that only the second had right.
    """

    weights: Floats
    units: Floats
    totals: Floats
    bets: Mapping[Two, MeanBets] = field(default_factory=dict)
    labels: Mapping[Two, PairedLabels] = field(default_factory=dict)

    @classmethod
    def nothing(cls, weights: Sequence[float]) -> "SideSums":
        """Of a stage with these weights."""
        return cls(np.array(weights, float), np.zeros(len(weights)), np.zeros(len(weights)))

    def __add__(self, other: "SideSums") -> "SideSums":
        """Of the same stage."""
        bets = {two: self.bets.get(two, MeanBets()) + more for two, more in other.bets.items()}
        labels = {two: self.labels.get(two, PairedLabels()) + more for two, more in other.labels.items()}
        return SideSums(
            other.weights,
            self.units + other.units,
            self.totals + other.totals,
            {**self.bets, **bets},
            {**self.labels, **labels},
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "weights": self.weights.tolist(),
            "units": self.units.tolist(),
            "totals": self.totals.tolist(),
            "bets": [[*two, bets.to_json()] for two, bets in sorted(self.bets.items())],
            "labels": [[*two, labels.to_json()] for two, labels in sorted(self.labels.items())],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SideSums":
        """What `to_json` made."""
        weights, units, totals = (np.array(value[name], float) for name in ("weights", "units", "totals"))
        return cls(
            weights,
            units,
            totals,
            {(first, second): MeanBets.from_json(bets) for first, second, bets in value["bets"]},
            {(first, second): PairedLabels.from_json(labels) for first, second, labels in value["labels"]},
        )


def matured_sides(outcome: Outcome, weights: Counts, values: Counts, sides: Counts) -> SideSums:
    """What so many more mature outcomes of a stage add, in any order.

    Of two sides j < k with u = w_k / (w_j + w_k), the score of an amount Y at either of them is that of
    `scores` with nothing expected, `Y (A / u - (1 - A) / (1 - u))`, turned around where less is better: its
    mean is what k earns more than j.

    Args:
        outcome: binary, or a number with a range.
        weights: of all sides; shape (sides,).
        values: of each unit; shape (units,).
        sides: to which each was drawn; same shape.

    Raises:
        ValueError: if a value is beyond the outcome's range.
    """
    w = np.asarray(weights, float)
    y, at = np.atleast_1d(np.asarray(values, float)), np.atleast_1d(np.asarray(sides, int))
    known = (y != 0.0) & (at >= 0) & (at < len(w))
    y, at = y[known], at[known]
    units: Floats = np.bincount(at, minlength=len(w)).astype(float)
    totals: Floats = np.bincount(at, weights=y, minlength=len(w)).astype(float)
    found = SideSums(w, units, totals)
    if outcome.kind != "number" or outcome.range is None:
        return found
    bets = {
        (first, second): _bets(outcome, w, y, at, first, second)
        for first, second in combinations(np.flatnonzero(w > 0.0).tolist(), 2)
        if np.any((at == first) | (at == second))
    }
    return replace(found, bets=bets)


def _bets(outcome: Outcome, w: Floats, y: Floats, at: Counts, first: int, second: int) -> MeanBets:
    assert outcome.range is not None
    side = np.asarray(at)
    either = (side == first) | (side == second)
    better = 1.0 if outcome.better == "higher" else -1.0
    weight = float(w[second] / (w[first] + w[second]))
    least, most = score_ends(outcome.range, weight, 0.0, better)
    return bet_on_mean(scores(Answered(better * y[either], side[either] == second, weight)), least, most)
