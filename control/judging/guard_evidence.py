"""What the kinds of guards weigh with: counts put together, their past, remembered tests. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from control.judging.client_waits import ClientWaits
from control.judging.evidence import (
    BETS,
    Evidence,
    Floats,
    bets_test,
    label_ratios,
    limit_ratios,
    limit_test,
)
from control.judging.latency_spans import TimedSpans
from control.judging.measurements import Measurements
from control.judging.restarts import Remembered
from control.judging.unit_bets import UnitBets
from control.judging.verdicts import share
from router.counting.stage_counts import StageCounts
from router.rollout.values import Guard

_NOTHING = Remembered()

AHEAD = np.concatenate([[0.0], np.geomspace(1.0, 1e9, 200)])
"""Canary requests, comparisons or pairs from now at which evidence is looked up: now, then 11% apart."""


@dataclass(frozen=True, slots=True)
class GuardEvidence:
    """What counts say about one guard.

    Args:
        evidence: now and, at present rates, at each further place of `AHEAD`.
        harm_facts: the counts that speak most for harm, in words.
        safe_facts: the counts on which proof waits, or rests.
        tolerance: what is proven when it is proven, in words.
        ratios: of each test of harm the log likelihood ratios now, over everything: what `Past` remembers.
        doubt: an assumption that the counts do not keep, in words; or empty.
    """

    evidence: Evidence
    harm_facts: str
    safe_facts: str
    tolerance: str
    ratios: Mapping[str, Floats]
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known beside counts.

    Args:
        left: sums of the span test's bets, of clients that went away before they had an answer.
        tests: stakes of the tests of harm, by name; a test that is not in here begins now.
        paired: whether latency is judged by pairs timed side by side, else span by span.
        pairing: why no pairs are timed, in words; empty where they are, or may yet be.
        timed: compute times span by span; None before there are edges.
        clients: how long clients waited, stage by stage.
        measurements: of Prometheus, by the name of the guard.
        units: by the name of a guard that weighs units, what its bets on them won.
    """

    left: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    tests: Mapping[str, Remembered] = field(default_factory=dict)
    paired: bool = True
    pairing: str = ""
    timed: TimedSpans | None = None
    clients: Sequence[ClientWaits] = ()
    units: Mapping[str, UnitBets] = field(default_factory=dict)
    measurements: Mapping[str, Measurements] = field(default_factory=dict)

    def log_e(self, test: str, ratios: Floats) -> Floats:
        """The log e-value of a test of harm, from its ratios over everything."""
        return self.tests.get(test, _NOTHING).log_e(ratios)


@dataclass(frozen=True, slots=True)
class Pooled:
    """All stages, those of equal weight added up: within a weight the sums are sufficient.

    Args:
        rows: one per weight; one per stage where the split is sticky.
        weight: of each row, shape (rows,).
        present: the weight now, at which evidence is to grow.
        sticky: users stay where they were drawn, so that the draws of one stage are those of the next: rows
            are the stages then, in order, and what each shows is no news beside the others.
    """

    rows: tuple[StageCounts, ...]
    weight: Floats
    present: float
    sticky: bool = False

    def ahead(
        self, canary: Floats, stable: Floats, answers: tuple[float, float]
    ) -> tuple[Floats, Floats, Floats]:
        """Weight and events of both roles, now and ahead: more of the same rates at the present weight.

        Args:
            canary: events at the canary by row.
            stable: events at stable by row.
            answers: requests of the canary and of stable.
        """
        w = self.present
        rates = canary.sum() / answers[0], 0.0
        if 0.0 < w < 1.0 and answers[1] > 0:
            rates = rates[0], (1.0 - w) / w * stable.sum() / answers[1]
        more = [np.outer(AHEAD, np.append(np.zeros(len(canary)), rate)) for rate in rates]
        return (
            np.append(self.weight, w),
            np.append(canary, 0.0) + more[0],
            np.append(stable, 0.0) + more[1],
        )


def pool(stages: Sequence[StageCounts], *, sticky: bool = False) -> Pooled:
    """Add up the stages of equal weight unless the split is sticky; without stages, one without counts."""
    by_weight: dict[float, StageCounts] = {}
    for stage in stages:
        before = by_weight.get(stage.weight)
        by_weight[stage.weight] = stage if before is None else before + stage
    rows = tuple(stages if sticky else by_weight.values()) or (StageCounts(0.0),)
    weights = np.array([row.weight for row in rows])
    return Pooled(rows, weights, stages[-1].weight if stages else 0.0, sticky)


class Tests:
    """The tests of one guard: e-values for harm, and the ratios of now, which are to be remembered."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self.ratios: dict[str, Floats] = {}

    def log_e(self, name: str, ratios: Floats) -> Floats:
        """Of a test of harm, from its ratios (alternatives, now and ahead)."""
        self.ratios[name] = ratios[:, 0]
        return self._past.log_e(name, ratios)

    def labels(
        self, name: str, pooled: Pooled, events: tuple[Floats, Floats, Floats], ratio: float
    ) -> Floats:
        """Events at both roles against the draw.

        Over stages the ratios add up, since each request was drawn anew. Where the split is sticky the stages
        have their draws in common, so each is a test of its own, the j-th with 1 / (j (j + 1)) of the stake:
        the sum (and what is kept for later stages) is an e-value whatever their dependence.
        """
        if not pooled.sticky:
            return self.log_e(name, label_ratios(*events, ratio))
        last = len(pooled.rows) - 1
        stakes = [np.full(len(AHEAD), -np.log(last + 2.0))]
        for row in range(last + 1):
            columns = [row] if row < last else [row, last + 1]  # what is ahead belongs to the present stage
            weight, canary, stable = (counts[..., columns] for counts in events)
            found = self.log_e(f"{name}#{row + 1}", label_ratios(weight, canary, stable, ratio))
            stakes.append(found - np.log((row + 1.0) * (row + 2.0)))
        mixed: Floats = np.logaddexp.reduce(stakes, axis=0)
        return mixed

    def units(self, name: str, units: UnitBets, requests: float) -> Evidence:
        """The mean share of units against a limit, both ways; ahead, units as they came with requests."""
        ahead = 1.0 + AHEAD / max(requests, 1.0)
        harm = self.log_e(name, np.multiply.outer(units.harm, ahead))
        return Evidence(harm, bets_test(np.multiply.outer(units.safe, ahead)))

    def limit(self, name: str, events: Floats, trials: Floats, limit: float) -> Evidence:
        """A stream against a limit, both ways."""
        harm = self.log_e(name, limit_ratios(events, trials, limit))
        return Evidence(harm, limit_test(events, trials, limit).safe)


def mean_share(units: UnitBets) -> str:
    """The mean share over units, in words."""
    return share(units.shares / units.units) if units.units else "0%"


def unit_words(guard: Guard, pooled: Pooled) -> str:
    """In words what a guard weighs, when it is not single requests; or empty."""
    if guard.units is None:
        return ""
    if isinstance(guard.units.per, int):
        return f"spans of {guard.units.per} s"
    return "users" if pooled.sticky and guard.units.per == "key" else ""
