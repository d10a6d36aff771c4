"""What every process of the data plane last said: readiness, revisions, counts.

Law: a process reports cumulative counts, so a report replaces the one before and nothing is counted twice;
what a process that is gone had counted is kept. Over several workers nothing is counted before what
arrived earlier (`settle`), as each of them has it for itself. Readiness is of a target in a rollout: another
rollout's process with the same target says nothing about it. Times are monotonic seconds given by the caller.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from control.fleet.sight import GONE_SECONDS, Sight
from control.fleet.sticky_keys import Place, StickyKeys
from router.counting.segments import together
from router.counting.stage_counts import (
    MAX_COUNT,
    RoleCounts,
    Span,
    SpanTimes,
    StageCounts,
    pairs_together,
)
from router.wire.ledger import still
from router.wire.node_use import NodeUse
from router.wire.report import Report, ServedReport, TargetReport
from serving.errors import ServingError

MAX_INSTANCES = 10_000
LOAD_TRIES = 3
"""A worker that failed to load a candidate so often ends its promotion: after 1.5 s and the loads."""
NO_TIMES = SpanTimes({}, {})
NO_KEYS: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
NO_SEGMENTS: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
NO_ROLE = RoleCounts()
SLACK_SECONDS = 2.0
"""Beyond the longest that a request may take: for so long a worker may keep the others' counts waiting."""


class SeenSpan(NamedTuple):
    """What all workers saw of a span: requests, compute times, and how long clients waited."""

    counts: Span = Span()
    times: SpanTimes = NO_TIMES
    waits: SpanTimes = NO_TIMES

    def __add__(self, other: "SeenSpan") -> "SeenSpan":  # type: ignore[override]
        return SeenSpan(self.counts + other.counts, self.times + other.times, self.waits + other.waits)


@dataclass(slots=True)
class Instance:
    """One process, as it last reported."""

    report: Report
    heard: float
    counts: dict[Place, StageCounts]
    targets: dict[tuple[str, str, str], TargetReport]
    first: dict[Place, StageCounts]
    """The counts with which it was first heard; those of stages that came later began with nothing."""
    served: dict[str, ServedReport]


