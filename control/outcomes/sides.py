"""The sides of an A/B/n test as outcomes see them: stable is 0, a candidate its number. Pure."""

from collections.abc import Mapping, Sequence

from control.outcomes.desk import InForce
from control.store.outcomes import Stage
from router.rollout.values import Outcome, Rollout


def sought(rollout: Rollout) -> Outcome | None:
    """The outcome by which the best is to be found; None where that is not asked."""
    return None if rollout.best is None else rollout.outcome(rollout.best.outcome)


def side_keys(rollout: Rollout) -> tuple[str, ...]:
    """The keys of the targets of all sides."""
    return (rollout.stable.key, *(candidate.target.key for candidate in rollout.candidates))


def tested_stages(found: InForce, stages: Mapping[int, Stage]) -> list[Stage]:
    """Those of the evidence in which candidates had a share, in order."""
    numbers = range(found.judged_from, found.stage + 1)
    sides = len(found.rollout.candidates)
    return [stages[number] for number in numbers if number in stages and len(stages[number].arms) == sides]


def sides_on(tested: Sequence[Stage]) -> frozenset[int]:
    """Those that had a share last: stable, and the candidates that were not taken off."""
    if not tested:
        return frozenset()
    return frozenset(side for side, weight in enumerate(tested[-1].weights) if weight > 0.0)
