"""Every kind of guard, by the class of its values. Pure."""

from control.judging.guards import agreement, drift, errors, latency, outcomes, promql, segments, speed
from control.judging.guards.judged import Judged
from router.rollout.values import Guard

JUDGED: dict[type, Judged] = {
    **errors.JUDGED,
    **latency.JUDGED,
    **speed.JUDGED,
    **agreement.JUDGED,
    **drift.JUDGED,
    **promql.JUDGED,
    **segments.JUDGED,
    **outcomes.JUDGED,
}


def judged(guard: Guard) -> Judged:
    """The kind of a guard."""
    return JUDGED[type(guard)]
