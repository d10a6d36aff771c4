"""Latency in log-spaced buckets, the same in every router, so that histograms add up.

Bucket `i` holds compute times of `[edge(i), edge(i + 1))` seconds; the first also holds what is shorter, the
last what is longer. Each is 7.7% wide, the cube root of 1.25, so that the tolerance of 1.25 that most guards
ask for falls on an edge. Pure.
"""

import math
from bisect import bisect_right
from functools import partial

SHORTEST_SECONDS = 1e-6
GROWTH = 1.25 ** (1 / 3)
BUCKETS = 280  # up to 1,000 s: longer than any request may take

_EDGES = tuple(SHORTEST_SECONDS * GROWTH**index for index in range(BUCKETS))


bucket = partial(bisect_right, _EDGES[1:])
"""The bucket, 0 to `BUCKETS` - 1, of a duration in seconds; called for every request."""


def edge(index: int) -> float:
    """The lower edge of a bucket, in seconds; `edge(BUCKETS)` is where the scale ends."""
    return _EDGES[index] if index < BUCKETS else SHORTEST_SECONDS * GROWTH**index


def shift_down(ratio: float) -> int:
    """How many buckets a factor spans, rounded down: `edge(i + shift) <= ratio * edge(i)`."""
    return math.floor(math.log(ratio) / math.log(GROWTH) + 1e-9)


def shift_up(ratio: float) -> int:
    """How many buckets a factor spans, rounded up: `edge(i + shift) >= ratio * edge(i)`."""
    return math.ceil(math.log(ratio) / math.log(GROWTH) - 1e-9)
