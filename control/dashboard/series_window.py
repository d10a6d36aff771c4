"""Rates and percentiles from cumulative numbers. Pure.

A node reports totals about once a second, and sooner when something changes. Requests and failures a second
are those since the latest report that is `RATE_SECONDS` old; what needs more numbers to mean something
(shares, percentiles, agreement) is taken over the last `WINDOW_SECONDS`. A node that starts again begins at
zero, under a new name, so no difference is negative.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import is_

from router.wire.node_use import Answered, Compared, NodeUse
from serving.telemetry.families import SECONDS_BUCKETS

WINDOW_SECONDS = 10.0
RATE_SECONDS = 0.9

Key = tuple[str, str, str]
"""Model, target, role; or model, target, output."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What one node reported at one moment.

    Args:
        at: monotonic seconds.
        answered: model, target, role -> requests, failures, latencies by bucket.
        compared: model, target, output -> comparisons, differences.
        told: both as they were reported.
    """

    at: float
    answered: dict[Key, tuple[int, int, tuple[int, ...]]]
    compared: dict[Key, tuple[int, int]]
    told: tuple[tuple[Answered, ...], tuple[Compared, ...]] = ((), ())

    @staticmethod
    def of(use: NodeUse, at: float, before: "Totals | None" = None) -> "Totals":
        """From a report; what is the same as before, and not only alike, is taken from there."""
        told = use.answered, use.compared
        if before is not None and all(map(is_, told, before.told)):
            return replace(before, at=at)
        return Totals(
            at,
            {r.place: (r.requests, r.failures, tuple(r.latency)) for r in use.answered},
            {r.place: (r.comparisons, r.differences) for r in use.compared},
            told,
        )


@dataclass(slots=True)
class Flow:
    """One target in one role, added up over nodes: a second's worth, and the window's."""

    requests_per_second: float = 0.0
    failures_per_second: float = 0.0
    requests: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BUCKETS) + 1))


class Window:
    """The last reports of one node."""

    def __init__(self) -> None:
        self._kept: deque[Totals] = deque()

    @property
    def last_at(self) -> float:
        """When it last reported, in monotonic seconds; long ago before the first report."""
        return self._kept[-1].at if self._kept else float("-inf")

    @property
    def last(self) -> Totals | None:
        """Its last report."""
        return self._kept[-1] if self._kept else None

    def take(self, totals: Totals) -> None:
        """A report: kept until it is older than the window."""
        self._kept.append(totals)
        while len(self._kept) > 2 and totals.at - self._kept[1].at >= WINDOW_SECONDS:
            self._kept.popleft()

    def add_flows(self, flows: dict[Key, Flow]) -> None:
        """Add what this node answered to the sums."""
        if len(self._kept) < 2:
            return
        first, last = self._kept[0], self._kept[-1]
        old = (report for report in reversed(self._kept) if last.at - report.at >= RATE_SECONDS)
        before = next(old, first)
        seconds = last.at - before.at
        for key, answered in last.answered.items():
            if (flow := flows.get(key)) is None:
                flow = flows[key] = Flow()
            oldest = first.answered.get(key, (0, 0, ()))
            if answered == oldest:
                continue
            earlier = before.answered.get(key, (0, 0, ()))
            requests, failures, latency = answered
            flow.requests_per_second += max(requests - earlier[0], 0) / seconds
            flow.failures_per_second += max(failures - earlier[1], 0) / seconds
            flow.requests += max(requests - oldest[0], 0)
            for index, count in enumerate(latency[: len(flow.latency)]):
                seen = oldest[2][index] if index < len(oldest[2]) else 0
                flow.latency[index] += max(count - seen, 0)

    def add_comparisons(self, sums: dict[Key, list[int]]) -> None:
        """Add what was compared on this node within the window."""
        if not self._kept:
            return
        first, last = self._kept[0], self._kept[-1]
        for key, pair in last.compared.items():
            oldest = first.compared.get(key, (0, 0))
            row = sums.setdefault(key, [0, 0])
            row[0] += max(pair[0] - oldest[0], 0)
            row[1] += max(pair[1] - oldest[1], 0)


def flows(windows: Iterable[Window]) -> dict[Key, Flow]:
    """Every target's traffic over all nodes."""
    found: dict[Key, Flow] = {}
    for window in windows:
        window.add_flows(found)
    return found


def comparisons(windows: Iterable[Window]) -> dict[Key, list[int]]:
    """Every output's comparisons and differences over all nodes, within the window."""
    found: dict[Key, list[int]] = {}
    for window in windows:
        window.add_comparisons(found)
    return found


def percentile(latency: Sequence[int], fraction: float) -> float | None:
    """Seconds below which this fraction of the answers stayed; None without answers.

    Within a bucket answers are taken to be spread evenly, as Prometheus' `histogram_quantile` takes them;
    beyond the last edge nothing is known, and that edge is given.
    """
    total = sum(latency)
    if total == 0:
        return None
    wanted, below = fraction * total, 0
    for index, count in enumerate(latency[: len(SECONDS_BUCKETS)]):
        if count and below + count >= wanted:
            low = SECONDS_BUCKETS[index - 1] if index else 0.0
            return low + (SECONDS_BUCKETS[index] - low) * (wanted - below) / count
        below += count
    return SECONDS_BUCKETS[-1]
