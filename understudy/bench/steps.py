"""What one stretch of constant load came to, and whether it kept the objective. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.counting.latency import edge

KEEPS_UP = 0.95
"""A server that answers a smaller share of what is offered does not keep up, whatever its latency."""
LATE_SECONDS = 0.005
BUSY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Objective:
    """What a rate must keep to count as served.

    Args:
        p95_seconds: at most.
        errors: share of requests without a 2xx answer, at most.
        p99_seconds: at most; None for no such limit.
    """

    p95_seconds: float
    errors: float
    p99_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes of the server used during a step.

    Args:
        cpu: mean, in cores.
        memory_bytes: resident, at its end.
    """

    cpu: float
    memory_bytes: int


@dataclass(slots=True)
class Window:
    """About one second of load, as a generator saw it; sums of several are windows too.

    Attributes:
        seconds: its length.
        statuses: HTTP status -> answers; 0 stands for none: broken, timed out, or never sent.
        buckets: latency bucket (see `router.counting.latency`) -> answers of any status.
        late_seconds: how late the latest request left though a connection was free: the generator's fault.
        busy: share of its core that the generator used.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    late_seconds: float = 0.0
    busy: float = 0.0

    @staticmethod
    def read(line: Mapping[str, Any]) -> "Window":
        """From what a generator printed."""
        return Window(
            line["seconds"],
            Counter({int(status): count for status, count in line["statuses"].items()}),
            Counter({int(bucket): count for bucket, count in line["buckets"].items()}),
            line["late_seconds"],
            line["busy"],
        )

    @property
    def requests(self) -> int:
        """Those that came to an end."""
        return sum(self.statuses.values())

    @property
    def errors(self) -> int:
        """Those without a 2xx answer."""
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)

    def percentile(self, percent: float) -> float:
        """Latency in seconds that so many percent of the answers kept, at most 7.7% too high; 0 for none."""
        left = sum(self.buckets.values()) * percent / 100.0
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 1e-9:
                return edge(bucket + 1)
        return 0.0


def together(windows: Iterable[Window], *, side_by_side: bool = False) -> Window:
    """Several windows as one: one after the other, or of generators that ran at the same time."""
    total = Window()
    for window in windows:
        total.statuses.update(window.statuses)
        total.buckets.update(window.buckets)
        total.late_seconds = max(total.late_seconds, window.late_seconds)
        total.busy = max(total.busy, window.busy)
        total.seconds = max(total.seconds, window.seconds) if side_by_side else total.seconds + window.seconds
    return total


@dataclass(frozen=True, slots=True)
class Step:
    """Constant load and what came of it.

    Args:
        offered: requests a second that were meant to be sent.
        seen: all of its windows but those of warming up.
        usage: of the server; None when its processes cannot be seen from here.
        machine: share of all CPUs of this machine that were busy, with whatever.
        saturation: mean `understudy_saturation` of the server; None where it was not looked at, or says none.
    """

    offered: float
    seen: Window
    usage: Usage | None = None
    machine: float = 0.0
    saturation: float | None = None

    @property
    def achieved(self) -> float:
        """Good answers a second."""
        return (self.seen.requests - self.seen.errors) / self.seen.seconds if self.seen.seconds else 0.0

    @property
    def error_share(self) -> float:
        """Of all requests that came to an end."""
        return self.seen.errors / self.seen.requests if self.seen.requests else 1.0

    @property
    def p95_seconds(self) -> float:
        """Of all answers."""
        return self.seen.percentile(95)

    @property
    def generator_limited(self) -> bool:
        """Whether the generator was too slow, so that the step says nothing against the server."""
        return self.seen.busy > BUSY_SHARE or self.seen.late_seconds > LATE_SECONDS * 10

    def shortfall(self, objective: Objective) -> str:
        """What of the objective it missed, in words; empty when it kept all."""
        if self.error_share > objective.errors:
            return f"errors {self.error_share:.2%}"
        if self.p95_seconds > objective.p95_seconds:
            return f"p95 {self.p95_seconds * 1e3:.3g} ms"
        if objective.p99_seconds is not None and self.seen.percentile(99) > objective.p99_seconds:
            return f"p99 {self.seen.percentile(99) * 1e3:.3g} ms"
        if self.achieved < KEEPS_UP * self.offered * (1.0 - self.error_share):
            return f"answered only {self.achieved:,.0f}/s"
        return ""
