"""What was told of a rollout's answers, by outcome: how much was taken, waits, and was left out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from control.outcomes.book import Told
from router.rollout.values import Rollout


class ToldOfRollout(NamedTuple):
    """What is shown of all that was told of one rollout.

    Args:
        outcomes: each of the document, as `outcomes_view` has it.
        labels: what labels have come to; None where no guard looks at them.
    """

    outcomes: Sequence[dict[str, Any]]
    labels: dict[str, Any] | None


def outcomes_view(
    rollout: Rollout, told: Mapping[str, Sequence[Told]], left_out: Mapping[str, Mapping[str, int]]
) -> list[dict[str, Any]]:
    """Each outcome of the document.

    Args:
        rollout: of which.
        told: by name, for each stage that is judged.
        left_out: by name, how many by reason, since this control began.
    """
    return [
        {
            "name": outcome.name,
            "kind": outcome.kind,
            "taken": sum(stage.accepted for stage in told.get(outcome.name, ())),
            "waiting": sum(stage.waiting for stage in told.get(outcome.name, ())),
            "first_until": _first(told.get(outcome.name, ())),
            "left_out": dict(left_out.get(outcome.name, {})),
        }
        for outcome in rollout.outcomes
    ]


def _first(stages: Sequence[Told]) -> float | None:
    return min((stage.first for stage in stages if stage.waiting and stage.first is not None), default=None)
