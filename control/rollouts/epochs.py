"""What becomes of rollouts when a person lets an older database rule again. Pure.

Law: a stage number never comes again, also where nodes served stages that this database does not know. What
they counted then, and receipts of their answers, are of numbers that it passes by.
"""

from collections.abc import Mapping
from typing import Any, Final

from control.rollouts.events import EpochBegun
from control.rollouts.progress import advance
from control.rollouts.state import from_json, to_json
from router.rollout.parser import of_an_older_release

PASSED_BY: Final = 1_000_000
"""Stages: more than a rollout can have had since a backup."""


def in_new_epoch(model: str, document: Any, progress: Mapping[str, Any]) -> dict[str, Any]:
    """The progress of a rollout, as JSON; of a deleted one too, which has no document.

    Raises:
        ValueError: the progress is not of this version.
    """
    stage = int(progress["stage"]) + PASSED_BY
    if document is None:
        return {**progress, "stage": stage}
    rollout, _ = of_an_older_release(model, document, f"store/{model}")
    after, _ = advance(rollout, from_json(progress), EpochBegun(stage))
    return to_json(after)
