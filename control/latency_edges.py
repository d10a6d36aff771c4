"""Where latency is compared: edges fixed from stable's histogram before the canary starts. Pure.

Both sides are the model's own compute time, which targets in process and in sandboxes report alike; neither
the hop nor the queue is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from control.evidence import Floats
from router.latency import BUCKETS

QUANTILES = (0.50, 0.90, 0.95, 0.99)
MIN_BASELINE = 100
"""Answers of stable below which no edges are taken."""


@dataclass(frozen=True, slots=True)
class LatencyEdges:
    """Edges of `router.latency`, as bucket numbers.

    Args:
        quantiles: those nearest to stable's p50, p90, p95 and p99, with answers of stable above each.
        ceiling: the first at or above stable's p99. In a narrow histogram all quantiles share a bucket, and
            only here a slower canary shows; stable may have nothing above it, so it can prove nothing.
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
    return LatencyEdges(tuple(sorted(quantiles)), int(np.argmax(above <= 1.0 - QUANTILES[-1])))


def slower_than(histogram: Mapping[int, int]) -> Floats:
    """How many answers lie above each edge; shape (`BUCKETS` + 1,), the first is all, the last 0."""
    dense = np.zeros(BUCKETS + 1)
    for index, answers in histogram.items():
        dense[index] += answers
    above: Floats = dense[::-1].cumsum()[::-1]
    return above
