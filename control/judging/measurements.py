"""PromQL guards: a value of Prometheus against its bounds, in Argo Rollouts' vocabulary. Pure.

Such a value is no random sample, so there is no e-value: a measurement passes, fails or is inconclusive.
More failures than `failureLimit` are harmful; no value, NaN, an infinity and an unreachable Prometheus are
inconclusive, and more of those than `inconclusiveLimit` keep the guard undecided.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from control.judging.verdicts import GuardVerdict, Verdict
from router.rollout.guards.promql import PromQLGuard

Outcome = Literal["passed", "failed", "inconclusive"]

MISSING_IN_A_ROW = 3
"""So many measurements without a value need a person."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """All measurements of one guard since its evidence began.

    Args:
        passed: how many were within bounds.
        failed: how many were not.
        inconclusive: how many had no usable value.
        last: outcome of the latest, None before the first.
        value: what the latest said, None without a usable value.
        missing: how many at the end, in a row, had no usable value.
        problem: why the latest had none, in words.
    """

    passed: int = 0
    failed: int = 0
    inconclusive: int = 0
    last: Outcome | None = None
    value: float | None = None
    missing: int = 0
    problem: str = ""


def measured(guard: PromQLGuard, before: Measurements, value: float | str) -> Measurements:
    """The measurements after one more: a value, or why Prometheus gave none."""
    if isinstance(value, str) or not math.isfinite(value):
        return replace(
            before,
            inconclusive=before.inconclusive + 1,
            last="inconclusive",
            value=None,
            missing=before.missing + 1,
            problem=value if isinstance(value, str) else f"its value is {value}",
        )
    before = replace(before, missing=0, problem="")
    low = guard.min is not None and value < guard.min
    if low or (guard.max is not None and value > guard.max):
        return replace(before, failed=before.failed + 1, last="failed", value=value)
    return replace(before, passed=before.passed + 1, last="passed", value=value)


def judge_measurements(guard: PromQLGuard, seen: Measurements) -> GuardVerdict:
    """The verdict on a PromQL guard; `proven` when the latest measurement passed and no limit is exceeded."""
    verdict: Verdict = "undecided"
    total = seen.passed + seen.failed + seen.inconclusive
    bounds = " and ".join(
        f"{word} {bound:g}"
        for word, bound in (("at least", guard.min), ("at most", guard.max))
        if bound is not None
    )
    said = "no value" if seen.value is None else f"{seen.value:g}"
    facts = f"Prometheus last gave {said}, wanted {bounds}"
    if seen.failed > guard.failure_limit:
        verdict = "harmful"
        facts += f"; {seen.failed} of {total} measurements failed, tolerated {guard.failure_limit}"
    elif total == 0:
        facts = "nothing was measured yet"
    elif seen.inconclusive > guard.inconclusive_limit:
        facts += (
            f"; {seen.inconclusive} of {total} measurements had no value,"
            f" tolerated {guard.inconclusive_limit}"
        )
    elif seen.last == "passed":
        verdict = "proven"
    return GuardVerdict(guard.name, guard.mode, verdict, f"{verdict}: {facts}", doubt=_doubt(seen))


def _doubt(seen: Measurements) -> str:
    """A single gap is none: a rate over minutes has no value where nothing was counted yet."""
    if seen.missing < MISSING_IN_A_ROW:
        return ""
    return f"the last {seen.missing} times Prometheus was asked it gave no value: {seen.problem}"
