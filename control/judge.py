"""Counts and guards to verdicts, with reasons that a person understands. Pure.

Law:
- No data is `undecided`; `proven` needs counts of the canary itself.
- Each of the m enforced guards that rest on counts acts when an e-value of it reaches m / alpha, so over the
  whole rollout a false verdict of either kind has a chance of at most alpha. PromQL guards have no e-value
  and take no part of alpha.
- What is missing, broken or late makes a verdict later, never another one.
"""

from collections.abc import Mapping, Sequence
from math import ceil, log

import numpy as np
import numpy.typing as npt

from control.evidence import sample_ratio_test
from control.guard_evidence import AHEAD, CountedGuard, GuardEvidence, pool, weigh
from control.latency_edges import LatencyEdges
from control.measurements import Measurements, judge_measurements
from control.verdicts import GuardVerdict, Judgement, Verdict, e_value, share
from router.rollout import Guard, PromQLGuard
from router.stage_counts import StageCounts


def judge(
    guards: Sequence[Guard],
    stages: Sequence[StageCounts],
    alpha: float,
    edges: LatencyEdges | None = None,
    measurements: Mapping[str, Measurements] | None = None,
) -> Judgement:
    """Judge a rollout. It has no memory: the caller acts the first time a verdict says so.

    Args:
        guards: of the document, in its order.
        stages: counts since the evidence began, over all routers, in order of time; the last is under way.
        alpha: the tolerated chance of a false verdict, above 0 and below 1.
        edges: from stable's histogram before the canary started; None when there was no baseline.
        measurements: by the name of the PromQL guard.
    """
    pooled = pool(stages)
    counted = sum(guard.mode == "enforce" and not isinstance(guard, PromQLGuard) for guard in guards)
    line = log(max(counted, 1) / alpha)
    verdicts = []
    for guard in guards:
        if isinstance(guard, PromQLGuard):
            verdicts.append(judge_measurements(guard, (measurements or {}).get(guard.name, Measurements())))
        else:
            verdicts.append(_verdict(guard, weigh(guard, pooled, edges), line))
    hold = _sample_ratio(stages, alpha)
    verdict, reason = _overall([v for v in verdicts if v.mode == "enforce"], hold)
    return Judgement(verdict, reason, tuple(verdicts), hold)


def _overall(enforced: list[GuardVerdict], hold: str | None) -> tuple[Verdict, str]:
    for found in enforced:
        if found.verdict == "harmful":
            return "harmful", f"{found.guard}: {found.reason}"
    if hold is not None:
        return "undecided", hold
    waiting = [found for found in enforced if found.verdict != "proven"]
    if waiting:
        return "undecided", "; ".join(f"{found.guard}: {found.reason}" for found in waiting)
    if not enforced:
        return "undecided", "no guard is enforced, so nothing can be proven"
    return "proven", "; ".join(f"{found.guard}: {found.reason}" for found in enforced)


def _verdict(guard: CountedGuard, found: GuardEvidence | str, line: float) -> GuardVerdict:
    if isinstance(found, str):
        return GuardVerdict(guard.name, guard.mode, "undecided", f"undecided: {found}", log_line=line)
    harm, safe = (float(side[0]) for side in found.evidence)
    needed = e_value(line)
    verdict: Verdict
    if harm >= line:
        verdict, words = "harmful", f"{found.harm_facts}; e-value {e_value(harm)}, needed {needed}"
    elif safe >= line:
        verdict = "proven"
        words = f"{found.safe_facts}; e-value {e_value(safe)} for {found.tolerance}, needed {needed}"
    else:
        verdict = "undecided"
        facts = found.harm_facts if harm > safe else found.safe_facts
        words = (
            f"{facts}; e-values {e_value(harm)} for harm and {e_value(safe)} for no worse, needed {needed}"
        )
    more_to_harm, more_to_proof = (_first(side >= line) for side in found.evidence)
    return GuardVerdict(
        guard.name, guard.mode, verdict, f"{verdict}: {words}", harm, safe, line, more_to_harm, more_to_proof
    )


def _first(reached: npt.NDArray[np.bool_]) -> int | None:
    return ceil(AHEAD[int(np.argmax(reached))]) if reached.any() else None


def _sample_ratio(stages: Sequence[StageCounts], alpha: float) -> str | None:
    """Which stage's draws did not fall as its weight says; the j-th has alpha / (j (j + 1)) of alpha."""
    if not stages:
        return None
    log_e = sample_ratio_test(
        [stage.weight for stage in stages],
        [stage.canary.assigned for stage in stages],
        [stage.stable.assigned for stage in stages],
    )
    number = np.arange(1.0, len(stages) + 1.0)
    line = np.log(number * (number + 1.0) / alpha)
    worst = int(np.argmax(log_e - line))
    if log_e[worst] < line[worst]:
        return None
    stage = stages[worst]
    total = stage.canary.assigned + stage.stable.assigned
    return (
        f"the draws did not fall as the weight says: {stage.canary.assigned:,} of {total:,} requests went to"
        f" the canary at a weight of {share(stage.weight)}; e-value {e_value(float(log_e[worst]))}, needed"
        f" {e_value(float(line[worst]))}"
    )
