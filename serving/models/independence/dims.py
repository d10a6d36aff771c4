"""Lengths of axes, as far as they are known before a run: a whole number times symbols. Pure.

Law: a symbol stands for one number in the joined run and in each of the runs that it replaces, except
`ROWS`, which is the number of rows and is the only one that differs. Two lengths that compare equal are equal
in every run; nothing follows from their being unequal.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

ROWS = "+rows"
"""The number of rows of a run, at least 1. Symbols that begin with a plus sign are never zero."""


MOST_ROWS = 65_536
"""The most rows that are ever run together (`batching.max` of `serving.models.files.config`)."""


@dataclass(frozen=True, slots=True)
class Dim:
    """`factor` times the product of `symbols`, which are sorted; a zero has none."""

    factor: int
    symbols: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether it is a number."""
        return not self.symbols

    @property
    def counts_rows(self) -> bool:
        """Whether it differs between runs."""
        return ROWS in self.symbols

    @property
    def positive(self) -> bool:
        """Whether it is surely at least 1."""
        return self.factor > 0 and all(symbol[0] == "+" for symbol in self.symbols)

    def __mul__(self, other: "Dim") -> "Dim":
        """The product."""
        factor = self.factor * other.factor
        return Dim(factor, tuple(sorted(self.symbols + other.symbols)) if factor else ())

    def over(self, other: "Dim") -> "Dim | None":
        """The quotient where it is surely whole and the divisor surely not zero; else None."""
        rest = Counter(self.symbols)
        rest.subtract(other.symbols)
        if not other.positive or self.factor % other.factor or min(rest.values(), default=0) < 0:
            return None
        return Dim(self.factor // other.factor, tuple(sorted(rest.elements())))


ONE = Dim(1)
N = Dim(1, (ROWS,))


def product(dims: Iterable[Dim]) -> Dim:
    """Of none, 1."""
    return reduce(Dim.__mul__, dims, ONE)


def broadcast(one: Dim, other: Dim) -> Dim:
    """The length that two lengths without rows give together, if the run accepts them."""
    if other in {one, ONE}:
        return one
    if one == ONE:
        return other
    for dim in (one, other):
        if dim.known:  # the other one is then 1 or the same
            return dim
    sign = "+" if one.positive and other.positive else "?"
    pair = sorted(f"{dim.factor}*{'*'.join(dim.symbols)}" for dim in (one, other))
    return Dim(1, (f"{sign}({'|'.join(pair)})",))
