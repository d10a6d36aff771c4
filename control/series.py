"""The last quarter of an hour of every rollout, a point a second: what the page's charts are drawn from.

Law: bounded, in memory only, and made from what control knows anyway; the data plane does nothing for it.
A point is kept as the JSON text that it is sent as: 900 of them take a third of a MiB a rollout.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from control.door import Door, Entry
from control.examiner import Examiner
from control.nodes import GONE_SECONDS, Nodes
from control.progress import plan
from control.series_window import Flow, Key, Totals, Window, comparisons, flows, percentile

KEPT_POINTS = 900


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
        flowing, compared = flows(self._windows.values()), comparisons(self._windows.values())
        at = round(self._wall(), 3)
        for model in self._points.keys() - self._door.entries.keys():
            del self._points[model]
        for model, entry in self._door.entries.items():
            point = orjson.dumps(self._point(entry, at, flowing, compared))
            self._points.setdefault(model, deque(maxlen=KEPT_POINTS)).append((at, point))

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
                window.take(Totals.of(instance.report.use, instance.heard))
        for name, window in list(self._windows.items()):
            if now - window.last_at >= GONE_SECONDS:
                del self._windows[name]

    def _point(
        self, entry: Entry, at: float, flowing: dict[Key, Flow], compared: dict[Key, list[int]]
    ) -> dict[str, Any]:
        model, progress = entry.rollout.model, entry.progress
        effective = plan(entry.rollout, progress)
        in_service = [(effective.stable.key, "stable")]
        if effective.canary is not None:
            in_service.append((effective.canary.key, "canary"))
        candidates = {effective.canary.key} if effective.canary is not None else set()
        candidates |= {shadow.target.key for shadow in effective.shadows}
        own = {key[1:]: flow for key, flow in flowing.items() if key[0] == model}
        # Who answered until a moment ago is shown for as long as the window knows of it.
        shown = dict.fromkeys([*in_service, *(key for key, flow in own.items() if flow.requests)])
        total = sum(flow.requests for flow in own.values())
        judgement = self._examiner.judgements.get(model)
        return {
            "at": at,
            "stage": progress.stage,
            "phase": progress.phase,
            "weight": effective.weight if effective.canary is not None else 0.0,
            "targets": [_target(*key, own.get(key, Flow()), total) for key in shown],
            "agreement": [
                {
                    "target": target,
                    "output": output,
                    "comparisons": total_compared,
                    "agreement": 1.0 - differences / total_compared if total_compared else None,
                }
                for (name, target, output), (total_compared, differences) in compared.items()
                if name == model and (total_compared or target in candidates)
            ],
            "guards": [
                {
                    "guard": guard.guard,
                    "verdict": guard.verdict,
                    "log_harm": guard.log_harm,
                    "log_safe": guard.log_safe,
                    "log_line": guard.log_line,
                }
                for guard in (judgement.guards if judgement is not None else ())
            ],
        }


def _target(target: str, role: str, flow: Flow, total: int) -> dict[str, Any]:
    return {
        "target": target,
        "role": role,
        "share": 100.0 * flow.requests / total if total else None,
        "requests_per_second": round(flow.requests_per_second, 3),
        "failures_per_second": round(flow.failures_per_second, 3),
        "p50_seconds": percentile(flow.latency, 0.5),
        "p99_seconds": percentile(flow.latency, 0.99),
    }
