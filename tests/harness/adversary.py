"""The most that an e-value can be made to be in expectation, by whoever chooses what comes and when to stop.

Exact, by backward induction over histories: after each, the adversary stops, or picks the next distribution
among those that the null hypothesis allows, knowing all that was. An e-value is one if that is 1.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any

Move = Sequence[tuple[float, Any]]
"""A distribution of the next step: probability and step. Steps are tuples, which sort."""


def worst_expectation(
    e_value: Callable[[tuple[Any, ...]], float], moves: Sequence[Move], depth: int, *, ordered: bool = False
) -> float:
    """The greatest expectation of `e_value` at any stopping time within `depth` steps.

    Args:
        e_value: of the steps until now.
        moves: what the adversary may choose from at each step.
        depth: steps.
        ordered: whether it looks at the order of the steps, which takes far longer.
    """

    def _with(history: tuple[Any, ...], step: Any) -> tuple[Any, ...]:
        return (*history, step) if ordered else tuple(sorted((*history, step)))

    @cache
    def best(history: tuple[Hashable, ...]) -> float:
        stopped = e_value(history)
        if len(history) == depth:
            return stopped
        after = (
            sum(chance * best(_with(history, step)) for chance, step in move if chance) for move in moves
        )
        return max(stopped, *after)

    return best(())
