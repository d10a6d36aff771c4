"""Bets on a mean, both ways: is what comes above or below what is tolerated, in the mean? Pure.

Law: each bet multiplies its stake by a factor whose expectation is at most 1 where the tolerance is kept
(harm) or where it is broken (safe). So each stake is an e-process, and so is their mean, at every stopping
time. Nothing is assumed of the distribution beside its bounds, which may differ from one value to the next as
long as they are known before it.

Logarithms as in `control.judging.evidence`. The sums by bet are sufficient: a state of fourteen numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from control.judging.betting import excess_bets
from control.judging.evidence import Counts, Evidence, Floats, bets_test

BETS = (0.5, 0.25, 0.12, 0.06, 0.03, 0.015, 0.0075)
"""Shares of its stake that each bet puts on the next value; the small ones are for small differences."""


def _nothing_won() -> Floats:
    return np.zeros(len(BETS))


@dataclass(frozen=True, slots=True)
class MeanBets:
    """What bets on a mean have won.

    Args:
        events: values that came.
        total: their sum, as the excess over what is tolerated; positive is better than that.
        harm: log of what each bet of `BETS` on "worse than tolerated" has grown to; shape (`BETS`, ...).
        safe: the same on "no worse".
    """

    events: float = 0.0
    total: float = 0.0
    harm: Floats = field(default_factory=_nothing_won)
    safe: Floats = field(default_factory=_nothing_won)

    def __add__(self, other: "MeanBets") -> "MeanBets":
        return MeanBets(
            self.events + other.events,
            self.total + other.total,
            self.harm + other.harm,
            self.safe + other.safe,
        )

    def evidence(self) -> Evidence:
        """Harm is against "the mean is at least what is tolerated", safe against "it is at most that"."""
        return Evidence(bets_test(self.harm), bets_test(self.safe))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "events": self.events,
            "total": self.total,
            "harm": self.harm.tolist(),
            "safe": self.safe.tolist(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MeanBets":
        """What `to_json` made."""
        harm, safe = (np.array(value[side], float) for side in ("harm", "safe"))
        return cls(float(value["events"]), float(value["total"]), harm, safe)


def bet_on_mean(excess: Counts, least: Counts, most: Counts, units: Counts = 1.0) -> MeanBets:
    """Bet on values, in any order.

    With Z the excess of a value over what is tolerated, in [a, b], a bet f on harm multiplies its stake by
    1 - f Z / b, one on safety by 1 + f Z / -a.

    Null of harm: given the past, E[Z] >= 0. Null of safe: E[Z] <= 0.
    Assumes: a and b are known before Z is (from the past, or from what was known before the draw).

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024).

    Args:
        excess: Z; shape (values,).
        least: a, below 0; one number or shape (values,).
        most: b, above 0; one number or shape (values,).
        units: how many values each stands for; one number or shape (values,).

    Raises:
        ValueError: if a bound has no room, or a value is beyond it.
    """
    z, a, b, n = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(x, float)) for x in (excess, least, most, units))
    )
    slack = 1e-9 * (b - a)
    if not np.all((a < 0.0) & (b > 0.0) & (z >= a - slack) & (z <= b + slack)):
        raise ValueError(
            "a value is beyond its bounds, or these leave no room on a side of what is tolerated"
        )
    return MeanBets(float(n.sum()), float(n @ z), excess_bets(-z, b, n, BETS), excess_bets(z, -a, n, BETS))
