"""The sides of an A/B/n test as outcomes see them: stable is 0, a candidate its number. Pure."""

from collections.abc import Callable, Mapping, Sequence

from control.judging.outcomes.best import BestOf, best_of
from control.judging.outcomes.side_sums import SideSums
from control.outcomes.desk import InForce
from control.store.outcomes import Stage
from router.rollout.values import Outcome, Rollout


def sought(rollout: Rollout) -> Outcome | None:
    """The outcome by which the best is to be found; None where that is not asked."""
    return None if rollout.best is None else rollout.outcome(rollout.best.outcome)


def tested_stages(found: InForce, stages: Mapping[int, Stage]) -> list[Stage]:
    """Those of the evidence in which candidates had a share, in order."""
    numbers = range(found.judged_from, found.stage + 1)
    sides = len(found.rollout.candidates)
    return [stages[number] for number in numbers if number in stages and len(stages[number].arms) == sides]


class Tests:
    """The stages of the A/B/n tests in force, as far as they were asked for.

    Args:
        stages: those of a public name, by number.
    """

    def __init__(self, stages: Callable[[str], Mapping[int, Stage]]) -> None:
        self._stages = stages
        self._known: dict[str, Mapping[int, Stage]] = {}

    def forget(self) -> None:
        """Another control may have written since."""
        self._known.clear()

    def follow(self, in_force: Mapping[str, InForce]) -> None:
        """Know the stages of these rollouts, up to those under way."""
        for model, each in in_force.items():
            if each.rollout.candidates and each.stage not in self._known.get(model, {}):
                self._known[model] = self._stages(model)

    def of(self, found: InForce) -> list[Stage]:
        """As `tested_stages`."""
        return tested_stages(found, self._known.get(found.rollout.model, {}))

    def numbers(self, model: str, stage: int) -> dict[str, int]:
        """The numbers of the candidates that had a share in a stage, by their keys; without a test none."""
        found = self._known.get(model, {}).get(stage)
        arms = () if found is None else found.arms
        return {arm.target: number for number, arm in enumerate(arms, 1) if arm.weight > 0.0}


def compared(found: InForce, outcome: Outcome, tested: Sequence[Stage], sums: Sequence[SideSums]) -> BestOf:
    """How all sides of a test compare.

    Args:
        found: the test, seen as it is.
        outcome: the one that is `sought`.
        tested: the stages that are judged, as of `tested_stages`.
        sums: what the outcome has come to in each of them.
    """
    rollout = found.rollout
    keys = (rollout.stable.key, *(candidate.target.key for candidate in rollout.candidates))
    return best_of(outcome, keys, _on(tested), sums, rollout.alpha)


def _on(tested: Sequence[Stage]) -> frozenset[int]:
    """Those that had a share last: stable, and the candidates that were not taken off."""
    if not tested:
        return frozenset()
    return frozenset(side for side, weight in enumerate(tested[-1].weights) if weight > 0.0)
