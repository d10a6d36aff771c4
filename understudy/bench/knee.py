"""The search for the knee: the highest rate that keeps the objective. Pure.

Law: rates double until one is too much, or halve until one is kept; then the gap closes by geometric
bisection until its ends are within `precision` of each other. Every rate asked for lies strictly between
the highest known as kept and the lowest known as too much.
"""

from dataclasses import dataclass

LOWEST_RATE = 1.0


@dataclass(frozen=True, slots=True)
class KneeSearch:
    """What is known so far.

    Args:
        start: the first rate, requests a second.
        precision: how close the two ends must come: 0.1 means within 10%.
        highest: never ask for more.
        kept: the highest rate that kept the objective; 0 for none.
        too_much: the lowest that did not; None for none.
    """

    start: float
    precision: float = 0.1
    highest: float = 1e6
    kept: float = 0.0
    too_much: float | None = None

    def next_rate(self) -> float | None:
        """The rate to try next; None when the knee is known."""
        if self.too_much is None:
            if not self.kept:
                return min(self.start, self.highest)
            return min(self.kept * 2.0, self.highest) if self.kept < self.highest else None
        if not self.kept:
            rate = self.too_much / 2.0
            return rate if rate >= LOWEST_RATE else None
        if self.too_much <= self.kept * (1.0 + self.precision):
            return None
        return float((self.kept * self.too_much) ** 0.5)

    def tried(self, rate: float, *, kept: bool) -> "KneeSearch":
        """The search after a rate was tried."""
        if kept:
            return KneeSearch(self.start, self.precision, self.highest, max(self.kept, rate), self.too_much)
        too_much = rate if self.too_much is None else min(self.too_much, rate)
        return KneeSearch(self.start, self.precision, self.highest, self.kept, too_much)
