"""How long an A/B/n test should take at today's traffic: until harm is seen, and until the best is named.

Pure. Each candidate is sent through by the guards of `control.planning.plan`, as the one canary that it is
beside stable: of the requests that either is drawn for, at its chance of these, with its part of alpha. The
search for the best is simulated with one candidate that is ahead of all other sides, which are equal. There
requests come in slices that grow by a twentieth, so what is told is up to 5% more than it should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from control.judging.guards.simulation import Least, Traffic
from control.judging.outcomes.candidates import best_line, better_than_others
from control.judging.verdicts import share, waited
from control.planning.harms import harms, left_out
from control.planning.outcomes import GIVE_UP_SECONDS, LONG_SECONDS, Takes
from control.planning.plan import plan
from router.rollout.values import Canary, Outcome, Pause, Rollout, SetWeight, Step

LOOKS: Mapping[str, float] = {"10 min": 600.0, "1 h": 3600.0, "1 d": 86_400.0}
"""By when harm is seen or not, in seconds; fewer where the test ends before."""
_RUNS, _GROWTH, _FIRST = 100, 1.05, 20.0  # the first slice brings so many outcomes


@dataclass(frozen=True, slots=True)
class PlannedCandidate:
    """One candidate, simulated.

    Args:
        target: its key.
        weight: its share, in percent.
        caught: by kind of harm and then by time, what share of such candidates is taken off until then.
    """

    target: str
    weight: float
    caught: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class PlannedBest:
    """The search for the best, where one candidate is ahead.

    Args:
        outcome: by which.
        target: the candidate that is ahead.
        ahead: by which share of the others'.
        takes: mature outcomes of all sides together, and the time, until it is named in half of the runs.
        matures_after_seconds: what comes on top until outcomes are mature.
        max_seconds: when the test ends undecided; None for never.
    """

    outcome: str
    target: str
    ahead: float
    takes: Takes
    matures_after_seconds: float
    max_seconds: float | None

    def words(self) -> str:
        """For people."""
        outcomes, seconds = self.takes.outcomes, self.takes.seconds
        who = f"best by {self.outcome}: {self.target}, {share(self.ahead)} ahead of all others, is named"
        if outcomes is None or seconds is None:
            return f"{who} not within {waited(GIVE_UP_SECONDS)} at this traffic"
        later = f"; each is mature {waited(self.matures_after_seconds)} after its request"
        total = seconds + self.matures_after_seconds
        vain = ""
        if self.max_seconds is not None and total > self.max_seconds:
            vain = f"; the test ends before, after {waited(self.max_seconds)}"
        elif total > LONG_SECONDS:
            vain = "; that is long: fewer candidates take less, and so do greater shares"
        return f"{who} after about {float(f'{outcomes:.2g}'):,.0f} outcomes ({waited(seconds)}){later}{vain}"


def planned_candidates(rollout: Rollout, traffic: Traffic, least: Least) -> list[PlannedCandidate]:
    """When harm in each candidate is seen."""
    looks = _looks(rollout)
    alike = {(each.weight, each.mirror): each for each in rollout.candidates}
    caught = {key: _caught(rollout, each, traffic, least, looks) for key, each in alike.items()}
    return [
        PlannedCandidate(each.target.key, each.weight or 0.0, caught[each.weight, each.mirror])
        for each in rollout.candidates
    ]


def _looks(rollout: Rollout) -> dict[str, float]:
    """By when to look, until the test ends."""
    ends = rollout.best.max_seconds if rollout.best is not None else None
    if ends is None:
        return dict(LOOKS)
    sooner = {name: until for name, until in LOOKS.items() if until < ends}
    return sooner if len(sooner) == len(LOOKS) else sooner | {waited(ends): ends}


def _caught(
    rollout: Rollout, candidate: Canary, traffic: Traffic, least: Least, looks: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """By kind of harm, what share of such candidates is taken off by when."""
    weight = candidate.weight or 0.0
    both = weight + _stables(rollout)
    seen = replace(
        traffic,
        requests_per_second=traffic.requests_per_second * both / 100.0,
        mirror=candidate.mirror / 100.0,
    )
    waits = [Pause(until - since) for since, until in pairwise((0.0, *looks.values()))]
    steps: list[Step] = [SetWeight(100.0 * weight / both), *waits]
    alpha = rollout.alpha / len(rollout.candidates)
    caught = {}
    for name, harm in harms(rollout, seen, least).items():
        planned = plan(steps, rollout.guards, alpha, seen, harm)
        caught[name] = dict(zip(looks, (step.caught for step in planned[1:]), strict=True))
    return caught


def untold_guards(rollout: Rollout, traffic: Traffic) -> list[str]:
    """Enforced guards of which nothing can be foretold for any candidate, with the reason."""
    mirror = max(each.mirror for each in rollout.candidates) / 100.0
    return left_out(rollout, replace(traffic, mirror=mirror))


def planned_best(rollout: Rollout, traffic: Traffic, ahead: float) -> list[PlannedBest]:
    """When a candidate that is so much ahead of all others is named, each in turn; nothing where unknown.

    Args:
        rollout: the document's.
        traffic: of today, with how often the outcome comes.
        ahead: by which share of the others' it is better.
    """
    best = rollout.best
    outcome = rollout.outcome(best.outcome) if best is not None else None
    if best is None or outcome is None or untold_best(rollout, traffic):
        return []
    told = traffic.outcomes[best.outcome]
    return [
        PlannedBest(
            best.outcome,
            candidate.target.key,
            ahead,
            _takes(rollout, outcome, number, traffic, ahead),
            told.matures_after_seconds,
            best.max_seconds,
        )
        for number, candidate in enumerate(rollout.candidates, 1)
    ]


def untold_best(rollout: Rollout, traffic: Traffic) -> str:
    """Why nothing can be foretold of the search for the best; empty where it can, or none is asked for."""
    if rollout.best is None:
        return ""
    outcome = rollout.outcome(rollout.best.outcome)
    if outcome is not None and outcome.kind != "binary":
        return f"best by {outcome.name}: how far the answers of two candidates are apart is not known"
    if rollout.best.outcome not in traffic.outcomes:
        return f"say what share of requests have it: --outcome {rollout.best.outcome}=5%"
    return ""


def _stables(rollout: Rollout) -> float:
    """Its share, in percent."""
    return 100.0 - sum(each.weight or 0.0 for each in rollout.candidates)


def _takes(rollout: Rollout, outcome: Outcome, number: int, traffic: Traffic, ahead: float) -> Takes:
    weights = np.array([_stables(rollout), *(each.weight or 0.0 for each in rollout.candidates)]) / 100.0
    share_of_it, higher = traffic.outcomes[outcome.name].share, outcome.better == "higher"
    rates = np.full(len(weights), share_of_it)
    rates[number] = min(share_of_it * (1.0 + ahead if higher else 1.0 - ahead), 1.0)
    rng, events = np.random.default_rng(1), np.zeros((_RUNS, 1, len(weights)))
    line = best_line(len(rollout.candidates), rollout.alpha)
    reached, requests, slice_of = np.full((2, _RUNS), np.inf), 0.0, _FIRST / share_of_it
    while (
        np.isinf(reached[0]).sum() > _RUNS // 2 and requests < GIVE_UP_SECONDS * traffic.requests_per_second
    ):
        slice_of = max(slice_of, requests * (_GROWTH - 1.0))
        requests += slice_of
        events[:, 0] += rng.binomial(rng.multinomial(round(slice_of), weights, _RUNS), rates)
        log_e = better_than_others(weights[np.newaxis], events, number, higher_is_better=higher)
        now = np.isinf(reached[0]) & (np.delete(log_e, number, axis=-1) >= line).all(axis=-1)
        reached[:, now] = np.array([events.sum(axis=(1, 2))[now], np.full(now.sum(), requests)])
    outcomes, seconds = np.sort(reached)[:, _RUNS // 2 - 1]
    if np.isinf(outcomes):
        return Takes(None, None)
    return Takes(float(outcomes), float(seconds) / traffic.requests_per_second)
