"""What is judged in an A/A test: the document as it is, with guards where it has none of a kind. Pure."""

from dataclasses import replace

from router.rollout import kinds
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import LatencyGuard
from router.rollout.values import Guard, Mode, Rollout


def judged_in_aa(rollout: Rollout) -> Rollout:
    """The document with a guard on errors and one on latency, so that both are looked at.

    What is added only observes, so that the others need what they need in a rollout; where nothing that is
    counted is enforced, it is.
    """
    counted = [guard for guard in rollout.guards if guard.counted]
    mode: Mode = "observe" if any(guard.mode == "enforce" for guard in counted) else "enforce"
    wanted: tuple[Guard, ...] = (
        ErrorsGuard(max_ratio=1.5, max=0.01, mode=mode),
        LatencyGuard(1.25, mode=mode),
    )
    known = {guard.name for guard in rollout.guards}
    room = kinds.GUARDS.most - len(rollout.guards)
    added = tuple(guard for guard in wanted if guard.name not in known)[:room]
    return replace(rollout, guards=(*rollout.guards, *added)) if added else rollout
