"""`errors`: weighed, simulated, in words. Pure."""

from collections import Counter
from functools import partial

import numpy as np

from control.judging.evidence import Evidence, Floats, label_test
from control.judging.guard_evidence import AHEAD, GuardEvidence, Past, Pooled, Tests, mean_share, unit_words
from control.judging.guards.effects import ratio_effect, share_effect
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
from router.rollout.guards.errors import ErrorsGuard

_FAILING, _LEAVING = np.log(7 / 8), np.log(1 / 8)
"""Stakes of the two ways in which a canary fails clients: it fails, or lets them wait until they leave."""

_PART = 2.0
"""Of alpha: what fails is lost at once; what is slow, or differs, can be borne for longer."""


def _weigh(guard: ErrorsGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    """Failures, and clients that went away before they had an answer.

    With both limits, good means an error rate of at most the greater of the two.

    Harm is then worse than either, so the least of the two e-values; proof is being within either, so their
    mean: whichever null holds, each is an e-value.

    Whether an abandoned request would have failed nobody knows. The label test of failures leaves them out
    for harm, where clients that leave in bursts would be taken for many; the span test of them has an eighth
    of the stake. Proof of the ratio must hold with and without them as events, and `max` is tested on
    requests that came to an end. Where the split is sticky, proof must hold for the first request of each
    user too: of users that ask often enough, all have erred once, whoever serves them.
    """
    failed = np.array([float(row.canary.errors) for row in pooled.rows])
    failed_stable = np.array([float(row.stable.errors) for row in pooled.rows])
    gone = np.array([float(row.canary.abandoned) for row in pooled.rows])
    gone_stable = np.array([float(row.stable.abandoned) for row in pooled.rows])
    c, s = float(failed.sum()), float(failed_stable.sum())
    n = float(sum(row.canary.requests for row in pooled.rows))
    n_stable = float(sum(row.stable.requests for row in pooled.rows))
    again = sum(row.again for row in pooled.rows)
    if n + again == 0:
        return pooled.nobody_new or "no canary request was counted yet"
    tests = Tests(past)
    found, tolerated = [], []
    if guard.max_ratio is not None:
        erred, unanswered = (failed, failed_stable), (gone, gone_stable)
        found.append(_ratio(guard.max_ratio, pooled, tests, erred, unanswered, (n, n_stable)))
        tolerated.append(f"at most {guard.max_ratio:g} times stable's rate")
    if guard.max is not None:
        found.append(_limit(guard, guard.max, pooled, past, tests, n + again, float(gone.sum())))
        tolerated.append(f"at most {share(guard.max)}")
    evidence = found[0] if len(found) == 1 else found[0].either(found[1])
    leaving = (
        f"clients of {gone.sum():,.0f} of {n:,.0f} canary requests went away unanswered, against"
        f" {gone_stable.sum():,.0f} of {n_stable:,.0f} at stable"
    )
    # Keys that erred may be told before the requests among which they are; what failed was asked.
    facts = (
        f"{c:,.0f} of {max(n, c):,.0f} canary requests failed against {s:,.0f} of {max(n_stable, s):,.0f} at"
        " stable"
    )
    facts += _of_units(guard, pooled, past) + _kinds(pooled)
    if gone.sum() + gone_stable.sum() > 0:
        facts = f"{facts}; {leaving}"
    if again:
        facts += f"; {again:,} more at the canary are of users who were drawn in an earlier stage"
    doubt = pooled.nobody_new if guard.max_ratio is not None else ""
    facts = "; ".join(filter(None, [facts, doubt]))
    left = float(tests.log_e("errors/left", past.left[:, np.newaxis])[0])
    harm_facts = leaving if left + _LEAVING > float(evidence.harm[0]) + _FAILING else facts
    harm = np.logaddexp(evidence.harm + _FAILING, left + _LEAVING)
    evidence = evidence._replace(harm=harm)
    effect = partial(_effect, guard, pooled, past, (failed, failed_stable))
    words = harm_facts, facts, _greater(tolerated)
    return GuardEvidence(evidence, *words, tests.ratios, doubt, effect=effect)


def _of_units(guard: ErrorsGuard, pooled: Pooled, past: Past) -> str:
    """What units say of the limit, in words; empty where there are none."""
    units = past.units.get(guard.name)
    if guard.max is None or units is None or units.units <= 0:
        return ""
    return (
        f"; {mean_share(units)} of the canary's requests, as the mean over {units.units:,.0f}"
        f" {unit_words(guard, pooled)}"
    )


def _effect(
    guard: ErrorsGuard, pooled: Pooled, past: Past, failed: tuple[Floats, Floats], line: float
) -> Effect | None:
    """How many times stable's the error rate is; with `max` alone, and no units, the rate itself."""
    if guard.max_ratio is not None:
        return ratio_effect(pooled.weight, *failed, line)
    if guard.name in past.units:
        return None
    ended = sum(row.canary.requests - row.canary.abandoned for row in pooled.rows)
    failures = sum(row.canary.failures for row in pooled.rows)
    return share_effect(failures, ended, line) if ended else None


_KINDS = {
    "timeout": "{:,} timed out",
    "unavailable": "{:,} found no connection, or 503",
    "failed": "{:,} got another 5xx or an answer that cannot be used",
    "refused": "{:,} were refused though stable accepts them",
}


def _kinds(pooled: Pooled) -> str:
    """What the canary's failures were, as far as workers tell."""
    total = sum((Counter(row.failed_by) for row in pooled.rows), Counter[str]())
    told = ", ".join(words.format(total[kind]) for kind, words in _KINDS.items() if total[kind])
    more = sum(total.values()) > sum(row.canary.errors for row in pooled.rows)
    whose = "the canary's, with those that are told and not counted yet" if more else "the canary's"
    return f" ({whose}: {told})" if told else ""


def _ratio(
    max_ratio: float,
    pooled: Pooled,
    tests: Tests,
    failed: tuple[Floats, Floats],
    gone: tuple[Floats, Floats],
    asked: tuple[float, float],
) -> Evidence:
    """`maxRatio`: counts by weight, each of the canary and of stable."""
    by_failures = pooled.ahead(failed[0], failed[1], asked)
    events = [by_failures, pooled.ahead(failed[0] + gone[0], failed[1] + gone[1], asked)]
    if pooled.sticky:
        first = [
            np.array([float(role.failures) for role in roles])
            for roles in zip(*((row.canary, row.stable) for row in pooled.rows), strict=True)
        ]
        events.append(pooled.ahead(first[0], first[1], asked))
    proofs = [label_test(*counts, max_ratio).safe for counts in events]
    return Evidence(tests.labels("errors/maxRatio", by_failures, max_ratio), np.min(proofs, axis=0))


def _limit(
    guard: ErrorsGuard, limit: float, pooled: Pooled, past: Past, tests: Tests, n: float, gone: float
) -> Evidence:
    """`max`, by units where there are such, else of the canary's requests that came to an end."""
    units = past.units.get(guard.name)
    if units is not None:
        return tests.units("errors/max/units", units, n)
    failures = float(sum(row.canary.failures for row in pooled.rows))
    ended = n - gone
    return tests.limit("errors/max", failures + AHEAD * (failures / n), ended + AHEAD * (ended / n), limit)


def _greater(tolerated: list[str]) -> str:
    return tolerated[0] if len(tolerated) == 1 else " or ".join(tolerated) + ", whichever is more"


class _Simulated:
    def __init__(self, guard: ErrorsGuard, of: Runs) -> None:
        self.guard, self.weights = guard, of.weights
        self.rates = of.canary.error_rate, of.traffic.error_rate
        self.canary, self.stable, self.requests = np.zeros((3, of.number, len(of.weights)))

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, canary: Ints, stable: Ints, /) -> None:
        self.canary[runs, stage] += rng.binomial(canary, self.rates[0])
        self.stable[runs, stage] += rng.binomial(stable, self.rates[1])
        self.requests[runs, stage] += canary

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        canary, stable, found = self.canary[runs, stages], self.stable[runs, stages], []
        if self.guard.max_ratio is not None:
            found.append(label_test(self.weights[stages], canary, stable, self.guard.max_ratio))
        if self.guard.max is not None:
            requests = self.requests[runs, stages].sum(axis=1)
            found.append(limit_evidence(canary.sum(axis=1), requests, self.guard.max))
        evidence = first_tick(found[0] if len(found) == 1 else found[0].either(found[1]))
        return evidence._replace(harm=np.logaddexp(evidence.harm + _FAILING, _LEAVING))


def _harm(least: Least, _traffic: Traffic) -> tuple[str, Behaviour]:
    return f"{share(least.errors)} errors", Behaviour(least.errors)


JUDGED: dict[type, Judged] = {
    ErrorsGuard: Judged(_weigh, _Simulated, foretold, _harm, offline=True, part=_PART)
}
