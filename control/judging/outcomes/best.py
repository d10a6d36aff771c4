"""The best of stable and the candidates of an A/B/n test, by one outcome. Pure.

Law: a side is the best when it was shown to be better than each of the others that are still compared,
stable included: each of these e-values has reached K / alpha, where K is the number of candidates in the
document (`control.judging.outcomes.candidates.best_arm`). However often one looks, a side that is not the
best of those which keep every tolerance is named with a chance of at most alpha while that one is there. Of
sides that are equal none is shown to be better (but by that chance), so a test has an end of its own.

What two sides are held against each other by: what happens or does not, by the label test on events at either
of them; amounts in a range, by bets on the mean of their score; labels, on requests that both answered.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from math import exp
from operator import add
from typing import Any

import numpy as np

from control.judging.evidence import Floats
from control.judging.outcomes.candidates import best_arm, best_line, better_than_each
from control.judging.outcomes.paired_labels import superiority_test
from control.judging.outcomes.side_sums import SideSums
from router.rollout.values import Outcome


@dataclass(frozen=True, slots=True)
class BestSide:
    """One of those who are compared.

    Args:
        target: its key.
        on: whether it is still compared; a candidate that was taken off is not.
        units: at it with the outcome; of a label those that were held against answers of it.
        total: the sum of their values; 0 of a label.
        to_stable: how it compares with stable: of what happens and of amounts, how many times as much of it
            there is for each draw; of a label, the mean gain over stable in right answers, or in the loss.
            None as long as nothing is known.
    """

    target: str
    on: bool
    units: float
    total: float
    to_stable: float | None


@dataclass(frozen=True, slots=True)
class BestOf:
    """How far the search for the best has come. Side 0 is stable, side k the candidate of that number.

    Args:
        outcome: by which; its name.
        sides: all of them, also those that were taken off.
        log_e: in row k and column j the log e-value against "k is no better than j"; shape (sides, sides).
        line: log(K / alpha), what the best has reached against each other side.
        found: the best; None as long as none is shown to be.
        leader: the one whose least e-value is the greatest; None while nothing is known. It is no verdict.
    """

    outcome: str
    sides: tuple[BestSide, ...]
    log_e: Floats
    line: float
    found: int | None
    leader: int | None

    @property
    def best(self) -> str | None:
        """Key of the one that was found; None for none."""
        return None if self.found is None else self.sides[self.found].target

    def as_json(self) -> dict[str, Any]:
        """For the audit row of what follows."""
        return {**asdict(self), "log_e": self.log_e.tolist()}

    @property
    def reason(self) -> str:
        """In words: who is the best and why, or what is missing."""
        if self.leader is None:
            return f"nothing of {self.outcome} that tells two sides apart has entered yet"
        rival = self._nearest(self.leader)
        target, other = self.sides[self.leader].target, self.sides[rival].target
        least = f"{_power(self.log_e[self.leader, rival])} (against {other})"
        if self.found is not None:
            return (
                f"by {self.outcome} {target} is better than each of the others: the least of its e-values is"
                f" {least}, and {_power(self.line)} is asked of each"
            )
        return (
            f"by {self.outcome} none is known to be better than each of the others: {target} is ahead, and"
            f" the least of its e-values is {least}, where {_power(self.line)} is asked of each"
        )

    def least(self) -> dict[str, float]:
        """Of each side that is compared, by target, the least log e-value that it is better than another."""
        on = [side for side, of in enumerate(self.sides) if of.on]
        if len(on) < 2:
            return {}
        return {self.sides[side].target: float(self.log_e[side, self._nearest(side)]) for side in on}

    def _nearest(self, side: int) -> int:
        """The one whom it is least known to be better than."""
        others = [each for each, of in enumerate(self.sides) if of.on and each != side]
        return min(others, key=lambda other: float(self.log_e[side, other]))


def best_of(
    outcome: Outcome, targets: Sequence[str], on: Collection[int], stages: Sequence[SideSums], alpha: float
) -> BestOf:
    """How far the search has come.

    Args:
        outcome: binary, a number with a range, or a label.
        targets: their keys: stable's, then those of all candidates of the document.
        on: the sides that are still compared, by place.
        stages: what outcomes have come to in each stage of the evidence.
        alpha: above 0 and below 1.
    """
    compared = [side in on for side in range(len(targets))]
    log_e = better_than(outcome, len(targets), stages)
    named = int(best_arm(log_e, alpha, compared))
    units, totals, ratios = _known(outcome, len(targets), stages)
    sides = tuple(
        BestSide(target, compared[side], float(units[side]), float(totals[side]), ratios[side])
        for side, target in enumerate(targets)
    )
    found = None if named < 0 else named
    return BestOf(
        outcome.name, sides, log_e, best_line(len(targets) - 1, alpha), found, _leader(log_e, compared)
    )


def better_than(outcome: Outcome, sides: int, stages: Sequence[SideSums]) -> Floats:
    """Log e-values that one side is better than another; shape (..., sides, sides).

    Row k, column j: against "k is no better than j". The diagonal is 0.
    """
    if not stages:
        return np.zeros((sides, sides))
    if outcome.kind == "binary":
        weights = np.stack([stage.weights for stage in stages])
        events = np.stack([stage.units for stage in stages], axis=-2)
        return better_than_each(weights, events, higher_is_better=outcome.better == "higher")
    everything = reduce(add, stages)
    found = np.zeros((*np.shape(everything.units)[:-1], sides, sides))
    evidence = {two: bets.evidence() for two, bets in everything.bets.items()}
    evidence |= {two: superiority_test(labels) for two, labels in everything.labels.items()}
    for (first, second), each in evidence.items():
        found[..., second, first], found[..., first, second] = each.safe, each.harm
    return found


def _leader(log_e: Floats, compared: Sequence[bool]) -> int | None:
    on = np.flatnonzero(compared)
    among = log_e[np.ix_(on, on)]
    if len(on) < 2 or np.allclose(among, 0.0):
        return None
    least = np.where(np.eye(len(on), dtype=bool), np.inf, among).min(axis=1)
    return int(on[least.argmax()])


def _known(
    outcome: Outcome, sides: int, stages: Sequence[SideSums]
) -> tuple[Floats, Floats, list[float | None]]:
    """Units and totals of each side, and how it compares with stable."""
    if not stages:
        return np.zeros(sides), np.zeros(sides), [None] * sides
    everything = reduce(add, stages)
    if outcome.kind == "label":
        return _of_labels(everything, sides)
    of = "units" if outcome.kind == "binary" else "totals"
    ratios = [_ratio(stages, of, side) for side in range(sides)]
    return everything.units, everything.totals, ratios


def _of_labels(sums: SideSums, sides: int) -> tuple[Floats, Floats, list[float | None]]:
    held = np.zeros(sides)
    gains: list[float | None] = [None] * sides
    for (first, second), labels in sums.labels.items():
        held[[first, second]] = np.maximum(held[[first, second]], labels.labels)
        if first == 0 and labels.labels:
            gains[second] = (labels.gained - labels.lost) / labels.labels
    for (first, second), bets in sums.bets.items():
        held[[first, second]] = np.maximum(held[[first, second]], bets.events)
        if first == 0 and bets.events:
            gains[second] = bets.total / bets.events
    if held[0]:
        gains[0] = 0.0
    return held, np.zeros(sides), gains


def _ratio(stages: Sequence[SideSums], of: str, side: int) -> float | None:
    """How many times stable's, at equal weights: as Mantel and Haenszel put strata together, over stages."""
    if side == 0:
        return 1.0
    mine = stables = 0.0
    for stage in stages:
        both = float(stage.weights[0] + stage.weights[side])
        if stage.weights[side] > 0.0 and stage.weights[0] > 0.0:
            sums = getattr(stage, of)
            mine += float(sums[side] * stage.weights[0]) / both
            stables += float(sums[0] * stage.weights[side]) / both
    return mine / stables if stables else None


def _power(log_e: float) -> str:
    """An e-value as people read it."""
    return f"{exp(log_e):,.3g}" if log_e < 30.0 else f"e^{log_e:,.0f}"
