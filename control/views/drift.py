"""Drift of a rollout's targets as it is shown: one value for API, page and command line."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from control.drift.held import Drift, Held
from router.drift.watch import KEPT_SLICES, SLICE_SECONDS
from router.rollout.values import Rollout

WINDOW_SECONDS = KEPT_SLICES * SLICE_SECONDS


def drift_view(rollout: Rollout, stable: str, drift: Drift) -> dict[str, Any]:
    """What is known of a rollout's drift; blocks.

    Args:
        rollout: the document.
        stable: key of the target that answers as stable.
        drift: of all rollouts.
    """
    held = drift.of(rollout.model)
    return {
        "model": rollout.model,
        "window_seconds": WINDOW_SECONDS,
        "targets": [_target(each) for each in held],
        "problem": "" if held else _nothing(rollout, stable, drift),
    }


def _nothing(rollout: Rollout, stable: str, drift: Drift) -> str:
    """Why nothing is watched, and what to do."""
    if not drift.has_profile(stable):
        return f"{stable} has no profile.json: understudy profile --model {stable} writes it"
    if rollout.record is None:
        return "drift is counted where answers are recorded: set `record` in the rollout"
    return "no answer was counted yet: a node counts those that it records, if started with --records"


def _target(held: Held) -> dict[str, Any]:
    seen = held.seen
    return {
        "target": held.target,
        "profile": held.source,
        "profile_rows": held.rows,
        "since": seen.since or None,
        "answers": seen.answers,
        "left_out": seen.left_out,
        "of": seen.of,
        "problem": held.problem,
        "features": _features(held),
    }


def _features(held: Held) -> Sequence[dict[str, Any]]:
    return [
        {"name": name, "side": held.sides[name], **asdict(found)} for name, found in held.distances.items()
    ]
