"""By which rule two outputs agree; `router.rollout.compare` measures. Pure.

Whoever only reads documents imports no numpy for them, which takes a fifth of the start of a command.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exact:
    """Every element is equal. Distance: the fraction of elements that differ."""


@dataclass(frozen=True, slots=True)
class Close:
    """`|candidate - reference| <= atol + rtol |reference|`. Distance: the greatest absolute difference."""

    atol: float = 0.0
    rtol: float = 0.0


@dataclass(frozen=True, slots=True)
class Argmax:
    """Every row has its greatest element at the same index. Distance: the fraction of rows that differ."""


@dataclass(frozen=True, slots=True)
class TopK:
    """Every row has the same set of indices of its `k` greatest elements. Distance: as for `Argmax`."""

    k: int


@dataclass(frozen=True, slots=True)
class Cosine:
    """The cosine of every pair of rows is at least `min`. Distance: the greatest 1 - cosine, 0 to 2.

    A row of zeros has cosine 0 with every other row.
    """

    min: float


@dataclass(frozen=True, slots=True)
class JensenShannon:
    """The divergence of every pair of rows is at most `max` bits. Distance: the greatest, 0 to 1.

    Rows are divided by their sums first. A row with a negative element or a sum of 0 is no distribution:
    it differs from every other row, at distance 1. Source: Lin, Divergence measures based on the Shannon
    entropy (1991).
    """

    max: float


Rule = Exact | Close | Argmax | TopK | Cosine | JensenShannon
