"""Which guards rows can be judged by, and the verdict on their counts, by `control.judging`. Pure.

Law: the guards, lines and sentences are those of a live rollout. What rows cannot tell is left out, says so,
and takes no part of alpha. Evidence is that of a rollout's first tick: nothing came before.
"""

from collections.abc import Sequence
from dataclasses import replace

from control.judging.guards.registry import judged
from control.judging.judge import judge
from control.judging.verdicts import Judgement
from router.counting.stage_counts import StageCounts
from router.rollout import kinds
from router.rollout.compare import default_rule
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import LatencyGuard
from router.rollout.guards.speed import Paired, SpeedGuard, paired_for
from router.rollout.rules import Exact
from router.rollout.values import Canary, Guard, Rollout, Target
from serving.wire.tensors import Signature

_TIMED = (LatencyGuard.name, SpeedGuard.name)
MIN_AGREEMENT = 0.95
MAX_RATIO = 3.0
"""Of latency where nobody says: what slower is worth is for a rollout to say, this is for much slower."""


def document(
    base: str, candidate: str, signature: Signature, rollout: Rollout | None = None
) -> tuple[Rollout, list[str]]:
    """What the rows are judged by.

    Args:
        base: `name/version`, which stands where stable does.
        candidate: likewise, for the canary.
        signature: of the base.
        rollout: whose rules, guards and alpha; None for the defaults.

    Returns:
        The document, with the guards that rows can be judged by; and in words what of it rows cannot tell.
    """
    given = rollout is not None
    if rollout is None:
        rollout = Rollout(candidate.partition("/")[0], Target(base))
    kept = [guard for guard in rollout.guards if judged(guard).offline]
    left_out = [guard.name for guard in rollout.guards if not judged(guard).offline]
    notes = [f"{name}: left out, rows do not tell it" for name in left_out]
    notes += filter(None, map(_unit, kept))
    if not any(guard.mode == "enforce" for guard in kept):
        if given:
            notes.append("the defaults judge: no guard is enforced that rows can be judged by")
        kept = list(_defaults(signature))
    canary = Canary(Target(candidate))
    alone = replace(rollout, candidates=(), best=None)  # one of several is tested as a sole canary
    return replace(alone, stable=Target(base), canary=canary, guards=tuple(kept)), notes


def _unit(guard: Guard) -> str:
    """What becomes of a unit that rows do not have, in words; or empty."""
    if guard.units is None or not isinstance(guard.units.per, int):
        return ""
    return f"{guard.name}: each row weighs the same, since rows have no time for `per: {guard.units.per}s`"


def _defaults(signature: Signature) -> Sequence[Guard]:
    """Few errors, not much slower, and the same answers; of floats only where there is nothing else."""
    exact = [spec.name for spec in signature.outputs if default_rule(spec.datatype) == Exact()]
    outputs = exact or [spec.name for spec in signature.outputs]
    guards: tuple[Guard, ...] = (
        ErrorsGuard(max_ratio=1.5, max=0.01),
        LatencyGuard(MAX_RATIO),
        *(AgreementGuard(output, MIN_AGREEMENT) for output in outputs),
    )
    return guards[: kinds.GUARDS.most]


def verdict(rollout: Rollout, counts: StageCounts) -> Judgement:
    """The verdict of the judge of live rollouts on these counts."""
    return judge(rollout.guards, [counts], rollout.alpha)


def timed_for(rollout: Rollout) -> Paired:
    """What guards ask of the candidate's times beside the base's."""
    return paired_for(rollout) or Paired()


def times_decided(rollout: Rollout, counts: StageCounts) -> bool:
    """Whether more pairs would not change what the guards on latency and speed say."""
    found = verdict(rollout, counts).guards
    return all(guard.verdict != "undecided" for guard in found if guard.guard in _TIMED)
