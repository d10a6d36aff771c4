"""The last quarter of an hour of every rollout, a point a second: what the page's charts are drawn from.

Law: bounded, in memory only, and made from what control knows anyway; the data plane does nothing for it.
A point is kept as the JSON text that it is sent as, about 1 kB of a busy rollout; where there are so many
rollouts that `MAX_POINTS` are not enough for all, each keeps less of the past.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from control.dashboard.series_window import Flow, Key, Totals, Window, comparisons, flows, percentile
from control.fleet.nodes import Nodes
from control.fleet.sight import GONE_SECONDS
from control.judging.verdicts import GuardVerdict
from control.pilot.examiner import Examiner
from control.rollouts.progress import served_by
from control.rollouts.writer import Door, Entry
from control.views.rollout import judged
from router.rollout.snapshot import ServedRollout

T = TypeVar("T")
Role = tuple[str, str]
"""Target and role; or target and output."""

KEPT_POINTS = 900
MAX_POINTS = 90_000


class Series:
    """Points of all rollouts.

    Args:
        door: the rollouts.
        nodes: what the nodes report.
        examiner: what the guards say.
        wall: seconds since 1970.
    """

    def __init__(self, door: Door, nodes: Nodes, examiner: Examiner, wall: Callable[[], float]) -> None:
        self._door = door
        self._nodes = nodes
        self._examiner = examiner
        self._wall = wall
        self._windows: dict[str, Window] = {}
        self._points: dict[str, deque[tuple[float, bytes]]] = {}

    def look(self, now: float) -> None:
        """Take one point of every rollout; called every second.

        Args:
            now: monotonic seconds.
        """
        self._hear(now)
        flowing = _by_model(flows(self._windows.values()))
        compared = _by_model(comparisons(self._windows.values()))
        at = round(self._wall(), 3)
        for model in self._points.keys() - self._door.entries.keys():
            del self._points[model]
        for model, entry in self._door.entries.items():
            point = self._point(entry, at, flowing.get(model, {}), compared.get(model, {}))
            points = self._points.setdefault(model, deque(maxlen=KEPT_POINTS))
            points.append((at, orjson.dumps(point)))
            while len(points) > MAX_POINTS // len(self._door.entries):
                points.popleft()

    def last(self, model: str) -> bytes | None:
        """The latest point of a rollout as JSON; None before the first."""
        points = self._points.get(model)
        return points[-1][1] if points else None

    def json(self, model: str, since: float) -> bytes:
        """The points of a rollout that are later than `since` (seconds since 1970), as a JSON array."""
        points = self._points.get(model, ())
        return b"[" + b",".join(text for at, text in points if at > since) + b"]"

    def _hear(self, now: float) -> None:
        """Take in what nodes have reported since the last look, and let go of nodes that are gone."""
        for instance in self._nodes.alive(now, "node"):
            if instance.report.use is None:
                continue
            window = self._windows.setdefault(instance.report.instance, Window())
            if instance.heard > window.last_at:
                window.take(Totals.of(instance.report.use, instance.heard, window.last))
        for name, window in list(self._windows.items()):
            if now - window.last_at >= GONE_SECONDS:
                del self._windows[name]

    def _point(
        self, entry: Entry, at: float, own: dict[Role, Flow], compared: dict[Role, list[int]]
    ) -> dict[str, Any]:
        progress = entry.progress
        effective = served_by(entry.rollout, progress)
        roles = [(target.key, role) for role, target in effective.roles()]
        in_service = [(key, role) for key, role in roles if role in {"stable", "canary"}]
        candidates = {key for key, role in roles if role in {"canary", "shadow"}}
        # Who answered until a moment ago is shown for as long as the window knows of it.
        shown = dict.fromkeys([*in_service, *(key for key, flow in own.items() if flow.requests)])
        total = sum(flow.requests for flow in own.values())
        seen = judged(self._examiner, entry)
        return {
            "at": at,
            "stage": progress.stage,
            "phase": progress.phase,
            "weight": _weight(effective),
            "targets": [_target(*key, own.get(key, Flow()), total) for key in shown],
            "agreement": [
                _agreement(*key, *counts, ruled=entry.rollout.rules_on(key[1]))
                for key, counts in compared.items()
                if counts[0] or key[0] in candidates
            ],
            "guards": [_guard(name, guard) for name, guard in seen.guards()],
        }


def _target(target: str, role: str, flow: Flow, total: int) -> dict[str, Any]:
    return {
        "target": target,
        "role": role,
        "share": round(100.0 * flow.requests / total, 3) if total else None,
        "requests_per_second": round(flow.requests_per_second, 3),
        "failures_per_second": round(flow.failures_per_second, 3),
        "p50_seconds": _rounded(percentile(flow.latency, 0.5), 7),
        "p99_seconds": _rounded(percentile(flow.latency, 0.99), 7),
    }


def _agreement(
    target: str, output: str, comparisons: int, differences: int, *, ruled: bool
) -> dict[str, Any]:
    known = comparisons and ruled
    return {
        "target": target,
        "output": output,
        "comparisons": comparisons,
        "agreement": round(1.0 - differences / comparisons, 6) if known else None,
        "ruled": ruled,
    }


def _weight(effective: ServedRollout) -> float:
    """What does not go to stable, in percent."""
    if effective.arms:
        return sum(arm.weight for arm in effective.arms)
    return effective.weight if effective.canary is not None else 0.0


def _guard(name: str, guard: GuardVerdict) -> dict[str, Any]:
    return {
        "guard": name,
        "verdict": guard.verdict,
        "log_harm": _rounded(guard.log_harm, 4),
        "log_safe": _rounded(guard.log_safe, 4),
        "log_line": _rounded(guard.log_line, 4),
        "log_proof_line": _rounded(guard.log_proof_line, 4),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    """What nobody could see in a chart is not kept."""
    return None if value is None else round(value, digits)


def _by_model(found: dict[Key, T]) -> dict[str, dict[Role, T]]:
    grouped: dict[str, dict[Role, T]] = {}
    for (model, target, last), value in found.items():
        grouped.setdefault(model, {})[target, last] = value
    return grouped
