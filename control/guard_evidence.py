"""What the counts of a rollout say about each guard, now and further on at present rates. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from control.evidence import Evidence, Floats, label_test, limit_test, mismatch
from control.latency_edges import MIN_BASELINE, LatencyEdges, slower_than
from control.verdicts import duration, e_value, share
from router.latency import BUCKETS, edge, shift_down, shift_up
from router.rollout import AgreementGuard, ErrorsGuard, LatencyGuard
from router.stage_counts import StageCounts

CountedGuard = ErrorsGuard | LatencyGuard | AgreementGuard

_FAILING, _LEAVING = np.log(0.8), np.log(0.2)
"""Stakes of the two ways in which a canary fails clients: it fails, or lets them wait until they leave."""

AHEAD = np.concatenate([[0.0], np.geomspace(1.0, 1e9, 200)])
"""Canary requests (or comparisons) from now at which evidence is looked up: now first, then 11% apart."""


@dataclass(frozen=True, slots=True)
class GuardEvidence:
    """What counts say about one guard.

    Args:
        evidence: now and, at present rates, at each further place of `AHEAD`.
        harm_facts: the counts that speak most for harm, in words.
        safe_facts: the counts on which proof waits, or rests.
        tolerance: what is proven when it is proven, in words.
    """

    evidence: Evidence
    harm_facts: str
    safe_facts: str
    tolerance: str


@dataclass(frozen=True, slots=True)
class Pooled:
    """All stages, those of equal weight added up: within a weight the sums are sufficient.

    Args:
        rows: one per weight.
        weight: of each row, shape (rows,).
        present: the weight now, at which evidence is to grow.
    """

    rows: tuple[StageCounts, ...]
    weight: Floats
    present: float


def pool(stages: Sequence[StageCounts]) -> Pooled:
    """Add up the stages of equal weight; without stages, one without counts."""
    by_weight: dict[float, StageCounts] = {}
    for stage in stages:
        before = by_weight.get(stage.weight)
        by_weight[stage.weight] = stage if before is None else before + stage
    rows = tuple(by_weight.values()) or (StageCounts(0.0),)
    return Pooled(rows, np.array([row.weight for row in rows]), stages[-1].weight if stages else 0.0)


def weigh(
    guard: CountedGuard, pooled: Pooled, edges: LatencyEdges | None, alpha: float, left: float
) -> GuardEvidence | str:
    """The evidence on a guard, or in words why there is none; the arguments are those of `judge`."""
    match guard:
        case ErrorsGuard():
            return _test_errors(guard, pooled, left)
        case LatencyGuard():
            return _test_latency(guard, pooled, edges, alpha)
        case AgreementGuard():
            return _test_agreement(guard, pooled)


# ------------------------------------------------------------------ one function for each kind of guard
def _test_errors(guard: ErrorsGuard, pooled: Pooled, left: float) -> GuardEvidence | str:
    """Failures, and clients that went away before they had an answer.

    With both limits, good means an error rate of at most the greater of the two.

    Harm is then worse than either, so the least of the two e-values; proof is being within either, so their
    mean: whichever null holds, each is an e-value.

    Whether an abandoned request would have failed nobody knows. The label test of failures leaves them out
    for harm, where clients that leave in bursts would be taken for many; the span test of them has a fifth of
    the stake. Proof of the ratio must hold with and without them as events, and `max` is tested on requests
    that came to an end.
    """
    failed = np.array([float(row.canary.errors) for row in pooled.rows])
    failed_stable = np.array([float(row.stable.errors) for row in pooled.rows])
    gone = np.array([float(row.canary.abandoned) for row in pooled.rows])
    gone_stable = np.array([float(row.stable.abandoned) for row in pooled.rows])
    c, s = float(failed.sum()), float(failed_stable.sum())
    n = float(sum(row.canary.requests for row in pooled.rows))
    n_stable = float(sum(row.stable.requests for row in pooled.rows))
    if n == 0:
        return "no canary request was counted yet"
    found, tolerated = [], []
    if guard.max_ratio is not None:
        ratio = guard.max_ratio
        by_failures = _labels(pooled, failed, failed_stable, (n, n_stable), ratio)
        with_gone = _labels(pooled, failed + gone, failed_stable + gone_stable, (n, n_stable), ratio)
        found.append(by_failures._replace(safe=np.minimum(by_failures.safe, with_gone.safe)))
        tolerated.append(f"at most {guard.max_ratio:g} times stable's rate")
    if guard.max is not None:
        failures = float(sum(row.canary.failures for row in pooled.rows))
        ended = n - float(gone.sum())
        found.append(limit_test(failures + AHEAD * (failures / n), ended + AHEAD * (ended / n), guard.max))
        tolerated.append(f"at most {share(guard.max)}")
    evidence = found[0] if len(found) == 1 else found[0].either(found[1])
    facts = f"{c:,.0f} of {n:,.0f} canary requests failed against {s:,.0f} of {n_stable:,.0f} at stable"
    leaving = (
        f"clients of {gone.sum():,.0f} of {n:,.0f} canary requests went away unanswered, against"
        f" {gone_stable.sum():,.0f} of {n_stable:,.0f} at stable"
    )
    if gone.sum() + gone_stable.sum() > 0:
        facts = f"{facts}; {leaving}"
    harm_facts = leaving if left + _LEAVING > float(evidence.harm[0]) + _FAILING else facts
    harm = np.logaddexp(evidence.harm + _FAILING, left + _LEAVING)
    return GuardEvidence(evidence._replace(harm=harm), harm_facts, facts, _greater(tolerated))


def _greater(tolerated: list[str]) -> str:
    return tolerated[0] if len(tolerated) == 1 else " or ".join(tolerated) + ", whichever is more"


def _test_latency(
    guard: LatencyGuard, pooled: Pooled, edges: LatencyEdges | None, alpha: float
) -> GuardEvidence | str:
    """Harm is being slower at any edge, so the mean of the e-values (an e-value under any dependence).

    Proof is being no slower at each edge, so the least of them: it reaches a line by chance no more often
    than the e-value of the edge that does not hold. By their mean a good median would prove a broken tail.
    """
    if edges is None:
        return f"there is no baseline: stable had not given {MIN_BASELINE} answers before the canary started"
    canary = np.stack([slower_than(row.canary.latency) for row in pooled.rows])
    stable = np.stack([slower_than(row.stable.latency) for row in pooled.rows])
    answers = float(canary[:, 0].sum()), float(stable[:, 0].sum())
    if answers[0] == 0:
        return "no canary answer was counted yet"
    missing = mismatch(pooled.weight, canary[:, 0], stable[:, 0], alpha)
    if missing is not None:
        row, log_e, _ = missing
        c, total = canary[row, 0], canary[row, 0] + stable[row, 0]
        return (
            f"compute times are missing for one side more than for the other: {c:,.0f} of {total:,.0f} timed"
            f" answers are the canary's at a weight of {share(float(pooled.weight[row]))}; e-value"
            f" {e_value(log_e)}"
        )

    def compare(at: int, shift: int) -> tuple[Evidence, str]:
        shifted = min(at + shift, BUCKETS)
        c, s = canary[:, shifted], stable[:, at]
        facts = (
            f"{c.sum():,.0f} of {answers[0]:,.0f} canary answers took longer than {duration(edge(shifted))}"
            f" against {s.sum():,.0f} of {answers[1]:,.0f} at stable longer than {duration(edge(at))}"
        )
        return _labels(pooled, c, s, answers, 1.0), facts

    harm = [compare(at, shift_up(guard.max_ratio)) for at in edges.harm]
    safe = [compare(at, shift_down(guard.max_ratio)) for at in edges.quantiles]
    evidence = Evidence(
        np.logaddexp.reduce([found.harm for found, _ in harm]) - np.log(len(harm)),
        np.min([found.safe for found, _ in safe], axis=0),
    )
    return GuardEvidence(
        evidence,
        max(harm, key=lambda pair: float(pair[0].harm[0]))[1],
        min(safe, key=lambda pair: float(pair[0].safe[0]))[1],
        f"at most {guard.max_ratio:g} times as slow",
    )


def _test_agreement(guard: AgreementGuard, pooled: Pooled) -> GuardEvidence | str:
    pairs = [row.agreement.get(guard.output, (0, 0)) for row in pooled.rows]
    n, differing = float(sum(pair[0] for pair in pairs)), float(sum(pair[1] for pair in pairs))
    if n == 0:
        return f"no answer was compared in {guard.output} yet"
    evidence = limit_test(differing + AHEAD * (differing / n), n + AHEAD, 1.0 - guard.min)
    tolerated = share(1.0 - guard.min)
    facts = f"{differing:,.0f} of {n:,.0f} comparisons of {guard.output} differed, tolerated {tolerated}"
    return GuardEvidence(evidence, facts, facts, f"at least {share(guard.min)} agreement")


def _labels(
    pooled: Pooled, canary: Floats, stable: Floats, answers: tuple[float, float], ratio: float
) -> Evidence:
    """The label test now and ahead: more of the same rates, at the present weight."""
    w = pooled.present
    per_canary_request = canary.sum() / answers[0], 0.0
    if 0.0 < w < 1.0 and answers[1] > 0:
        per_canary_request = per_canary_request[0], (1.0 - w) / w * stable.sum() / answers[1]
    more = [np.outer(AHEAD, np.append(np.zeros(len(canary)), rate)) for rate in per_canary_request]
    return label_test(
        np.append(pooled.weight, w), np.append(canary, 0.0) + more[0], np.append(stable, 0.0) + more[1], ratio
    )
