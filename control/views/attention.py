"""Since when each thing needs a person, and what needs one just now.

Law: what is shown is what is in force at the moment of asking; only since when is remembered, by the clock of
this control from when it saw it first.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from control.fleet.instance import Alike, Instance, alike, alone
from control.fleet.nodes import Nodes
from control.pilot.examiner import Examiner
from control.rollouts.approving import step_of
from control.rollouts.progress import served_by
from control.rollouts.state import wanting
from control.rollouts.writer import Door, Entry
from control.views.needs import GRACE_SECONDS, URGENCY, Need, Unready, needs
from control.views.rollout import judged, stable_served, waits_for_nodes
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Approve, Target


class _Census:
    """The living processes, looked up once for all rollouts."""

    def __init__(self, nodes: Nodes, now: float) -> None:
        self.workers = alike(nodes.workers(now))
        self.acknowledged = nodes.acknowledged(now)
        self._sandboxes: dict[tuple[str, str, str], list[Instance]] = {}
        for instance in nodes.alive(now, "sandbox"):
            if not instance.report.draining:
                for place in instance.targets:
                    self._sandboxes.setdefault(place, []).append(instance)

    def unready(self, model: str, effective: ServedRollout) -> list[Unready]:
        """The targets beside stable that are not ready in each process that is to have them."""
        if not self.workers:
            return []
        found = []
        for role, target in effective.roles():
            place = model, target.key, role
            if role == "stable":
                continue
            sandboxes = alike(self._sandboxes.get(place, []))
            where = sandboxes if role == "shadow" else self._workers_of(effective, role, target)
            states = [(each.rows.targets.get(place), len(each.instances)) for each in where]
            ready = sum(number for row, number in states if row is not None and row.ready)
            wanted = sum(number for _, number in states)
            if wanted and ready == wanted:
                continue
            rows = [each.rows.targets.get(place) for each in [*sandboxes, *self.workers]]
            problem = next((row.problem for row in rows if row is not None and row.problem), "")
            found.append(Unready(target.key, role, ready, wanted, problem))
        return found

    def _workers_of(self, effective: ServedRollout, role: str, target: Target) -> list[Alike]:
        """Those that are to have a target, which are not all where a candidate has a placement."""
        if effective.alike:
            return self.workers
        each = ((worker, worker.instances[0].report) for worker in alone(self.workers))
        return [worker for worker, its in each if effective.wants(role, target, its.node, its.label)]


def _wanted(entry: Entry) -> str:
    step = step_of(entry.rollout, entry.progress)
    return wanting(step, entry.progress) if isinstance(step, Approve) else ""


class Attention:
    """What needs a person.

    Args:
        door: the rollouts.
        nodes: what the data plane reports.
        examiner: what the guards say.
        control: what is the matter with control itself or with its rollout file.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        door: Door,
        nodes: Nodes,
        examiner: Examiner,
        control: Callable[[], Sequence[Need]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._door = door
        self._nodes = nodes
        self._examiner = examiner
        self._control = control
        self._clock = clock
        self._since: dict[tuple[str, str, str], float] = {}

    def look(self, now: float) -> None:
        """Remember since when, and forget what has ended; called every second."""
        census = _Census(self._nodes, now)
        found = {("", need.kind, need.target) for need in self._general(census)}
        for model, entry in self._door.entries.items():
            found |= {(model, need.kind, need.target) for need in self._needs(entry, census)}
        at = self._clock()
        self._since = {key: self._since.get(key, at) for key in found}

    def of(self, entry: Entry, now: float) -> list[dict[str, Any]]:
        """What of a rollout needs a person, the most urgent first, as JSON-able values."""
        return self._shown(entry.rollout.model, self._needs(entry, _Census(self._nodes, now)))

    def all(self, now: float) -> list[dict[str, Any]]:
        """Everything, the most urgent first; what is of no rollout has no model."""
        census = _Census(self._nodes, now)
        found = self._shown(None, self._general(census))
        for model, entry in sorted(self._door.entries.items()):
            found += self._shown(model, self._needs(entry, census))
        return sorted(found, key=lambda row: URGENCY[row["kind"]])

    def _general(self, census: _Census) -> list[Need]:
        found = list(self._control())
        if self._door.entries and not census.workers:
            sentence = "no worker reports to this control, so who answers clients is not known here"
            found.append(Need("no_worker", "No worker reports", sentence))
        return found

    def _needs(self, entry: Entry, census: _Census) -> tuple[Need, ...]:
        model, progress = entry.rollout.model, entry.progress
        effective = served_by(entry.rollout, progress)
        _, gap = stable_served(entry, effective, census.workers)
        gap = gap or waits_for_nodes(entry, census.acknowledged)
        stages = range(progress.evidence_stage, progress.stage + 1)
        return needs(
            progress,
            gap,
            census.unready(model, effective),
            judged(self._examiner, entry),
            approval=_wanted(entry),
            keys_full=any(self._nodes.keys_full(model, stage) for stage in stages),
        )

    def _shown(self, model: str | None, found: Sequence[Need]) -> list[dict[str, Any]]:
        at = self._clock()
        rows = []
        for need in found:
            since = self._since.setdefault((model or "", need.kind, need.target), at)
            if at - since >= GRACE_SECONDS.get(need.kind, 0.0):
                row = {"model": model, "kind": need.kind, "title": need.title, "sentence": need.sentence}
                rows.append({**row, "target": need.target, "since": round(since, 3)})
        return rows
