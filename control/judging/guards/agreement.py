"""`agreement`: weighed, simulated, in words. Pure."""

from functools import partial

import numpy as np

from control.judging.evidence import Evidence
from control.judging.guard_evidence import AHEAD, GuardEvidence, Past, Pooled, Tests, mean_share, unit_words
from control.judging.guards.effects import share_effect
from control.judging.guards.judged import Judged, foretold
from control.judging.guards.simulation import (
    Behaviour,
    Ints,
    Least,
    Runs,
    Traffic,
    first_tick,
    limit_evidence,
)
from control.judging.verdicts import Effect, share
from router.rollout.guards.agreement import AgreementGuard

REPEATED_SHARE = 0.1
"""Of the compared requests: when more repeat a body, the reason says so."""


def _weigh(guard: AgreementGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    pairs = [row.agreement.get(guard.output, (0, 0)) for row in pooled.rows]
    n, differing = float(sum(pair[0] for pair in pairs)), float(sum(pair[1] for pair in pairs))
    if n == 0:
        return f"no answer was compared in {guard.output} yet{_no_top_up(past)}"
    tests = Tests(past)
    units = past.units.get(guard.name)
    tolerated = share(1.0 - guard.min)
    if units is None:
        evidence = tests.limit(guard.name, differing + AHEAD * (differing / n), n + AHEAD, 1.0 - guard.min)
        facts = f"{differing:,.0f} of {n:,.0f} comparisons of {guard.output} differed, tolerated {tolerated}"
    elif units.units == 0:
        return (
            f"of {n:,.0f} comparisons of {guard.output} no unit ({unit_words(guard, pooled)}) has ended yet"
            f"{_no_top_up(past)}"
        )
    else:
        evidence = tests.units(f"{guard.name}/units", units, n)
        facts = (
            f"{mean_share(units)} of the comparisons of {guard.output} differed, as the mean over"
            f" {units.units:,.0f} {unit_words(guard, pooled)}, tolerated {tolerated}"
        )
    recorded = sum(row.recorded.get(guard.output, (0, 0))[0] for row in pooled.rows)
    if recorded:
        facts += f"; of {n:,.0f} comparisons {recorded:,} were of recorded requests"
    facts += _no_top_up(past)
    doubt = ""
    repeated = sum(row.repeated for row in pooled.rows)
    if guard.per == "key" and repeated > REPEATED_SHARE * n:
        doubt = (
            f"{repeated:,} of the compared requests repeat an earlier body, so they are not independent and"
            " the verdict may be wrong more often than alpha (`per: body` counts each body once)"
        )
        facts += f"; {doubt}"
    tolerance = f"at least {share(guard.min)} agreement"
    effect = partial(_effect, None if units is not None else (differing, n))
    return GuardEvidence(evidence, facts, facts, tolerance, tests.ratios, doubt, recorded, effect=effect)


def _effect(counted: tuple[float, float] | None, line: float) -> Effect | None:
    """The share that differs; of units nobody can tell, whose bets are those of the one tolerance."""
    return None if counted is None else share_effect(*counted, line)


def _no_top_up(past: Past) -> str:
    return f"; no recorded request is run: {past.top_up}" if past.top_up else ""


class _Simulated:
    def __init__(self, guard: AgreementGuard, of: Runs) -> None:
        self.limit, self.mirror, self.rate = 1.0 - guard.min, of.traffic.mirror, of.canary.disagreement
        self.differing, self.compared = np.zeros((2, of.number, len(of.weights)))

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, _canary: Ints, stable: Ints, /) -> None:
        compared = rng.binomial(stable, self.mirror)
        self.compared[runs, stage] += compared
        self.differing[runs, stage] += rng.binomial(compared, self.rate)

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        differing, compared = self.differing[runs, stages], self.compared[runs, stages]
        return first_tick(limit_evidence(differing.sum(axis=1), compared.sum(axis=1), self.limit))


def _harm(least: Least, traffic: Traffic) -> tuple[str, Behaviour]:
    behaviour = Behaviour(traffic.error_rate, disagreement=1 - least.agreement)
    return f"{share(least.agreement)} agreement", behaviour


JUDGED: dict[type, Judged] = {AgreementGuard: Judged(_weigh, _Simulated, foretold, _harm, offline=True)}
