"""What the e-value of each guard for harm must reach. Pure.

Law: one guard is enough to take a canary off, so the enforced guards that rest on counts share alpha: the
chance that any of them does so wrongly is at most the sum of their parts, which is alpha. How large a part is
was decided before anything is seen, by the kind of guard (`control.judging.guards.judged.Judged.part`).
"""

from collections.abc import Sequence
from math import log

from control.judging.guards.registry import judged
from router.rollout.values import Guard


def sharing(guards: Sequence[Guard]) -> list[Guard]:
    """Those of the guards that take a part of alpha."""
    return [guard for guard in guards if guard.mode == "enforce" and guard.counted]


def harm_lines(guards: Sequence[Guard], alpha: float) -> list[float]:
    """Of each guard the logarithm of what its e-value for harm must reach: 1 / (its part of alpha).

    One that only observes is shown what it would have to reach with as large a part of what the others share.

    Args:
        guards: of the document.
        alpha: the tolerated chance of a false verdict, above 0 and below 1.
    """
    total = sum(judged(guard).part for guard in sharing(guards))
    parts = [judged(guard).part for guard in guards]
    return [log(max(total, part) / (part * alpha)) for part in parts]