class Nodes:
    """All processes, living and gone."""

    def __init__(self) -> None:
        self._instances: dict[str, Instance] = {}
        self.keys = StickyKeys()
        self.sight = Sight()
        self._withheld: set[Place] = set()  # where errors of the canary wait for other workers
        self._settled_until: dict[Place, float] = {}

    def lacks(self, report: Report) -> bool:
        """Whether a report leaves out what is not known here: nothing of it can be taken in."""
        known = self._instances.get(report.instance)
        return report.base > 0 and (known is None or known.report.number < report.base)

    def hear(self, report: Report, now: float) -> set[str]:
        """Take in a report that `lacks` nothing.

        Returns:
            The models to be looked at: whose canary has failed since the report before, or had failed and
            waited for this worker.

        Raises:
            ServingError: more processes than control keeps track of.
        """
        self.sight.hear(report, now)
        known = self._instances.get(report.instance)
        if report.base and known is not None and report.number <= known.report.number:
            known.heard = now  # a later one was faster
            return set()
        counts = {Place(row.model, row.stage, row.candidate): row.counts for row in report.counts}
        before = known.counts if known is not None else {}
        failed = {
            key.model
            for key, found in counts.items()
            if found.canary.errors > (before[key].canary.errors if key in before else 0)
        }
        failed |= {key.model for key in (*before, *counts) if key in self._withheld}
        if known is None and len(self._instances) >= MAX_INSTANCES:
            raise ServingError("more processes than control keeps track of")
        first = counts if known is None else known.first
        told = {key: self._without_keys(report, key, found, failed) for key, found in counts.items()}
        counts = {key: still(found, report.settled_until) for key, found in before.items()} | told
        if report.unchanged and known is not None:
            targets, served = known.targets, known.served
        else:
            targets = {(row.model, row.target, row.role): row for row in report.targets}
            served = {row.model: row for row in report.served}
        self._instances[report.instance] = Instance(report, now, counts, targets, first, served)
        return failed

    def _without_keys(
        self, report: Report, place: Place, found: StageCounts, failed: set[str]
    ) -> StageCounts:
        """Learn the keys that are told once only; what is left replaces what the process had said before."""
        if report.kind != "sandbox" or report.live:
            origin = report.candidate or "" if report.kind == "sandbox" else ""
            if self.keys.learn(place, found, origin):
                failed.add(place.model)
        return replace(found, error_keys=NO_KEYS, error_seconds=NO_KEYS, error_segments=NO_SEGMENTS, units=())

    def settle(self, place: Place, longest: float, now: float) -> None:
        """Let the counts of a stage go on to what every living worker has settled.

        An outage that all workers share, in which the canary fails at once and stable only after its
        timeout, would otherwise look like a bad canary until the last of them has seen its own timeouts. A
        worker keeps the others waiting for `longest` seconds and `SLACK_SECONDS` at most; one that does not
        say how far it is keeps nobody. Of several all are cut where a second begins, the slowest too: with
        its part of a second now and another's later there were many orders, and who is slow would choose.

        Args:
            place: the stage, and of an A/B/n test the candidate.
            longest: seconds that a request may be under way.
            now: monotonic seconds.
        """
        reached = [
            worker.counts[place].settled_until
            for worker in self.workers(now)
            if place in worker.counts and worker.counts[place].settled_until > 0.0
        ]
        before = self._settled_until.get(place, 0.0)
        until = max(min(reached), max(reached) - longest - SLACK_SECONDS) if reached else math.inf
        if reached:
            until = max(before, math.floor(until) if len(reached) > 1 else until)
            self._settled_until[place] = until
        else:
            self._settled_until.pop(place, None)
        withheld = self.keys.settle(place, until) or any(
            worker.counts[place].until(until).canary.errors != worker.counts[place].canary.errors
            for worker in self.workers(now)
            if place in worker.counts
        )
        (self._withheld.add if withheld else self._withheld.discard)(place)

    def alive(self, now: float, kind: str | None = None) -> list[Instance]:
        """Those heard of lately."""
        return [
            instance
            for instance in self._instances.values()
            if now - instance.heard < GONE_SECONDS and kind in (None, instance.report.kind)
        ]

    def begin_anew(self) -> None:
        """From here on, what was counted until now was counted before its process was heard."""
        for instance in self._instances.values():
            instance.first = dict(instance.counts)
        self.keys.clear()
        self._withheld.clear()

    def counts(self, place: Place, candidate: str | None, *, since_heard: bool = False) -> StageCounts | None:
        """One stage over all workers, as far as it is settled, with what the candidate's sandboxes found.

        What came after `settle` had last let the counts go on is not in it, but for compute times.

        Args:
            place: the stage, and of an A/B/n test the candidate.
            candidate: key of the target whose agreement counts.
            since_heard: only what each process has counted since it was first heard here.
        """
        total: StageCounts | None = None
        found = StageCounts(0.0)
        asked = 0  # processes that had requests
        for instance in self._instances.values():
            counted = instance.counts.get(place)
            if counted is None:
                continue
            if (until := self._settled_until.get(place)) is not None:
                counted = counted.until(until)
            if since_heard and (first := instance.first.get(place)) is not None:
                counted = counted.since(first)
            report = instance.report
            if report.kind == "worker":
                total = counted if total is None else total + counted
                asked += counted.canary.requests + counted.stable.requests > 0
            elif report.candidate == candidate and report.live:
                found += replace(counted, weight=0.0, stable=NO_ROLE, canary=NO_ROLE)
        if total is None:
            return None
        canary, stable = self.keys.erred(place)
        once = self.keys.first_failures(place) if asked > 1 else None
        return replace(
            total,
            stable=_with_keys(total.stable, stable, None if once is None else once[1]),
            canary=_with_keys(total.canary, canary, None if once is None else once[0]),
            agreement=found.agreement,
            repeated=found.repeated,
            recorded=found.recorded,
            farthest=found.farthest,
            pairs=found.pairs,
            keyless=pairs_together(total.keyless, found.keyless),
            segments=together(total.segments, self.keys.segments(place)),
        )

    def seconds(
        self, place: Place, candidate: str | None, output: str, now: float
    ) -> dict[int, tuple[int, int]]:
        """What a guard that weighs by time counts, requests and events by second, as far as all are settled.

        Args:
            place: the stage, and of an A/B/n test the candidate.
            candidate: key of the target whose agreement counts.
            output: whose comparisons count, in sandboxes; empty for the canary's failures, in workers.
            now: monotonic seconds.
        """
        found: dict[int, tuple[int, int]] = {}
        complete_before = float(MAX_COUNT)
        for instance in self._instances.values():
            counted, report = instance.counts.get(place), instance.report
            wanted = "sandbox" if output else "worker"
            if counted is None or report.kind != wanted:
                continue
            if wanted == "sandbox" and (report.candidate != candidate or not report.live):
                continue
            if now - instance.heard < GONE_SECONDS and not report.draining and counted.settled_until:
                complete_before = min(complete_before, counted.settled_until)
            for second, pair in _by_second(counted, output).items():
                before = found.get(second, (0, 0))
                found[second] = before[0] + pair[0], before[1] + pair[1]
        return {second: found[second] for second in sorted(found) if second + 1 <= complete_before}

    def compared(self, model: str, stage: int, shadow: str) -> dict[str, tuple[int, int]]:
        """Comparisons and differences of a stage by output, as a shadow's sandboxes found them."""
        total: dict[str, tuple[int, int]] = {}
        for instance in self._instances.values():
            report, counted = instance.report, instance.counts.get(Place(model, stage))
            if report.kind != "sandbox" or report.candidate != shadow or report.live or counted is None:
                continue
            for output, (comparisons, differences) in counted.agreement.items():
                before = total.get(output, (0, 0))
                total[output] = before[0] + comparisons, before[1] + differences
        return total

    def keys_full(self, model: str, stage: int) -> bool:
        """Whether more sticky keys erred in a stage than are told apart."""
        return self.keys.full(Place(model, stage))

    def spans(self, place: Place, now: float) -> dict[int, SeenSpan]:
        """The latest spans of a stage over all workers, those that every living worker has completed."""
        found: dict[int, SeenSpan] = {}
        complete_before = MAX_COUNT
        for instance in self._instances.values():
            counted = instance.counts.get(place)
            if counted is None or instance.report.kind != "worker":
                continue
            if now - instance.heard < GONE_SECONDS and not instance.report.draining:
                complete_before = min(complete_before, counted.open_span or MAX_COUNT)
            for number, span in counted.spans.items():
                times, waits = (each.get(number, NO_TIMES) for each in (counted.times, counted.waits))
                found[number] = found.get(number, SeenSpan()) + SeenSpan(span, times, waits)
        return {number: found[number] for number in sorted(found) if number < complete_before}

    def forget(self, model: str, before_stage: int, now: float) -> None:
        """Drop the counts of ended stages, and processes that are gone and hold none."""

        def over(places: Iterable[Place]) -> list[Place]:
            return [place for place in places if place.model == model and place.stage < before_stage]

        self.keys.forget(over(self.keys.places()))
        self._withheld.difference_update(over(self._withheld))
        for place in over(self._settled_until):
            del self._settled_until[place]
        for name, instance in list(self._instances.items()):
            for key in over(instance.counts):
                del instance.counts[key]
            if not instance.counts and now - instance.heard > 60 * GONE_SECONDS:
                del self._instances[name]

    def workers(self, now: float) -> list[Instance]:
        """Those that are to serve: alive, and not ending."""
        return [worker for worker in self.alive(now, "worker") if not worker.report.draining]

    def warm_in_all_workers(self, model: str, target: str, sha256: str, revision: int, now: float) -> bool:
        """Whether every worker has at least this revision in force and these bytes loaded itself."""
        rows = [
            worker.targets.get((model, target, "warm")) if worker.report.revision >= revision else None
            for worker in self.workers(now)
        ]
        return bool(rows) and all(row and row.ready and row.sha256 == sha256 for row in rows)

    def canary_problem(self, model: str, target: str, now: float) -> str:
        """Why a rollout's canary is not ready, as a sandbox or else a worker says; or empty."""
        for kind in ("sandbox", "worker"):
            for instance in self.alive(now, kind):
                row = instance.targets.get((model, target, "canary"))
                if row is not None and row.problem:
                    return row.problem
        return ""

    def pairing_problem(self, model: str, target: str, now: float) -> str:
        """Why no sandbox of a rollout's canary times it beside stable; empty where one does, or may yet."""
        rows = [
            row.pairing
            for instance in self.alive(now, "sandbox")
            if (row := instance.targets.get((model, target, "canary"))) is not None
        ]
        return "" if "" in rows else next(iter(rows), "")

    def top_up_problem(self, model: str, target: str, now: float) -> str:
        """Why no node runs recorded requests on a rollout's canary; empty where one does, or may yet."""
        rows = [
            row.top_up
            for instance in self.alive(now, "top-up")
            if (row := instance.targets.get((model, target, "top-up"))) is not None
        ]
        if not rows:
            return "no node with a prediction log (--records) tells of it yet"
        return "" if "" in rows else rows[0]

    def refusal(self, model: str, target: str, revision: int, now: float) -> str:
        """Which worker failed again and again to load a target for a promotion, and why; or empty."""
        for worker in self.workers(now):
            row = worker.targets.get((model, target, "warm"))
            if row is not None and row.failures >= LOAD_TRIES and worker.report.revision >= revision:
                return f"{worker.report.instance}: {row.problem}"
        return ""

    def rows(self, now: float) -> list[dict[str, Any]]:
        """For `GET /v1/nodes`."""
        return [
            {
                "instance": instance.report.instance,
                "node": instance.report.node,
                "kind": instance.report.kind,
                "candidate": instance.report.candidate,
                "revision": instance.report.revision,
                "ready": sorted(
                    {*instance.report.ready, *(row.target for row in instance.targets.values() if row.ready)}
                ),
                "problems": {**instance.report.problems}
                | {row.target: row.problem for row in instance.targets.values() if row.problem},
                "draining": instance.report.draining,
                "heard_seconds_ago": round(now - instance.heard, 3),
                "counts": [
                    {**_place(place), "stable": _sums(found.stable), "canary": _sums(found.canary)}
                    for place, found in instance.counts.items()
                ],
                "records": recorded(instance.report.use),
            }
            for instance in self.alive(now)
        ]

    def canary_ready(self, model: str, target: str, revision: int, now: float) -> Mapping[str, bool]:
        """Per living worker, whether the rollout's canary is ready, at this revision or a newer one."""
        return {
            worker.report.instance: _ready(worker, model, target, "canary", revision)
            for worker in self.alive(now, "worker")
        }


