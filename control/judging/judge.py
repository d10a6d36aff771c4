"""Counts and guards to verdicts, with reasons that a person understands. Pure.

Law:
- No data is `undecided`; `proven` needs counts of the canary itself.
- What clients see (`latency:clients`) speaks for harm only, and promotion does not wait for it.
- Each of the enforced guards that rest on counts is harmful when its e-value for harm reaches 1 / (its part
  of alpha): one is enough to take the canary off, so they share alpha. It is proven when its other e-value
  reaches 1 / alpha: promotion needs the proof of all, also of the one whose tolerance is broken, so they need
  not share (intersection-union; Berger, Multiparameter hypothesis testing, 1982). PromQL guards have no
  e-value and take no part of alpha.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from math import ceil, log

import numpy as np
import numpy.typing as npt

from control.judging.evidence import mismatch
from control.judging.guard_evidence import AHEAD, DrawnUsers, GuardEvidence, Past, pool
from control.judging.guards.lines import harm_lines
from control.judging.guards.registry import judged
from control.judging.measurements import Measurements
from control.judging.outcomes.draws import draws_test
from control.judging.restarts import Remembered
from control.judging.verdicts import GuardVerdict, Judgement, Verdict, e_value, share
from router.counting.stage_counts import StageCounts
from router.rollout.values import Guard

NEW = Past()
"""Nothing came before."""

DRAWS_ALPHA = 0.0005
"""The chance that a rollout is held although its draws were right; the rollout's alpha where that is less.

