"""Where compute times behind URLs are compared: edges fixed from stable's histogram before. Pure.

Both sides are the model's own compute time, as servers report it; neither the hop nor the queue is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from control.judging.evidence import Floats
from router.counting.latency import BUCKETS

QUANTILES = (0.50, 0.90, 0.95)
CEILING = 0.99
MIN_BASELINE = 100
"""Answers of stable below which no edges are taken."""


@dataclass(frozen=True, slots=True)
class LatencyEdges:
    """Edges of `router.counting.latency`, as bucket numbers.

    Args:
        quantiles: those nearest to stable's p50, p90 and p95, with answers of stable above each.
        ceiling: the first at or above stable's p99. In a narrow histogram all quantiles share a bucket, and
            only here a slower canary shows; stable has next to nothing above it, so it can prove nothing.
    """

    quantiles: tuple[int, ...]
    ceiling: int

    @property
    def harm(self) -> tuple[int, ...]:
        """Where harm is looked for: at all of them. Proof is looked for at `quantiles`."""
        return tuple(sorted({*self.quantiles, self.ceiling}))


def latency_edges(baseline: Mapping[int, int]) -> LatencyEdges | None:
    """The edges for a baseline (bucket -> answers of stable); None with fewer than `MIN_BASELINE` answers."""
    total = sum(baseline.values())
    if total < MIN_BASELINE:
        return None
    above = slower_than(baseline) / total
    quantiles = set()
    for quantile in QUANTILES:
        upper = int(np.argmax(above <= 1.0 - quantile))
        lower_is_nearer = above[upper - 1] * above[upper] < (1.0 - quantile) ** 2  # by their logarithms
        quantiles.add(upper - 1 if lower_is_nearer else upper)
    return LatencyEdges(tuple(sorted(quantiles)), int(np.argmax(above <= 1.0 - CEILING)))


def slower_than(histogram: Mapping[int, int]) -> Floats:
    """How many answers lie above each edge; shape (`BUCKETS` + 1,), the first is all, the last 0."""
    dense = np.zeros(BUCKETS + 1)
    for index, answers in histogram.items():
        dense[index] += answers
    above: Floats = dense[::-1].cumsum()[::-1]
    return above
