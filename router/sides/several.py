"""The draw of an A/B/n test: one draw over stable and several candidates.

Law: who was ready is looked at before the draw, and never depends on it. A request that falls on a candidate
that is not ready is answered by stable and enters nobody's evidence. One that is drawn to stable enters the
evidence of those candidates that were ready: the others could not have been given it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from random import random

from router.counting.abreast import Abreast
from router.counting.split import ends_of
from router.sides.choice import Choice
from router.sides.side import Side
from serving.clock import clock


class Several:
    """Draws who answers; nobody is recognised again.

    Args:
        sides: the candidates, in the order of the recorders.
        weights: percent of the draws that each of them gets.
        counts: of the stage.
    """

    def __init__(self, sides: Sequence[Side], weights: Sequence[float], counts: Abreast) -> None:
        self._ends = ends_of(weights)
        self._sides = tuple(sides)
        self._counts = counts

    def choose(self) -> Choice:
        """Who is to answer the next call."""
        now, ready, bit = clock(), 0, 1
        for side in self._sides:
            if not side.target.refusal(now):
                ready |= bit
            bit <<= 1
        place = bisect_right(self._ends, random())  # noqa: S311  (a draw, not a secret)
        anew = ready == self._counts.all_ready
        if place == len(self._sides):
            return Choice(None, self._counts.of_stable(ready), 0, "stable", anew=anew)
        side = self._sides[place]
        if not ready >> place & 1:
            side.failed_over(side.target.refusal(now))
            return Choice(None, None, 0)
        return Choice(side, self._counts.recorders[place].current, 0, "canary", anew=anew, number=side.number)
