"""What a load test saw, and whether it is good enough. Pure: Locust is not imported here.

Law: every request is counted once, under the target that answered it or, failed, under `FAILED` when no
target put its name on the answer. Latencies are those of successful answers; failures have a limit of
their own. Where nothing was measured, no limit is kept.
"""

import argparse
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAILED = "no target"
PERCENTILES = (50, 95, 99)
SPIKE = 10
"""How many times the ordinary load a spike is."""

PATTERNS = ("ramp", "spike", "soak")


def users_at(pattern: str, base: int, elapsed: float) -> int:
    """How many users there are at a moment.

    Args:
        pattern: `ramp` grows to `base` in ten steps, `spike` is ten times `base` in the middle fifth,
            `soak` is `base` all the time.
        base: the ordinary number of users.
        elapsed: share of the run that is over, 0 to 1.
    """
    if pattern == "ramp":
        return max(1, math.ceil(base * min(1.0, (int(elapsed * 10) + 1) / 10)))
    if pattern == "spike" and 0.4 <= elapsed < 0.6:
        return base * SPIKE
    return base


def seconds(text: str) -> float:
    """A duration such as `25ms`, `250us` or `1.5s`."""
    for unit, factor in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if text.endswith(unit):
            return _positive(text.removesuffix(unit), text, "a duration such as 25ms") * factor
    raise argparse.ArgumentTypeError(f"expected a duration such as 25ms, got {text!r}")


def ratio(text: str) -> float:
    """A percentage such as `0.1%`, as 0 to 1."""
    if not text.endswith("%"):
        raise argparse.ArgumentTypeError(f"expected a percentage such as 0.1%, got {text!r}")
    value = _positive(text.removesuffix("%"), text, "a percentage such as 0.1%") / 100
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected at most 100%, got {text!r}")
    return value


def _positive(number: str, text: str, what: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
    return value


@dataclass(slots=True)
class Served:
    """The requests of one target; `judged` are those whose label is known, `right` the ones that hit it."""

    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    failed: int = 0
    judged: int = 0
    right: int = 0

    @property
    def requests(self) -> int:
        """Answered or failed."""
        return len(self.seconds) + self.failed

    def merge(self, other: "Served") -> None:
        """Add the other's requests to these."""
        self.seconds.extend(other.seconds)
        self.failed += other.failed
        self.judged += other.judged
        self.right += other.right

    def summary(self, answered: int) -> dict[str, Any]:
        """JSON-able; `answered` is the number of successful answers of all targets. None is not measured."""
        ordered = sorted(self.seconds)
        return {
            "requests": self.requests,
            "failed": self.failed,
            "errors": self.failed / self.requests if self.requests else None,
            "share": len(ordered) / answered if answered else None,
            "accuracy": self.right / self.judged if self.judged else None,
            **{f"p{percent}_seconds": percentile(ordered, percent) for percent in PERCENTILES},
        }


class Tally:
    """Counts the requests of a run, by target."""

    def __init__(self) -> None:
        self.targets: dict[str, Served] = {}

    def answered(self, target: str, duration: float, *, right: bool | None) -> None:
        """A successful answer after `duration` seconds; `right` is None where no label is known."""
        served = self.targets.setdefault(target, Served())
        served.seconds.append(duration)
        if right is not None:
            served.judged += 1
            served.right += right

    def failed(self, target: str) -> None:
        """A broken connection, a time-out or an answer that is not 200."""
        self.targets.setdefault(target or FAILED, Served()).failed += 1

    def report(self) -> dict[str, Any]:
        """Of all requests, and by target under `targets`."""
        everything = Served()
        for served in self.targets.values():
            everything.merge(served)
        answered = len(everything.seconds)
        rows = {target: served.summary(answered) for target, served in sorted(self.targets.items())}
        return {**everything.summary(answered), "targets": rows}


def percentile(ordered: list[float], percent: float) -> float | None:
    """The nearest-rank percentile of values in ascending order; None of no values."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True, slots=True)
class Limit:
    """One promise: what `key` of the report may be at most, or at least where `floor` is set."""

    name: str
    key: str
    value: float
    floor: bool = False

    def judge(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Whether the report keeps it; JSON-able."""
        measured = report[self.key]
        kept = measured is not None and (measured >= self.value if self.floor else measured <= self.value)
        return {"name": self.name, "limit": self.value, "measured": measured, "kept": kept}


def table(report: Mapping[str, Any]) -> str:
    """The report in plain text: a line for each target, one for all, one for each limit."""
    lines = [
        f"{'target':<16}{'requests':>10}{'share':>9}{'errors':>9}{'accuracy':>10}{'p50':>10}{'p95':>10}{'p99':>10}"
    ]
    for name, row in [*report["targets"].items(), ("all", report)]:
        shares = f"{_percent(row['share']):>9}{_percent(row['errors']):>9}{_percent(row['accuracy']):>10}"
        times = "".join(f"{_milliseconds(row[f'p{percent}_seconds']):>10}" for percent in PERCENTILES)
        lines.append(f"{name:<16}{row['requests']:>10}{shares}{times}")
    for limit in report["sla"]:
        show = _milliseconds if limit["name"].startswith("p") else _percent
        verdict = "kept" if limit["kept"] else "BROKEN"
        lines.append(
            f"SLA {limit['name']} {verdict}: {show(limit['measured'])}, limit {show(limit['limit'])}"
        )
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.4g}%"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.3g} ms"
