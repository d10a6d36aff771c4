"""Evidence for a change that comes late: a mixture over the moments at which it may have begun. Pure.

Law: a bet that began with the canary loses its stake while the canary is good, and must win it back before
it says anything: after a day of good service a dead canary took 2,600 requests. So nine tenths of a stake
are laid down at once, and the rest is kept for changes that come later: `LATER` / k^(1/3) are still kept
when tick k has ended. What was laid down goes on from there. Each part is an e-value that begins at its tick,
so their sum, with what is kept, is one over the whole life, at every stopping time. What is bad from the
start needs log(10 / 9) more for it.

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

LATER = 0.1
"""Share of a stake that is kept for changes which come after the first tick."""


def kept_after(ticks: int) -> float:
    """The share of a stake that is not yet laid down when so many ticks have ended."""
    return float(LATER * ticks ** (-1.0 / 3.0)) if ticks else 1.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """The stake of one test, after some ticks.

    Args:
        stakes: log of what each alternative of the test has grown to; empty before the first tick ends.
        ticks: how many have ended.
        kept: the share of the stake that is not yet laid down; 1 before the first tick ends.
    """

    stakes: tuple[float, ...] = ()
    ticks: int = 0
    kept: float = 1.0

    def log_e(self, ratios: Floats) -> Floats:
        """The log e-value within the tick under way.

        Args:
            ratios: log likelihood ratio, by alternative, of what came since the last tick ended; shape
                (alternatives, ...). May be looked at as often as one likes.
        """
        grown = self._grown(ratios)
        mean = np.logaddexp.reduce(grown, axis=0) - log(len(grown))
        found: Floats = np.logaddexp(mean, log(self._keeps()))
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"stakes": list(self.stakes), "ticks": self.ticks, "kept": self.kept}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Restarts":
        """What `to_json` made, or an older version, which kept 1 / (ticks + 1); that stays laid down."""
        ticks = int(value["ticks"])
        kept = float(value.get("kept", 1.0 / (ticks + 1.0)))
        return cls(tuple(float(stake) for stake in value["stakes"]), ticks, kept)

    def ended(self, ratios: Floats) -> "Restarts":
        """The stake when the tick under way ends; `ratios` of shape (alternatives,).

        When a tick ends must not depend on what it brought.
        """
        return Restarts(tuple(self._grown(ratios).tolist()), self.ticks + 1, self._keeps())

    def _keeps(self) -> float:
        """What is still kept in the tick under way, whose own part is laid down."""
        return self.kept * kept_after(self.ticks + 1) / kept_after(self.ticks)

    def _grown(self, ratios: Floats) -> Floats:
        laid_down = log(self.kept - self._keeps())
        if not self.stakes:
            return laid_down + ratios
        stakes = np.logaddexp(np.array(self.stakes), laid_down)
        return np.reshape(stakes, (-1,) + (1,) * (ratios.ndim - 1)) + ratios


def within_first_tick(log_e: Floats) -> Floats:
    """The log e-value of a test within its first tick, from the plain mean over its alternatives."""
    found: Floats = np.logaddexp(log_e + log(1.0 - LATER), log(LATER))
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
