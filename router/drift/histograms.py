"""What values a feature had, counted: in bins of a reference for numbers, by themselves for categories. Pure.

Law: histograms over the same bins add, in any order and grouping, to that of all values together; so
processes, nodes and days may be counted apart. (Moments are floats, which add up to rounding.)
Every value is counted exactly once: in a bin, below or above all of them, or as missing.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput

Floats = npt.NDArray[np.float64]

BINS = 10
"""Of numbers, at the deciles of the reference; fewer where deciles coincide."""
MOST_VALUES = 100
"""Of a category that are told apart: the most frequent."""
MOST_TEXT = 200
"""Characters of a value; what follows is cut off."""
_GREATEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Moments:
    """Of finite values: how many, mean, sum of squares of the distances from it; as far as floats go."""

    number: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        """The standard deviation of the values themselves; 0 where there are none."""
        return math.sqrt(self.squares / self.number) if self.number else 0.0

    def __add__(self, other: "Moments") -> "Moments":
        """Of both together. Source: Chan, Golub and LeVeque (1979)."""
        if not (self.number and other.number):
            return self if self.number else other
        number = self.number + other.number
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.number / number)
        between = apart * (self.number / number) * apart * other.number
        return Moments(number, mean, min(self.squares + other.squares + between, _GREATEST))


@dataclass(frozen=True, slots=True)
class Numbers:
    """A histogram of numbers.

    Attributes:
        edges: of K bins, K + 1 and ascending: the least value of the reference, its deciles between, the
            greatest. Two that are equal are the one bin of a constant.
        counts: K + 2: below the first edge, in each bin (its lower edge belongs to it, and to the last also
            its upper one), above the last edge. Infinities are below or above.
        missing: NaN, and what was not there.
        moments: of the finite values.
        least: of the finite values; infinite where there are none.
        greatest: likewise.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int = 0
    moments: Moments = Moments()
    least: float = math.inf
    greatest: float = -math.inf

    @property
    def rows(self) -> int:
        """Values that were counted, the missing ones too."""
        return sum(self.counts) + self.missing

    @property
    def outside(self) -> int:
        """Values beyond all that the reference had."""
        return self.counts[0] + self.counts[-1]

    @property
    def empty(self) -> "Numbers":
        """The same bins without values."""
        return Numbers(self.edges, (0,) * len(self.counts))

    def counted(self, values: Floats) -> "Numbers":
        """With these values, too."""
        there = values[~np.isnan(values)]
        finite = there[np.isfinite(there)]
        found = Numbers(
            self.edges,
            _binned(np.array(self.edges), there),
            len(values) - len(there),
            _moments(finite),
            float(finite.min()) if len(finite) else math.inf,
            float(finite.max()) if len(finite) else -math.inf,
        )
        return self + found

    def __add__(self, other: "Numbers") -> "Numbers":
        """Of both together.

        Raises:
            InvalidInput: their bins are not the same.
        """
        if self.edges != other.edges:
            raise InvalidInput("histograms over different bins do not add; count both over the same")
        return Numbers(
            self.edges,
            tuple(one + another for one, another in zip(self.counts, other.counts, strict=True)),
            self.missing + other.missing,
            self.moments + other.moments,
            min(self.least, other.least),
            max(self.greatest, other.greatest),
        )


@dataclass(frozen=True, slots=True)
class Categories:
    """A histogram of categories.

    Attributes:
        counts: by value, those of the reference and no others; 0 where one of these was not met.
        other: values that are none of these. In a reference: those that were too rare to be told apart.
        missing: empty, and what was not there.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    other: int = 0
    missing: int = 0

    @property
    def rows(self) -> int:
        """Values that were counted, the missing ones too."""
        return sum(self.counts.values()) + self.other + self.missing

    @property
    def empty(self) -> "Categories":
        """The same values, none of them met."""
        return Categories(dict.fromkeys(self.counts, 0))

    def counted(self, values: Iterable[str | None]) -> "Categories":
        """With these values, too; None and empty ones are missing."""
        met = Counter(value[:MOST_TEXT] if value else "" for value in values)
        missing = met.pop("", 0)
        known = {value: met.pop(value, 0) for value in self.counts}
        return self + Categories(known, met.total(), missing)

    def __add__(self, other: "Categories") -> "Categories":
        """Of both together.

        Raises:
            InvalidInput: they do not tell apart the same values.
        """
        if self.counts.keys() != other.counts.keys():
            raise InvalidInput("histograms of different categories do not add; count both by the same")
        counts = {value: number + other.counts[value] for value, number in self.counts.items()}
        return Categories(counts, self.other + other.other, self.missing + other.missing)


Histogram = Numbers | Categories


def of_numbers(values: Floats) -> Numbers:
    """The histogram of a reference, over bins of its own deciles.

    Raises:
        InvalidInput: no value is a finite number.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise InvalidInput("no value is a finite number")
    steps = np.quantile(finite, np.linspace(0, 1, BINS + 1), method="inverted_cdf")
    edges = np.unique(steps)
    ends = edges if len(edges) > 1 else np.repeat(edges, 2)
    return Numbers(tuple(ends.tolist()), (0,) * (len(ends) + 1)).counted(values)


def of_categories(values: Sequence[str | None]) -> Categories:
    """The histogram of a reference, by its own most frequent values."""
    met = Counter(value[:MOST_TEXT] for value in values if value)
    most = sorted(met.items(), key=lambda item: (-item[1], item[0]))[:MOST_VALUES]
    return Categories({value: 0 for value, _ in sorted(most)}).counted(values)


def added(one: Histogram, another: Histogram) -> Histogram:
    """Both together.

    Raises:
        InvalidInput: one is of numbers and one of categories, or their bins are not the same.
    """
    match one, another:
        case (Numbers(), Numbers()):
            return one + another
        case (Categories(), Categories()):
            return one + another
    raise InvalidInput("a histogram of numbers and one of categories do not add")


def _binned(edges: Floats, values: Floats) -> tuple[int, ...]:
    """Counts of values without NaN: below, in each bin, above."""
    place = 1 + np.searchsorted(edges[1:-1], values, side="right")
    place[values < edges[0]] = 0
    place[values > edges[-1]] = len(edges)
    return tuple(np.bincount(place, minlength=len(edges) + 1).tolist())


def _moments(values: Floats) -> Moments:
    if not len(values):
        return Moments()
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (values / len(values)).sum()  # a sum of great values would overflow
        return Moments(len(values), float(mean), min(float(np.square(values - mean).sum()), _GREATEST))
