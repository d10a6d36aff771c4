"""What guards that weigh by units have seen: users, or spans of time, instead of requests. Pure.

Law: outcomes that hang together are one observation. So each unit weighs the same, whatever number of
requests is in it, and the statement is about the mean share over units. The bets are those of
`control.judging.betting`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from control.judging.betting import HARM_BETS, SAFE_BETS, harm_bets, safe_bets
from control.judging.evidence import Floats


@dataclass(frozen=True, slots=True)
class UnitBets:
    """What bets on units have won.

    Args:
        units: that have ended.
        shares: the sum of their shares of events.
        harm: log of what each bet of `HARM_BETS` has grown to.
        safe: the same of `SAFE_BETS`.
    """

    units: float = 0.0
    shares: float = 0.0
    harm: Floats = field(default_factory=lambda: np.zeros(len(HARM_BETS)))
    safe: Floats = field(default_factory=lambda: np.zeros(len(SAFE_BETS)))

    def __add__(self, other: "UnitBets") -> "UnitBets":
        return UnitBets(
            self.units + other.units,
            self.shares + other.shares,
            self.harm + other.harm,
            self.safe + other.safe,
        )


def weighed(units: Mapping[float, float], limit: float) -> UnitBets:
    """The bets on units of which so many had each share.

    Args:
        units: share, 0 to 1 -> units.
        limit: the tolerated mean share.
    """
    shares, numbers = np.array([*units], float), np.array([*units.values()], float)
    return UnitBets(
        float(numbers.sum()),
        float(shares @ numbers),
        harm_bets(shares, numbers, limit),
        safe_bets(shares, numbers, limit),
    )


@dataclass(frozen=True, slots=True)
class TimedUnits:
    """Units of time of one stage; one begins with the first second that is not in the one before.

    Args:
        bets: on those that have ended.
        last: the latest second that was taken.
        began: the first second of the one under way.
        requests: of the one under way; 0 is none.
        events: of those.
    """

    bets: UnitBets = field(default_factory=UnitBets)
    last: int = -1
    began: int = 0
    requests: int = 0
    events: int = 0

    def taken(self, second: int, requests: int, events: int, length: int, limit: float) -> "TimedUnits":
        """With one more second, that of all processes together; an earlier one than the last is left out.

        Args:
            second: since 1970.
            requests: that arrived in it.
            events: of those.
            length: seconds that a unit takes at least.
            limit: the tolerated mean share.
        """
        if second <= self.last or requests == 0:
            return self
        if self.requests and second < self.began + length:
            return replace(self, last=second, requests=self.requests + requests, events=self.events + events)
        bets = self.bets
        if self.requests:
            bets += weighed({self.events / self.requests: 1.0}, limit)
        return TimedUnits(bets, second, second, requests, events)
