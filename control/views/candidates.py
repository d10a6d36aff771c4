"""What is shown of an A/B/n test: each candidate beside stable, and how the search for the best stands.

Pure.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from control.judging.outcomes.best import BestOf
from control.judging.verdicts import GuardVerdict, Judgement, as_json
from control.rollouts.state import Progress
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Best, Rollout

NOBODY: Mapping[str, Any] = {}


class Judged(NamedTuple):
    """What is said of a rollout, as last judged.

    Args:
        sole: what guards say of its one canary; None where there is none to judge.
        arms: of each candidate of an A/B/n test, by key.
        best: how all sides of it compare; None where the document asks for no best.
    """

    sole: Judgement | None = None
    arms: Mapping[str, Judgement] = NOBODY
    best: BestOf | None = None

    def guards(self) -> list[tuple[str, GuardVerdict]]:
        """Each guard by a name that is its own: `errors`, or of several candidates `digits/3: errors`."""
        sole = [] if self.sole is None else [(guard.guard, guard) for guard in self.sole.guards]
        several = [
            (f"{target}: {guard.guard}", guard)
            for target, judgement in self.arms.items()
            for guard in judgement.guards
        ]
        return sole + several


def candidates_view(
    rollout: Rollout,
    progress: Progress,
    effective: ServedRollout,
    ready: Mapping[str, Mapping[str, bool]],
    arms: Mapping[str, Judgement],
) -> list[dict[str, Any]]:
    """Each candidate of the document, in its order; none where it has no A/B/n test.

    Args:
        rollout: the document's.
        progress: where it is.
        effective: what is served of it.
        ready: where each is, by key.
        arms: what its guards say, by key.
    """
    serving = {arm.number for arm in effective.arms}
    off = {arm.target: arm.off_reason for arm in progress.arms}
    found = []
    for number, candidate in enumerate(rollout.candidates, 1):
        key, on = candidate.target.key, number in serving
        judgement = arms.get(key) if on else None
        found.append(
            {
                "number": number,
                "target": key,
                "weight": candidate.weight or 0.0,
                "mirror": candidate.mirror,
                "on": on,
                "reason": off.get(key, ""),
                "ready": dict(ready.get(key, {})) if on else {},
                "judgement": None if judgement is None else as_json(judgement),
            }
        )
    return found


def best_view(rollout: Rollout, progress: Progress, found: BestOf | None) -> dict[str, Any] | None:
    """How the search for the best stands; None where the document asks for none.

    Args:
        rollout: the document's.
        progress: where it is.
        found: how far the search has come; None before the first look, and when the test is over.
    """
    asked = rollout.best
    if asked is None:
        return None
    leader = None if found is None or found.leader is None else found.sides[found.leader].target
    return {
        "outcome": asked.outcome,
        "promote": asked.promote,
        "found": progress.best or None,
        "leader": leader,
        "reason": "" if found is None else found.reason,
        "seconds_left": _seconds_left(asked, progress),
        "sides": [] if found is None else [asdict(side) for side in found.sides],
    }


def _seconds_left(asked: Best, progress: Progress) -> float | None:
    if asked.max_seconds is None or progress.phase != "comparing" or progress.best:
        return None
    return max(asked.max_seconds - progress.waited_seconds, 0.0)
