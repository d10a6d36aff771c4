"""A histogram without its bins: what travels of it, since both sides know the profile. Pure.

Law: tallies over the same bins add as their histograms do.
"""

import math
from dataclasses import dataclass

from router.drift.histograms import Categories, Histogram, Moments, Numbers
from serving.errors import InvalidInput

_NONE = Moments()


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of a feature.

    Attributes:
        counts: of numbers as of `Numbers`; of categories by their values in order, the last of other ones.
        missing: values that were not there.
        moments: of finite numbers.
        least: of them; infinite where there are none.
        greatest: likewise.
    """

    counts: tuple[int, ...]
    missing: int = 0
    moments: Moments = _NONE
    least: float = math.inf
    greatest: float = -math.inf

    @property
    def rows(self) -> int:
        """Values that were counted, the missing ones too."""
        return sum(self.counts) + self.missing

    def __add__(self, other: "Tally") -> "Tally":
        """Of both together.

        Raises:
            InvalidInput: they are not over as many bins.
        """
        if len(self.counts) != len(other.counts):
            raise InvalidInput("counts over different bins do not add")
        return Tally(
            tuple(one + another for one, another in zip(self.counts, other.counts, strict=True)),
            self.missing + other.missing,
            self.moments + other.moments,
            min(self.least, other.least),
            max(self.greatest, other.greatest),
        )


def tally_of(histogram: Histogram) -> Tally:
    """What travels of a histogram."""
    if isinstance(histogram, Categories):
        known = (histogram.counts[value] for value in sorted(histogram.counts))
        return Tally((*known, histogram.other), histogram.missing)
    return Tally(histogram.counts, histogram.missing, histogram.moments, histogram.least, histogram.greatest)


def over_bins_of(like: Histogram, tally: Tally) -> Histogram:
    """The histogram of a tally.

    Args:
        like: one over the same bins.
        tally: what was counted.

    Raises:
        InvalidInput: it has not as many bins.
    """
    bins = len(like.counts) + isinstance(like, Categories)
    if len(tally.counts) != bins:
        raise InvalidInput(f"{len(tally.counts)} counts, and the profile has {bins} bins")
    if isinstance(like, Numbers):
        counts, moments = tally.counts, tally.moments
        return Numbers(like.edges, counts, tally.missing, moments, tally.least, tally.greatest)
    *known, other = tally.counts
    return Categories(dict(zip(sorted(like.counts), known, strict=True)), other, tally.missing)
