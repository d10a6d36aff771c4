"""Lines in counts instead of e-values: what a simulation of every look can afford."""

import numpy as np
import numpy.typing as npt

from control.judging.evidence import limit_test

Ints = npt.NDArray[np.int64]


def limit_boundaries(limit: float, line: float, most: int) -> tuple[Ints, Ints]:
    """For n = 1 ... `most` trials, the counts at which the limit test decides.

    Args:
        limit: tau of the limit test.
        line: log e-value to reach.
        most: greatest number of trials.

    Returns:
        The least count that is harmful (n + 1: none is) and the greatest that is proven (-1: none is).
        Both e-values are monotone in the count, so bisection finds them exactly.
    """
    n = np.arange(1, most + 1)
    harm_low, harm_high = np.zeros_like(n), n + 1
    safe_low, safe_high = np.full_like(n, -1), n.copy()
    while np.any(harm_low < harm_high) or np.any(safe_low < safe_high):
        middle = (harm_low + harm_high) // 2
        reached = (limit_test(np.minimum(middle, n), n, limit).harm >= line) | (middle > n)
        open_ = harm_low < harm_high
        harm_high = np.where(open_ & reached, middle, harm_high)
        harm_low = np.where(open_ & ~reached, middle + 1, harm_low)
        middle = (safe_low + safe_high + 1) // 2
        reached = limit_test(np.maximum(middle, 0), n, limit).safe >= line
        open_ = safe_low < safe_high
        safe_low = np.where(open_ & reached, middle, safe_low)
        safe_high = np.where(open_ & ~reached, middle - 1, safe_high)
    return harm_low, safe_low
