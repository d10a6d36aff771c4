"""The load of each node's machine and processes, from what supervisors report."""

import os
from dataclasses import dataclass, field
from typing import Any

from control.fleet.nodes import Nodes, recorded
from control.fleet.sight import GONE_SECONDS
from router.wire.node_use import NodeUse
from serving.host.usage import process_load

OWN_NODE = "control"
"""The node under which control shows itself where no supervisor speaks for its process."""


@dataclass(slots=True)
class _Seen:
    """One node's last report, the CPU seconds of the one before, and the rates between them."""

    node: str
    heard: float
    use: NodeUse
    cpu: dict[int, float] = field(default_factory=dict)
    machine: float | None = None


class Load:
    """What machines and processes use now.

    Args:
        nodes: what the nodes report.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._seen: dict[str, _Seen] = {}
        self._own = (0.0, 0.0)  # when, and this process's CPU seconds then
        self._own_cpu: float | None = None

    def look(self, now: float) -> None:
        """Take in what was reported since the last look; called every second with monotonic seconds."""
        for instance in self._nodes.alive(now, "node"):
            use, name = instance.report.use, instance.report.instance
            if use is None:
                continue
            before = self._seen.get(name)
            if before is None or instance.heard > before.heard:
                self._seen[name] = _rates(_Seen(instance.report.node, instance.heard, use), before)
        for name, seen in list(self._seen.items()):
            if now - seen.heard >= GONE_SECONDS:
                del self._seen[name]
        own = process_load(os.getpid())
        if own is not None:
            at, cpu = self._own
            self._own_cpu = (own.cpu_seconds - cpu) / (now - at) if at and now > at else None
            self._own = (now, own.cpu_seconds)

    def rows(self) -> list[dict[str, Any]]:
        """For `GET /v1/load`: a row a node, the busiest process first."""
        rows = [_row(seen) for seen in self._seen.values()]
        if not any(process["pid"] == os.getpid() for row in rows for process in row["processes"]):
            rows.append(self._own_row())
        return sorted(rows, key=lambda row: str(row["node"]))

    def _own_row(self) -> dict[str, Any]:
        own = process_load(os.getpid())
        memory = own.memory_bytes if own is not None else 0
        process = {"kind": "control", "name": "control", "pid": os.getpid(), "cpu": self._own_cpu}
        rows = [process | {"memory_bytes": memory}]
        return {"node": OWN_NODE, "machine": None, "records": None, "processes": rows}


def _rates(seen: _Seen, before: _Seen | None) -> _Seen:
    if before is not None:
        seconds = seen.heard - before.heard
        earlier = {process.pid: process.cpu_seconds for process in before.use.processes}
        for process in seen.use.processes:
            if process.pid in earlier:
                seen.cpu[process.pid] = max(process.cpu_seconds - earlier[process.pid], 0.0) / seconds
        busy = seen.use.machine.busy_seconds - before.use.machine.busy_seconds
        seen.machine = min(max(busy, 0.0) / seconds / seen.use.machine.cpus, 1.0)
    return seen


def _row(seen: _Seen) -> dict[str, Any]:
    machine = seen.use.machine
    processes = [
        {
            "kind": process.kind,
            "name": process.name,
            "pid": process.pid,
            "cpu": seen.cpu.get(process.pid),
            "memory_bytes": process.memory_bytes,
        }
        for process in seen.use.processes
    ]
    return {
        "node": seen.node,
        "machine": {
            "cpus": machine.cpus,
            "busy": seen.machine,
            "memory_bytes": machine.memory_bytes,
            "available_bytes": machine.available_bytes,
        },
        "records": recorded(seen.use),
        "processes": sorted(processes, key=lambda process: -(process["cpu"] or 0.0)),
    }
