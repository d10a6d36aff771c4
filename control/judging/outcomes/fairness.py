"""How far groups are apart: means by group and differences, with intervals that hold at every look. Pure.

Law: with a chance of at least 1 - alpha all intervals cover at all looks at once. A group's interval is what
its bets have not made implausible; with alpha shared over the groups all hold together, and so do all
differences made of them, also the greatest, though it was chosen by looking.

Assumes of each group that, given the past, the mean of a value is one number throughout. Where it drifts, the
interval is of no one number.

Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024).
"""

from typing import NamedTuple

import numpy as np

from control.judging.betting import excess_bets
from control.judging.evidence import Counts, Floats, bets_test

BETS = tuple(np.geomspace(0.9, 0.001, 12).tolist())
"""Shares of its stake that each bet puts on the next value: the smaller, the more values it is for."""

_STEPS = 50  # of bisection: far below what floats tell apart


class Intervals(NamedTuple):
    """Estimates, and the ends of their intervals; arrays of one shape."""

    estimate: Floats
    least: Floats
    most: Floats


def mean_intervals(values: Counts, units: Counts, alpha: float) -> Intervals:
    """The mean of each group's values, all with a chance of at least 1 - alpha.

    Args:
        values: that occur, ascending, the first and the last being the bounds: 0 and 1 of what is right or
            not, -1, 0 and 1 of gains in accuracy; shape (values,).
        units: how many each group had of each; shape (groups, values). A group without any may be anything.
        alpha: above 0 and below 1.

    Returns:
        Of shape (groups,); the estimate of a group without values is NaN.
    """
    x, n = np.asarray(values, float), np.asarray(units, float)
    low, high = x[0], x[-1]
    shares = (x - low) / (high - low)
    total = n.sum(axis=1)
    mean = np.divide(n @ shares, total, out=np.full(len(n), np.nan), where=total > 0.0)
    line = float(np.log(2.0 * len(n) / alpha))
    least, most = _least(shares, n, line), 1.0 - _least(1.0 - shares, n, line)
    return Intervals(*(low + (high - low) * each for each in (mean, least, most)))


def differences(groups: Intervals) -> Intervals:
    """Of each pair of groups the first less the second; shape (groups, groups)."""
    return Intervals(
        np.subtract.outer(groups.estimate, groups.estimate),
        np.subtract.outer(groups.least, groups.most),
        np.subtract.outer(groups.most, groups.least),
    )


def _least(shares: Floats, units: Floats, line: float) -> Floats:
    """The least mean of each group, 0 to 1, against which bets on "above it" have not reached the line.

    What a bet has won falls as the mean that it is held against rises, so there is one such place.
    """
    low, high = np.zeros(len(units)), np.ones(len(units))
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        won = bets_test(excess_bets(shares - middle[:, None], middle[:, None], units, BETS))
        low, high = np.where(won >= line, middle, low), np.where(won >= line, high, middle)
    return low
