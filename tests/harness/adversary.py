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
    e_value: Callable[[tuple[Any, ...]], float], moves: Sequence[Move], depth: int
) -> float:
    """The greatest expectation of `e_value` at any stopping time within `depth` steps.

    Args:
        e_value: of the steps until now, whose order it does not look at.
        moves: what the adversary may choose from at each step.
        depth: steps.
    """

    @cache
    def best(history: tuple[Hashable, ...]) -> float:
        stopped = e_value(history)
        if len(history) == depth:
            return stopped
        after = (
            sum(chance * best(tuple(sorted((*history, step)))) for chance, step in move if chance)
            for move in moves
        )
        return max(stopped, *after)

    return best(())
