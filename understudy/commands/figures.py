"""Figures of one rollout, out of the text of `/metrics`. Pure.

Counters only grow, so what happened in a stretch of time is the difference of two scrapes. A quantile is
read off a histogram as Prometheus does it: linear inside the bucket in which it falls.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Scrape:
    """Cumulative counts of one rollout.

    Attributes:
        requests: (target, role, HTTP status) -> answers.
        buckets: (target, role, upper edge in seconds) -> answers no slower than that.
        compared: (target, output, verdict) -> comparisons.
    """

    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    buckets: Counter[tuple[str, str, float]] = field(default_factory=Counter)
    compared: Counter[tuple[str, str, str]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """One target in a stretch of time; `p50` and `p99` in seconds, None without requests."""

    requests: int
    errors: int
    p50: float | None
    p99: float | None


def scrape(text: str, model: str) -> Scrape:
    """What `/metrics` says about a public model name."""
    found = Scrape()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("model") != model:
                continue
            match sample.name:
                case "understudy_requests_total":
                    found.requests[labels["target"], labels["role"], labels["code"]] += int(sample.value)
                case "understudy_request_seconds_bucket":
                    edge = float(labels["le"])
                    found.buckets[labels["target"], labels["role"], edge] += int(sample.value)
                case "understudy_comparison_total":
                    key = (labels["target"], labels["output"], labels["verdict"])
                    found.compared[key] += int(sample.value)
    return found


def since(before: Scrape, after: Scrape) -> Scrape:
    """What happened between two scrapes; all of `after` when counting began anew in between."""
    if any(before.requests[key] > after.requests[key] for key in before.requests):
        return after
    return Scrape(
        after.requests - before.requests,
        after.buckets - before.buckets,
        after.compared - before.compared,
    )


def targets(counts: Scrape, role: str = "") -> dict[str, TargetFigures]:
    """Requests, errors (HTTP status 500 and above) and latency by target.

    Args:
        counts: of one rollout.
        role: only what was answered in it; empty for any.
    """
    figures = {}
    for target in sorted({target for target, _, _ in counts.requests}):
        codes, edges = Counter[str](), Counter[float]()
        for (name, its, code), number in counts.requests.items():
            codes[code] += number * (name == target and role in {"", its})
        for (name, its, edge), number in counts.buckets.items():
            edges[edge] += number * (name == target and role in {"", its})
        errors = sum(number for code, number in codes.items() if code >= "5")
        figures[target] = TargetFigures(
            sum(codes.values()), errors, quantile(edges, 0.50), quantile(edges, 0.99)
        )
    return figures


def agreement(counts: Scrape) -> dict[str, dict[str, tuple[int, int]]]:
    """Target -> output -> (comparisons that agreed, all comparisons)."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for (target, output, verdict), number in sorted(counts.compared.items()):
        if verdict == "unruled":  # compared, and not judged
            continue
        agreed, total = found.setdefault(target, {}).get(output, (0, 0))
        found[target][output] = (agreed + number * (verdict == "same"), total + number)
    return found


def quantile(buckets: Mapping[float, int], share: float) -> float | None:
    """The value below which a share of the observations lies.

    Args:
        buckets: upper edge (the last one infinite) -> observations no greater.
        share: 0 to 1.

    Returns:
        In the unit of the edges; the last finite edge for what lies beyond it; None without observations.
    """
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0
    if total == 0:
        return None
    rank, lower, below = share * total, 0.0, 0
    for edge in edges:
        if buckets[edge] >= rank and buckets[edge] > below:
            if math.isinf(edge):
                return lower
            return lower + (edge - lower) * (rank - below) / (buckets[edge] - below)
        lower, below = edge, buckets[edge]
    return lower
