"""How far what came now is from a reference: PSI, Kullback-Leibler, Jensen-Shannon, Wasserstein. Pure.

These are numbers to look at. None is a test: with few rows each is above zero without any change, by about
`Distance.noise` for PSI, and thresholds that everybody knows (0.1, 0.25) alarm by chance.

Shares are (count + 1/2) / (rows + bins / 2), after Krichevsky and Trofimov (1981): a bin that is empty on one
side makes nothing infinite, and the half is nothing beside many rows. Values beyond the reference count in
its outermost bins, missing ones in a bin of their own.
"""

import math
from dataclasses import dataclass

import numpy as np

from router.drift.histograms import Categories, Floats, Histogram, Numbers
from serving.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a histogram is from its reference.

    Attributes:
        rows: that were counted now.
        psi: population stability index, sum of (q - p) ln(q / p), in nats; 0 for equal shares.
        noise: what PSI is on average without any change, (bins - 1) (1/rows + 1/reference rows), to the first
            order; of the bins that are not empty on both sides.
        kl: Kullback-Leibler divergence of now from the reference, sum of q ln(q / p), in nats.
        js: Jensen-Shannon distance, the root of the divergence in bits; 0 to 1.
        wasserstein: of numbers, what their values moved on average, in standard deviations of the reference;
            values within a bin count as spread evenly. None of categories, and of a constant.
        missing: share of values now.
        missing_before: share in the reference.
        outside: share of values now beyond the range of the reference's, or that are none of its categories.
        outside_before: that share in the reference, where categories were too many to be told apart.
        constant: all values now are one, and were not in the reference.
    """

    rows: int
    psi: float
    noise: float
    kl: float
    js: float
    wasserstein: float | None
    missing: float
    missing_before: float
    outside: float
    outside_before: float
    constant: bool


def distance(reference: Histogram, now: Histogram) -> Distance:
    """Hold a histogram against a reference over the same bins.

    Raises:
        InvalidInput: the bins are not the same, or one of the two has no rows.
    """
    if not (reference.rows and now.rows):
        raise InvalidInput("nothing was counted that could be compared")
    before, after = _bins(reference), _bins(now)
    if len(before) != len(after) or type(reference) is not type(now):
        raise InvalidInput("histograms over different bins cannot be compared")
    p, q = _shares(before), _shares(after)
    ratio = np.log(q / p)
    return Distance(
        now.rows,
        float(((q - p) * ratio).sum()),
        max(int(np.count_nonzero(before + after)) - 1, 0) * (1 / now.rows + 1 / reference.rows),
        float((q * ratio).sum()),
        math.sqrt(max(_jensen_shannon(p, q), 0.0)),
        wasserstein(reference, now) if isinstance(reference, Numbers) and isinstance(now, Numbers) else None,
        now.missing / now.rows,
        reference.missing / reference.rows,
        _outside(now) / now.rows,
        _outside(reference) / reference.rows,
        _constant(now) and not _constant(reference),
    )


def wasserstein(reference: Numbers, now: Numbers) -> float | None:
    """The area between the two cumulative distributions, in standard deviations of the reference.

    None where the reference is constant, or either has no finite number.
    """
    scale = reference.moments.std
    if not (scale > 0 and now.moments.number and math.isfinite(scale)):
        return None
    least, greatest = (
        min(reference.least, now.least, reference.edges[0]),
        max(reference.greatest, now.greatest, reference.edges[-1]),
    )
    knots = np.array([least, *reference.edges, greatest])
    apart = _cumulative(now) - _cumulative(reference)
    return float(_area(knots, apart)) / scale


def _area(knots: Floats, apart: Floats) -> float:
    """The integral of |f| where f is linear between knots."""
    width, left, right = np.diff(knots), apart[:-1], apart[1:]
    same = left * right >= 0
    total = np.abs(left) + np.abs(right)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (np.square(left) + np.square(right)) / (2 * total)
    return float((width * np.where(same, total / 2, crossing)).sum())


def _cumulative(numbers: Numbers) -> Floats:
    """The share of numbers at most each knot: the least, the edges, the greatest."""
    counts = np.array(numbers.counts, np.float64)
    shares: Floats = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1.0)
    return shares


def _bins(histogram: Histogram) -> Floats:
    """Counts over the bins that are compared; the last is of what is missing."""
    if isinstance(histogram, Categories):
        counts = [histogram.counts[value] for value in sorted(histogram.counts)]
        return np.array([*counts, histogram.other, histogram.missing], np.float64)
    below, *inner, above = histogram.counts
    inner[0] += below
    inner[-1] += above
    return np.array([*inner, histogram.missing], np.float64)


def _shares(counts: Floats) -> Floats:
    shares: Floats = (counts + 0.5) / (counts.sum() + len(counts) / 2)
    return shares


def _jensen_shannon(p: Floats, q: Floats) -> float:
    middle = (p + q) / 2
    return float((p * np.log2(p / middle) + q * np.log2(q / middle)).sum()) / 2


def _outside(histogram: Histogram) -> int:
    return histogram.other if isinstance(histogram, Categories) else histogram.outside


def _constant(histogram: Histogram) -> bool:
    if isinstance(histogram, Numbers):
        return histogram.least == histogram.greatest and not histogram.missing
    met = [number for number in (*histogram.counts.values(), histogram.other, histogram.missing) if number]
    return len(met) == 1 and not histogram.other
