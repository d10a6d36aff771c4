"""What the kinds of guards weigh with: counts put together, their past, remembered tests. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

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
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.judging.restarts import Remembered
from control.judging.unit_bets import UnitBets
from control.judging.verdicts import Effect, SegmentVerdict, share
from router.counting.segments import Places
from router.counting.stage_counts import StageCounts
from router.rollout.values import Guard

_NOTHING = Remembered()
_ROUNDING = 1e-9

AHEAD = np.concatenate([[0.0], np.geomspace(1.0, 1e9, 200)])
"""Canary requests, comparisons or pairs from now at which evidence is looked up: now, then 11% apart."""


def _no_effect(_line: float) -> None:
    """Of a guard that tells no effect."""


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
        recorded: comparisons in it that are of recorded requests.
        segments: those that a guard looks at by themselves, the worst first.
        effect: of the logarithm of 1 / alpha, how far the canary is from stable.
    """

    evidence: Evidence
    harm_facts: str
    safe_facts: str
    tolerance: str
    ratios: Mapping[str, Floats]
    doubt: str = ""
    recorded: int = 0
    segments: tuple[SegmentVerdict, ...] = ()
    effect: Callable[[float], Effect | None] = _no_effect


@dataclass(frozen=True, slots=True)
class Segmented:
    """How the errors of segments are judged.

    Args:
        header: whose value names them, in lower case.
        places: of the values that were seen in this evidence.
        max_ratio: greatest tolerated ratio of the canary's error rate to stable's in each.
    """

    header: str
    places: Places
    max_ratio: float


class DrawnUsers(NamedTuple):
    """Sticky users whose first requests of a stage are known, each once over all processes.

    Args:
        weight: the canary's share of those who are drawn anew, a fraction.
        canary: users who were drawn to the canary.
        stable: to stable.
    """

    weight: float
    canary: int
    stable: int


@dataclass(frozen=True, slots=True)
class Past:
    """What is known beside counts.

    Args:
        left: sums of the span test's bets, of clients that went away before they had an answer.
        tests: stakes of the tests of harm, by name; a test that is not in here begins now.
        paired: whether latency is judged by pairs timed side by side, else span by span.
        pairing: why no pairs are timed, in words; empty where they are, or may yet be.
        top_up: why no recorded requests are run, in words; empty where they are, or none are wanted.
        timed: compute times span by span; None before there are edges.
        clients: how long clients waited, stage by stage.
        measurements: of Prometheus, by the name of the guard.
        units: by the name of a guard that weighs units, what its bets on them won.
        outcomes: by the name of a guard on an outcome, what those have come to, stage by stage.
        segmented: how segments are judged; None where no guard looks at them.
        users: with sticky users those who were drawn anew, stage by stage; none where nobody tells of them.
    """

    left: Floats = field(default_factory=lambda: np.zeros(len(BETS)))
    tests: Mapping[str, Remembered] = field(default_factory=dict)
    paired: bool = True
    pairing: str = ""
    top_up: str = ""
    timed: TimedSpans | None = None
    clients: Sequence[ClientWaits] = ()
    units: Mapping[str, UnitBets] = field(default_factory=dict)
    measurements: Mapping[str, Measurements] = field(default_factory=dict)
    outcomes: Mapping[str, Sequence[StageOutcomes]] = field(default_factory=dict)
    segmented: Segmented | None = None
    users: Sequence[DrawnUsers] = ()

    def log_e(self, test: str, ratios: Floats) -> Floats:
        """The log e-value of a test of harm, from its ratios over everything."""
        return self.tests.get(test, _NOTHING).log_e(ratios)


@dataclass(frozen=True, slots=True)
class Pooled:
    """All stages, those of equal weight added up: within a weight the sums are sufficient.

    Args:
        rows: one per weight.
        weight: of each row, shape (rows,); where the split is sticky that among users who are drawn anew.
        present: the weight now, at which evidence is to grow.
        sticky: users stay where they were drawn.
        known: with sticky users, the greatest share that was drawn before where that now is not above it, so
            that nobody is drawn anew; else 0.
    """

    rows: tuple[StageCounts, ...]
    weight: Floats
    present: float
    sticky: bool = False
    known: float = 0.0

    @property
    def nobody_new(self) -> str:
        """In words why the present stage makes no draw; or empty."""
        if self.known <= 0.0:
            return ""
        return (
            f"no user is drawn anew in this stage: {share(self.known)} were drawn to the canary before, and"
            " the weight is not above that, so canary and stable cannot be held against each other (raise it,"
            " or abort and resume, which draws users anew)"
        )

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
        rates = canary.sum() / max(answers[0], 1.0), 0.0
        if 0.0 < w < 1.0 and answers[1] > 0:
            rates = rates[0], (1.0 - w) / w * stable.sum() / answers[1]
        more = [np.outer(AHEAD, np.append(np.zeros(len(canary)), rate)) for rate in rates]
        return (
            np.append(self.weight, w),
            np.append(canary, 0.0) + more[0],
            np.append(stable, 0.0) + more[1],
        )


def pool(stages: Sequence[StageCounts], *, sticky: bool = False) -> Pooled:
    """Add up the stages of equal weight; without stages, one without counts."""
    by_weight: dict[float, StageCounts] = {}
    for stage in drawn_anew(stages) if sticky else stages:
        each = replace(stage, beyond=0.0)
        before = by_weight.get(stage.weight)
        by_weight[stage.weight] = each if before is None else before + each
    rows = tuple(by_weight.values()) or (StageCounts(0.0),)
    weights = np.array([row.weight for row in rows])
    present = stages[-1] if stages else StageCounts(0.0)
    known = present.beyond if present.weight == 0.0 else 0.0
    return Pooled(rows, weights, present.weight, sticky, known)


def drawn_anew(stages: Sequence[StageCounts]) -> list[StageCounts]:
    """The stages of one evidence, with the draws of those users only whom no stage before had drawn.

    A user stays where the draw of a stage sent them, so the next one draws nobody anew but those above the
    greatest weight W until then. Given all that was seen before, the point of each of these is spread evenly
    over [W, 1): each comes to the canary with chance (w - W) / (1 - W), the stage's `weight`. So the evidence
    of one stage multiplies that of the others, as where each request is drawn. A stage that was counted
    otherwise, by routers of an older version, has no draw here.
    """
    greatest, found = 0.0, []
    for stage in stages:
        found.append(stage if stage.beyond >= greatest - _ROUNDING else stage.without_draws())
        greatest = max(greatest, stage.beyond + (1.0 - stage.beyond) * stage.weight)
    return found


class Tests:
    """The tests of one guard: e-values for harm, and the ratios of now, which are to be remembered."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self.ratios: dict[str, Floats] = {}

    def log_e(self, name: str, ratios: Floats) -> Floats:
        """Of a test of harm, from its ratios (alternatives, now and ahead)."""
        self.ratios[name] = ratios[:, 0]
        return self._past.log_e(name, ratios)

    def labels(self, name: str, events: tuple[Floats, Floats, Floats], ratio: float) -> Floats:
        """Events at both roles against the draw; over stages the ratios add up, since each draws anew."""
        return self.log_e(name, label_ratios(*events, ratio))

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
