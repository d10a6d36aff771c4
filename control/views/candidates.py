"""What is shown of an A/B/n test: each candidate beside stable, and how the search for the best stands.

Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from control.judging.verdicts import Judgement, as_json
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Rollout

NOBODY: Mapping[str, Any] = {}


class Judged(NamedTuple):
    """What guards say of a rollout, as last judged.

    Args:
        sole: of its one canary; None where there is none to judge.
        arms: of each candidate of an A/B/n test, by key.
    """

    sole: Judgement | None = None
    arms: Mapping[str, Judgement] = NOBODY


class Side(NamedTuple):
    """One side of the search for the best: stable, or a candidate.

    Args:
        target: its key.
        requests: that were drawn to it and are mature; labels, of an outcome that is one.
        value: the share of them with the outcome, or its mean; None without any.
    """

    target: str
    requests: int
    value: float | None


class Best(NamedTuple):
    """How the search for the best stands.

    Args:
        sides: stable, then each candidate that is still compared.
        leader: key of the side that is nearest to being shown the best; empty where nothing is known.
        found: key of the side that was shown to be; empty for none.
        reason: in a sentence.
        seconds_left: until it ends undecided; None without a limit, or where it has ended.
    """

    sides: Sequence[Side]
    leader: str
    found: str
    reason: str
    seconds_left: float | None = None


def candidates_view(
    rollout: Rollout,
    effective: ServedRollout,
    off: Mapping[str, str],
    ready: Mapping[str, Mapping[str, bool]],
    arms: Mapping[str, Judgement],
) -> list[dict[str, Any]]:
    """Each candidate of the document, in its order; none where it has no A/B/n test.

    Args:
        rollout: the document's.
        effective: what is served of it.
        off: why each candidate that was taken off was, by key.
        ready: where each is, by key.
        arms: what its guards say, by key.
    """
    serving = {arm.number for arm in effective.arms}
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


def best_view(rollout: Rollout, found: Best | None) -> dict[str, Any] | None:
    """How the search for the best stands; None where the document asks for none."""
    asked = rollout.best
    if asked is None:
        return None
    seen = found or Best((), "", "", "")
    return {
        "outcome": asked.outcome,
        "promote": asked.promote,
        "found": seen.found or None,
        "leader": seen.leader or None,
        "reason": seen.reason,
        "seconds_left": seen.seconds_left,
        "sides": [side._asdict() for side in seen.sides],
    }