def recorded(use: NodeUse | None) -> list[dict[str, Any]] | None:
    """What became of all that a node had to record; None of a node that keeps no prediction log."""
    if use is None or use.records is None:
        return None
    return [{**row.__dict__} for row in use.records]


def _ready(instance: Instance, model: str, target: str, role: str, revision: int) -> bool:
    row = instance.targets.get((model, target, role))
    return row is not None and row.ready and instance.report.revision >= revision


def _with_keys(role: RoleCounts, erred: int, first_failures: int | None) -> RoleCounts:
    """A role over all processes, with its sticky keys; None leaves the failures as each process counts them.

    A process alone knows which request of a key was the first. Of several each has one, so that a user would
    count more than once: then the keys that are told count, and errors without a key.
    """
    failures = role.failures if first_failures is None else role.errors + first_failures
    return replace(role, errors=role.errors + erred, failures=failures)


def _by_second(counted: StageCounts, output: str) -> Mapping[int, tuple[int, int]]:
    if output:
        return {second: pairs[output] for second, pairs in counted.compared.items() if output in pairs}
    return {
        second: (
            found.canary - found.canary_abandoned + found.again,
            found.canary_failures + found.again_failures,
        )
        for second, found in counted.seconds.items()
    }


def _place(place: Place) -> dict[str, Any]:
    """Where something was counted; of a sole canary without the candidate's name."""
    shown = {"model": place.model, "stage": place.stage}
    return {**shown, "candidate": place.candidate} if place.candidate else shown


def _sums(role: RoleCounts) -> dict[str, int]:
    """The counts of a role without its latencies."""
    return {"assigned": role.assigned, "requests": role.requests, "errors": role.errors}
