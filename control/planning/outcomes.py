"""How many outcomes, and how much time, guards on outcomes should take at today's traffic. Pure.

Each guard by itself, with a canary that is as good and with the smallest harm worth catching, at each weight
at which a proof is asked for. Requests come in slices that grow by a tenth, so what is told is up to a tenth
more than it should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log
from typing import NamedTuple

import numpy as np

from control.judging.guards.lines import harm_lines
from control.judging.guards.outcome_simulation import (
    SimulatedLabels,
    SimulatedOutcomes,
    labels_harm,
    labels_untold,
    outcomes_harm,
    outcomes_untold,
)
from control.judging.guards.simulation import Behaviour, Least, Runs, ToldOutcome, Traffic
from control.judging.outcomes.maturity import proofs_before_maturity
from control.judging.verdicts import waited
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard
from router.rollout.values import Prove, Rollout, SetWeight

GIVE_UP_SECONDS = 365 * 86_400.0
LONG_SECONDS = 7 * 86_400.0
_RUNS, _GROWTH, _FIRST = 100, 1.1, 20.0  # the first slice brings so many outcomes


@dataclass(frozen=True, slots=True)
class Takes:
    """What a verdict takes, in half of the runs; both are None where it is not reached within a year.

    Args:
        outcomes: of both sides together, or labels.
        seconds: until so many requests have come.
    """

    outcomes: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Needed:
    """What one guard takes at one weight.

    Args:
        guard: its name.
        outcome: that it is on.
        weight: the canary's percentage.
        proof: of a canary as good as stable.
        harm: of one with the smallest harm worth catching.
        of_harm: what that is, in words.
        matures_after_seconds: what comes on top until outcomes are mature; 0 for labels.
        labels_within_seconds: of a label, by when it is told at the latest; else 0.
    """

    guard: str
    outcome: str
    weight: float
    proof: Takes
    harm: Takes
    of_harm: str
    matures_after_seconds: float
    labels_within_seconds: float = 0.0

    def words(self) -> str:
        """For people."""
        what = "labels" if self.labels_within_seconds else "outcomes"
        later = ""
        if self.matures_after_seconds:
            later = f"; each is mature {waited(self.matures_after_seconds)} after its request"
        if self.labels_within_seconds:
            later = f"; labels may come {waited(self.labels_within_seconds)} after their request"
        seconds = self.proof.seconds
        long = ""
        if seconds is None or seconds > LONG_SECONDS:
            long = "; that is long: a limit that tolerates more takes less, and so does "
            long += "a greater mirror, or more labels" if self.labels_within_seconds else "a greater weight"
        return (
            f"{self.guard} at {self.weight:g}%: as good a canary is proven {_after(self.proof, what)};"
            f" {self.of_harm} are found {_after(self.harm, what)}{later}{long}"
        )


def _after(takes: Takes, what: str) -> str:
    if takes.outcomes is None or takes.seconds is None:
        return f"not within {waited(GIVE_UP_SECONDS)} at this traffic"
    return f"after about {float(f'{takes.outcomes:.2g}'):,.0f} {what} ({waited(takes.seconds)})"


def needed(rollout: Rollout, traffic: Traffic, least: Least) -> list[Needed]:
    """What each guard on an outcome takes, of which anything can be foretold."""
    proof_line = log(1.0 / rollout.alpha)
    lines = [(line, proof_line) for line in harm_lines(rollout.guards, rollout.alpha)]
    return [
        _needed(guard, rollout, weight, traffic, least, both)
        for weight in weights(rollout)
        for guard, both in zip(rollout.guards, lines, strict=True)
        if isinstance(guard, AccuracyGuard | OutcomeGuard) and not _untold(guard, traffic)
    ]


def _on_outcomes(rollout: Rollout) -> list[AccuracyGuard | OutcomeGuard]:
    return [guard for guard in rollout.guards if isinstance(guard, AccuracyGuard | OutcomeGuard)]


def _untold(guard: AccuracyGuard | OutcomeGuard, traffic: Traffic) -> str:
    if isinstance(guard, AccuracyGuard):
        return labels_untold(guard, traffic)
    return outcomes_untold(guard, traffic)


def weights(rollout: Rollout) -> list[float]:
    """At which proofs are asked for, in percent; without any all that the steps set, between 0 and 100."""
    steps = () if rollout.canary is None else rollout.canary.steps
    weight, at_proofs, at_all = 0.0, [], []
    for step in steps:
        if isinstance(step, SetWeight):
            weight = step.percent
            at_all.append(weight)
        elif isinstance(step, Prove):
            at_proofs.append(weight)
    return [each for each in dict.fromkeys(at_proofs or at_all) if 0.0 < each < 100.0]


def _needed(
    guard: AccuracyGuard | OutcomeGuard,
    rollout: Rollout,
    weight: float,
    traffic: Traffic,
    least: Least,
    lines: tuple[float, float],
) -> Needed:
    told = traffic.outcomes[guard.outcome]
    outcome = rollout.outcome(guard.outcome)
    label = isinstance(guard, AccuracyGuard)
    of_harm, harmful = (labels_harm if label else outcomes_harm)(least, traffic)
    at_once = replace(traffic, outcomes={guard.outcome: replace(told, matures_after_seconds=0.0)})
    return Needed(
        guard.name,
        guard.outcome,
        weight,
        _takes(guard, weight / 100, at_once, Behaviour(traffic.error_rate), lines, harm=False),
        _takes(guard, weight / 100, at_once, harmful, lines, harm=True),
        of_harm,
        told.matures_after_seconds,
        outcome.within_seconds if label and outcome is not None else 0.0,
    )


def _takes(
    guard: AccuracyGuard | OutcomeGuard,
    weight: float,
    traffic: Traffic,
    canary: Behaviour,
    lines: tuple[float, float],
    *,
    harm: bool,
) -> Takes:
    told = traffic.outcomes[guard.outcome]
    of, rng = Runs(_RUNS, [weight], traffic, canary), np.random.default_rng(1)
    simulated = (
        SimulatedLabels(guard, of, told)
        if isinstance(guard, AccuracyGuard)
        else SimulatedOutcomes(guard, of, told)
    )
    share_of_it = told.share * (traffic.mirror * (1.0 - weight) if isinstance(guard, AccuracyGuard) else 1.0)
    reached, requests, slice_of = np.full((2, _RUNS), np.inf), 0.0, _FIRST / share_of_it
    everyone, most = np.arange(_RUNS), GIVE_UP_SECONDS * traffic.requests_per_second
    while np.isinf(reached[0]).sum() > _RUNS // 2 and requests < most:
        slice_of = max(slice_of, requests * (_GROWTH - 1.0))
        requests += slice_of
        of_all = rng.poisson(slice_of, _RUNS)
        at_canary = rng.binomial(of_all, weight)
        simulated.add(rng, everyone, 0, at_canary, of_all - at_canary)
        evidence = simulated.evidence(everyone, slice(None))
        now = np.isinf(reached[0]) & ((evidence.harm >= lines[0]) if harm else (evidence.safe >= lines[1]))
        reached[:, now] = np.array([simulated.events()[now], np.full(now.sum(), requests)])
    outcomes, seconds = np.sort(reached)[:, _RUNS // 2 - 1]
    if np.isinf(outcomes):
        return Takes(None, None)
    return Takes(float(outcomes), float(seconds) / traffic.requests_per_second)


class Share(NamedTuple):
    """What people say of an outcome.

    Args:
        share: of the requests, that have it, or are labelled.
        discordant: of a label, the share of labels about which just one of the two is right.
    """

    share: float
    discordant: float = 0.05


def told_outcomes(rollout: Rollout, shares: Mapping[str, Share]) -> dict[str, ToldOutcome]:
    """How those outcomes of a rollout are told whose share is known, and those of which none says enough."""
    found = {}
    for outcome in rollout.outcomes:
        matures = 0.0 if outcome.kind == "label" else outcome.within_seconds
        if outcome.kind == "number" or outcome.range is not None:
            found[outcome.name] = ToldOutcome(0.0, graded=True)
        elif outcome.name in shares:
            found[outcome.name] = ToldOutcome(*shares[outcome.name], matures_after_seconds=matures)
    return found


def beside(rollout: Rollout, traffic: Traffic) -> list[str]:
    """What else is to be said of guards on outcomes, in words."""
    found = proofs_before_maturity(rollout)
    found += [
        f"{guard.name}: users count once, and here each request is taken for one: with so many requests a"
        " user it takes so many times as long"
        for guard in rollout.guards_of(OutcomeGuard)
        if rollout.sticky_header is not None and guard.outcome in traffic.outcomes
    ]
    missing = {guard.outcome for guard in _on_outcomes(rollout)} - traffic.outcomes.keys()
    return found + [f"say what share of requests have it: --outcome {name}=5%" for name in sorted(missing)]
