"""Evidence for a change that comes late: a mixture over the moments at which it may have begun. Pure.

Law: a bet that began with the canary loses its stake while the canary is good, and must win it back before
it says anything: after a day of good service a dead canary took 2,600 requests. So the stake is laid down
tick by tick, pi_k = 1 / ((k + 1) (k + 2)) at tick k, and what was laid down goes on from there. Each part is
an e-value that begins at its tick, so their sum (with what is still kept, 1 / (k + 2)) is one over the whole
life, at every stopping time. It costs a factor of 2 at most, for what is bad from the start.

Source: mixtures of e-processes over change points, as in Shin, Ramdas, Rinaldo, E-detectors (2022), here with
a proper prior, so that alpha is a probability and no average run length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Restarts:
    """The stake of one test, after some ticks.

    Args:
        stakes: log of what each alternative of the test has grown to; empty before the first tick ends.
        ticks: how many have ended.
    """

    stakes: tuple[float, ...] = ()
    ticks: int = 0

    def log_e(self, ratios: Floats) -> Floats:
        """The log e-value within the tick under way.

        Args:
            ratios: log likelihood ratio, by alternative, of what came since the last tick ended; shape
                (alternatives, ...). May be looked at as often as one likes.
        """
        grown = self._grown(ratios)
        mean = np.logaddexp.reduce(grown, axis=0) - log(len(grown))
        found: Floats = np.logaddexp(mean, -log(self.ticks + 2.0))
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"stakes": list(self.stakes), "ticks": self.ticks}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Restarts":
        """What `to_json` made."""
        return cls(tuple(float(stake) for stake in value["stakes"]), int(value["ticks"]))

    def ended(self, ratios: Floats) -> "Restarts":
        """The stake when the tick under way ends; `ratios` of shape (alternatives,).

        When a tick ends must not depend on what it brought.
        """
        return Restarts(tuple(self._grown(ratios).tolist()), self.ticks + 1)

    def _grown(self, ratios: Floats) -> Floats:
        laid_down = -log((self.ticks + 1.0) * (self.ticks + 2.0))
        if not self.stakes:
            return laid_down + ratios
        stakes = np.logaddexp(np.array(self.stakes), laid_down)
        return np.reshape(stakes, (-1,) + (1,) * (ratios.ndim - 1)) + ratios


def within_first_tick(log_e: Floats) -> Floats:
    """The log e-value of a test within its first tick, from the plain mean over its alternatives."""
    found: Floats = np.logaddexp(log_e, 0.0) - log(2.0)
    return found


@dataclass(frozen=True, slots=True)
class Remembered:
    """A test's stake, and its ratios over everything when the last tick ended; none yet: all zero."""

    restarts: Restarts = Restarts()
    base: tuple[float, ...] = ()

    def log_e(self, ratios: Floats) -> Floats:
        """As `Restarts.log_e`, of ratios over everything."""
        return self.restarts.log_e(self._since(ratios))

    def ended(self, ratios: Floats) -> "Remembered":
        """As `Restarts.ended`, of ratios over everything."""
        return Remembered(self.restarts.ended(self._since(ratios)), tuple(ratios.tolist()))

    def _since(self, ratios: Floats) -> Floats:
        if not self.base:
            return ratios
        return ratios - np.reshape(np.array(self.base), (-1,) + (1,) * (ratios.ndim - 1))