Draws that are wrong are a fault of ours and rare, unlike harmful candidates, so at alpha nearly every hold
would be a false one, which a person is sent to explain.
"""


def remembered(
    guards: Sequence[Guard],
    stages: Sequence[StageCounts],
    past: Past,
    *,
    sticky: bool = False,
) -> dict[str, Remembered]:
    """What the tests of harm come to when a tick ends; to be called at times that no count decides.

    The arguments are those of `judge`.
    """
    pooled, tests = pool(stages, sticky=sticky), dict(past.tests)
    for guard in guards:
        found = judged(guard).weigh(guard, pooled, past)
        for name, ratios in found.ratios.items() if isinstance(found, GuardEvidence) else ():
            tests[name] = tests.get(name, Remembered()).ended(ratios)
    return tests


def judge(
    guards: Sequence[Guard],
    stages: Sequence[StageCounts],
    alpha: float,
    measurements: Mapping[str, Measurements] | None = None,
    past: Past = NEW,
    *,
    sticky: bool = False,
) -> Judgement:
    """Judge a rollout. Its memory is `past`, and the caller's: it acts the first time a verdict says so.

    Args:
        guards: of the document, in its order.
        stages: counts since the evidence began, over all routers, in order of time; the last is under way.
        alpha: the tolerated chance of a false verdict, above 0 and below 1.
        measurements: by the name of the PromQL guard.
        past: what the tests of harm had come to, and what is known beside counts.
        sticky: whether users stay where they were drawn.
    """
    pooled, past = pool(stages, sticky=sticky), replace(past, measurements=measurements or {})
    proof_line = log(1.0 / alpha)
    lines = [(line, proof_line) for line in harm_lines(guards, alpha)]
    weighed = [judged(guard).weigh(guard, pooled, past) for guard in guards]
    alone = [_verdict(*each) for each in zip(guards, weighed, lines, strict=True)]
    verdicts = [_beside(guard, found, alone) for guard, found in zip(guards, alone, strict=True)]
    least = min(alpha, DRAWS_ALPHA)
    hold = _sample_ratio(stages, least) if not past.users else _users_ratio(past.users, least)
    verdict, reason = _overall([v for v in verdicts if v.mode == "enforce"], hold)
    return Judgement(verdict, reason, tuple(verdicts), hold)


def _overall(enforced: list[GuardVerdict], hold: str | None) -> tuple[Verdict, str]:
    for found in enforced:
        if found.verdict == "harmful":
            return "harmful", f"{found.guard}: {found.reason}"
    if hold is not None:
        return "undecided", hold
    proving = [found for found in enforced if found.proves]
    waiting = [found for found in proving if found.verdict != "proven"]
    if waiting:
        return "undecided", "; ".join(f"{found.guard}: {found.reason}" for found in waiting)
    if not proving:
        return "undecided", "no guard that can prove anything is enforced"
    return "proven", "; ".join(f"{found.guard}: {found.reason}" for found in proving)


def _beside(guard: Guard, found: GuardVerdict, others: Sequence[GuardVerdict]) -> GuardVerdict:
    """With what the others say of the reason."""
    more = judged(guard).beside(found, others) if found.verdict == "harmful" else ""
    return replace(found, reason=f"{found.reason}; {more}") if more else found


def _verdict(
    guard: Guard, found: GuardEvidence | GuardVerdict | str, lines: tuple[float, float]
) -> GuardVerdict:
    if isinstance(found, GuardVerdict):
        return found
    line, proof_line = lines
    proves = guard.proves
    unjudged = GuardVerdict(
        guard.name,
        guard.mode,
        "undecided",
        "",
        log_line=line,
        log_proof_line=proof_line if proves else None,
        proves=proves,
    )
    if isinstance(found, str):
        return replace(unjudged, reason=f"undecided: {found}")
    harm, safe = (float(side[0]) for side in found.evidence)
    verdict, words = _decided(found, harm, safe, lines, proves=proves)
    return replace(
        unjudged,
        verdict=verdict,
        reason=f"{verdict}: {words}",
        log_harm=harm,
        log_safe=safe if proves else None,
        more_to_harm=_first(found.evidence.harm >= line),
        more_to_proof=_first(found.evidence.safe >= proof_line),
        doubt=found.doubt,
        recorded=found.recorded,
        segments=found.segments,
        tell_effect=cache(partial(found.effect, proof_line)),
    )


def _decided(
    found: GuardEvidence, harm: float, safe: float, lines: tuple[float, float], *, proves: bool
) -> tuple[Verdict, str]:
    """What the e-values of a guard come to, and why in words; they and the lines are logarithms."""
    line, proof_line = lines
    if harm >= line:
        return "harmful", f"{found.harm_facts}; e-value {e_value(harm)}, needed {e_value(line)}"
    if safe >= proof_line:
        proof = f"e-value {e_value(safe)} for {found.tolerance}, needed {e_value(proof_line)}"
        return "proven", f"{found.safe_facts}; {proof}"
    against = f"{e_value(harm)} for harm (needed {e_value(line)})"
    if not proves:
        return "undecided", f"{found.safe_facts}; e-value {against}, all that it asks"
    facts = found.harm_facts if harm > safe else found.safe_facts
    no_worse = f"{e_value(safe)} for no worse (needed {e_value(proof_line)})"
    return "undecided", f"{facts}; e-values {against} and {no_worse}"


def _first(reached: npt.NDArray[np.bool_]) -> int | None:
    return ceil(AHEAD[int(np.argmax(reached))]) if reached.any() else None


def _sample_ratio(stages: Sequence[StageCounts], alpha: float) -> str | None:
    """Which stage's draws did not fall as its weight says; the j-th has alpha / (j (j + 1)) of alpha."""
    if not stages:
        return None
    found = mismatch(
        [stage.weight for stage in stages],
        [stage.canary.assigned for stage in stages],
        [stage.stable.assigned for stage in stages],
        alpha,
    )
    if found is None:
        return None
    worst, log_e, line = found
    stage = stages[worst]
    total = stage.canary.assigned + stage.stable.assigned
    return (
        f"the draws did not fall as the weight says: {stage.canary.assigned:,} of {total:,} requests went to"
        f" the canary at a weight of {share(stage.weight)}; e-value {e_value(log_e)}, needed"
        f" {e_value(line)}"
    )


def _users_ratio(stages: Sequence[DrawnUsers], alpha: float) -> str | None:
    """Whether sticky users were drawn otherwise than the weights say, over all stages.

    Requests of a user are at one side, and in each process the first of them is one: they are no draws of
    their own, and a few users of many processes would look like a broken draw.
    """
    drawn = [stage for stage in stages if 0.0 < stage.weight < 1.0]
    if not drawn:
        return None
    weight, canary, stable = np.array(drawn, float).T
    log_e = float(draws_test(np.stack([1.0 - weight, weight], axis=1), np.stack([stable, canary], axis=1)))
    line = log(1.0 / alpha)
    if log_e < line:
        return None
    users = canary + stable
    return (
        f"the draws did not fall as the weight says: {canary.sum():,.0f} of {users.sum():,.0f} users went to"
        f" the canary, where the weights make it about {weight @ users:,.0f}; e-value {e_value(log_e)},"
        f" needed {e_value(line)}"
    )
