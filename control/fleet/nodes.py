"""What every process of the data plane last said: readiness, revisions, counts.

Law: a process reports cumulative counts, so a report replaces the one before and nothing is counted twice;
what a process that is gone had counted is kept. Over several workers nothing is counted before what
arrived earlier (`settle`), as each of them has it for itself. Readiness is of a target in a rollout: another
rollout's process with the same target says nothing about it. Times are monotonic seconds given by the caller.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from control.fleet.acknowledged import SERVED_SHARE, Acknowledged
from control.fleet.instance import Instance
from control.fleet.rows import Book
from control.fleet.sight import GONE_SECONDS, Sight
from control.fleet.stage_sums import SeenSpan, StageSums
from control.fleet.sticky_keys import Place, StickyKeys
from router.counting.segments import together
from router.counting.stage_counts import MAX_COUNT, RoleCounts, StageCounts, pairs_together
from router.wire.node_use import NodeUse
from router.wire.report import Report
from serving.errors import ServingError

MAX_INSTANCES = 10_000
LOAD_TRIES = 3
"""A worker that failed to load a candidate so often ends its promotion: after 1.5 s and the loads."""
NO_KEYS: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
NO_SEGMENTS: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
SLACK_SECONDS = 2.0
"""Beyond the longest that a request may take: for so long a worker may keep the others' counts waiting."""


class Nodes:
    """All processes, living and gone.

    Args:
        barred: why a process that says this is given no snapshot; empty where it may be.
        share: of the nodes that must serve a step before its time counts.
    """

    def __init__(self, barred: Callable[[Report], str] = lambda _: "", share: float = SERVED_SHARE) -> None:
        self._instances: dict[str, Instance] = {}
        self._by_kind: dict[str, dict[str, Instance]] = {}
        self._stages: dict[str, dict[Place, StageSums]] = {}  # by model
        self._looked_for_gone = 0.0
        self.book = Book()
        self.keys = StickyKeys()
        self.sight = Sight()
        self.barred = barred
        self._share = share
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
        failed = self._failed(known, counts)
        if known is None:
            known = self._new(report, counts, now)
        counts = {place: self._without_keys(report, place, found, failed) for place, found in counts.items()}
        before = known.report
        other = (report.kind, report.live, report.candidate) != (before.kind, before.live, before.candidate)
        if report.use is not None and report.use.partly:
            report = report.model_copy(update={"use": report.use.after(before.use)})
        known.take(report, counts, now)
        if report.partly:
            known.rows = self.book.moved(known.rows, report)
        elif not report.unchanged:
            known.rows = self.book.of(report)
        for place, found in counts.items():
            self._sums(place).told(known, found)
        if other:
            self._is_another(known, before.kind)
        return failed

    def _is_another(self, instance: Instance, kind: str) -> None:
        """What it counted is another's now, or nobody's; `kind` is what it said before."""
        name = instance.report.instance
        del self._by_kind[kind][name]
        self._by_kind.setdefault(instance.report.kind, {})[name] = instance
        for place in instance.told:
            self._sums(place).changed()

    def _failed(self, known: Instance | None, counts: Mapping[Place, StageCounts]) -> set[str]:
        """The models whose canary has failed since what this process told before, or waited for it."""
        before = known.told if known is not None else {}
        failed = {
            place.model
            for place, found in counts.items()
            if found.canary.errors > (before[place].canary.errors if place in before else 0)
        }
        if self._withheld:
            failed |= {place.model for place in (*before, *counts) if place in self._withheld}
        return failed

    def _new(self, report: Report, counts: dict[Place, StageCounts], now: float) -> Instance:
        """A process that was not heard before.

        Raises:
            ServingError: more processes than control keeps track of.
        """
        if len(self._instances) >= MAX_INSTANCES:
            raise ServingError("more processes than control keeps track of")
        rows = self.book.of(report)
        new = Instance(report, now, rows, first=dict(counts), told={}, fresh=(), until=0.0)
        self._instances[report.instance] = new
        self._by_kind.setdefault(report.kind, {})[report.instance] = new
        return new

    def _sums(self, place: Place) -> StageSums:
        return self._stages.setdefault(place.model, {}).setdefault(place, StageSums())

    def _each(self, place: Place, kind: str) -> Iterator[tuple[Instance, StageCounts]]:
        """The processes of a kind that have counted in a stage, with what each told."""
        sums = self._stages.get(place.model, {}).get(place)
        return iter(()) if sums is None else sums.each(place, kind)

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
        living = [(worker, found) for worker, found in self._each(place, "worker") if worker.serves(now)]
        settled = [worker.settled(place, found) for worker, found in living]
        reached = [until for until in settled if until > 0.0]
        before = self._settled_until.get(place, 0.0)
        until = max(min(reached), max(reached) - longest - SLACK_SECONDS) if reached else math.inf
        if reached:
            until = max(before, math.floor(until) if len(reached) > 1 else until)
            self._settled_until[place] = until
        else:
            self._settled_until.pop(place, None)
        withheld = self.keys.settle(place, until) or any(
            found.canary.errors
            and worker.counted(place, found).until(until).canary.errors != found.canary.errors
            for worker, found in living
        )
        (self._withheld.add if withheld else self._withheld.discard)(place)

    def alive(self, now: float, kind: str | None = None) -> list[Instance]:
        """Those heard of lately."""
        instances = self._instances if kind is None else self._by_kind.get(kind, {})
        return [instance for instance in instances.values() if instance.lives(now)]

    def begin_anew(self) -> None:
        """From here on, what was counted until now was counted before its process was heard."""
        for instance in self._instances.values():
            instance.first = instance.counts
        for stages in self._stages.values():
            for sums in stages.values():
                sums.changed()
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
        sums = self._stages.get(place.model, {}).get(place)
        if sums is None:
            return None
        until = self._settled_until.get(place, math.inf)
        added = sums.sum(place, candidate, until, since_heard=since_heard)
        total, found = added.workers, added.found
        if total is None:
            return None
        canary, stable = self.keys.erred(place)
        once = self.keys.first_failures(place) if added.asked > 1 else None
        return replace(
            total,
            stable=_with_keys(total.stable, stable, None if once is None else once[1]),
            canary=_with_keys(total.canary, canary, None if once is None else once[0]),
            agreement=found.agreement,
            repeated=found.repeated,
            recorded=found.recorded,
            farthest=found.farthest,
            shifts=found.shifts,
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
        wanted = "sandbox" if output else "worker"
        for instance, counted in self._each(place, wanted):
            report = instance.report
            if wanted == "sandbox" and (report.candidate != candidate or not report.live):
                continue
            settled = instance.settled(place, counted)
            if settled and instance.serves(now):
                complete_before = min(complete_before, settled)
            for second, pair in _by_second(counted, output).items():
                before = found.get(second, (0, 0))
                found[second] = before[0] + pair[0], before[1] + pair[1]
        return {second: found[second] for second in sorted(found) if second + 1 <= complete_before}

    def compared(self, model: str, stage: int, shadow: str) -> dict[str, tuple[int, int]]:
        """Comparisons and differences of a stage by output, as a shadow's sandboxes found them."""
        total: dict[str, tuple[int, int]] = {}
        for instance, counted in self._each(Place(model, stage), "sandbox"):
            if instance.report.candidate != shadow or instance.report.live:
                continue
            for output, (comparisons, differences) in counted.agreement.items():
                before = total.get(output, (0, 0))
                total[output] = before[0] + comparisons, before[1] + differences
        return total

    def keys_full(self, model: str, stage: int) -> bool:
        """Whether more sticky keys erred in a stage than are told apart."""
        return self.keys.full(Place(model, stage))

    def spans(self, place: Place, now: float, after: int = -1) -> Mapping[int, SeenSpan]:
        """The latest spans of a stage over all workers, those that every living worker has completed.

        Args:
            place: of the stage.
            now: monotonic seconds.
            after: the last that is known already.
        """
        sums = self._stages.get(place.model, {}).get(place)
        if sums is None or sums.latest_span <= after:
            return {}
        complete_before = min(
            (
                worker.open_span(place, found) or MAX_COUNT
                for worker, found in sums.each(place, "worker")
                if worker.serves(now)
            ),
            default=MAX_COUNT,
        )
        return sums.spans(place, after, complete_before)

    def forget(self, model: str, before_stage: int, now: float) -> None:
        """Drop the counts of ended stages, and processes that are gone and hold none."""

        def over(places: Iterable[Place]) -> list[Place]:
            return [place for place in places if place.model == model and place.stage < before_stage]

        self.keys.forget(over(self.keys.places()))
        self._withheld.difference_update(over(self._withheld))
        for place in over(self._settled_until):
            del self._settled_until[place]
        stages = self._stages.get(model, {})
        for place in over(stages):
            for instance in stages.pop(place).instances.values():
                del instance.told[place]
        if now - self._looked_for_gone >= GONE_SECONDS:
            self._looked_for_gone = now
            self._forget_gone(now)

    def _forget_gone(self, now: float) -> None:
        for name, instance in list(self._instances.items()):
            if not instance.told and now - instance.heard > 60 * GONE_SECONDS:
                del self._instances[name], self._by_kind[instance.report.kind][name]

    def workers(self, now: float) -> list[Instance]:
        """Those that are to serve: alive, and not ending."""
        return [worker for worker in self.alive(now, "worker") if not worker.report.draining]

    def acknowledged(self, now: float) -> Acknowledged:
        """Which revision each living node serves."""
        reports = (worker.report for worker in self.workers(now))
        return Acknowledged(((report.node, report.revision) for report in reports), self._share)

    def warm_in_all_workers(
        self, model: str, target: str, sha256: str, revision: int, now: float, label: str | None = None
    ) -> bool:
        """Whether every worker has at least this revision in force and these bytes loaded itself.

        With a label that is asked of the workers of its nodes only.
        """
        rows = [
            worker.targets.get((model, target, "warm")) if worker.report.revision >= revision else None
            for worker in self.workers(now)
            if label in (None, worker.report.label)
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

    def bears(self, label: str, now: float) -> bool:
        """Whether a node of this label serves."""
        return any(worker.report.label == label for worker in self.workers(now))

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
                "label": instance.report.label,
                "kind": instance.report.kind,
                "candidate": instance.report.candidate,
                "revision": instance.report.revision,
                "refused": self.barred(instance.report) or unusable(instance.report),
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

    def canary_ready_somewhere(self, model: str, target: str, revision: int, now: float) -> bool:
        """Whether some living worker has the rollout's canary ready, at this revision or a newer one."""
        workers = self._by_kind.get("worker", {}).values()
        return any(
            worker.lives(now) and _ready(worker, model, target, "canary", revision) for worker in workers
        )

    def canary_ready(self, model: str, target: str, revision: int, now: float) -> Mapping[str, bool]:
        """Per living worker, whether the rollout's canary is ready, at this revision or a newer one."""
        return {
            worker.report.instance: _ready(worker, model, target, "canary", revision)
            for worker in self.alive(now, "worker")
        }


def unusable(report: Report) -> str:
    """Which snapshot a process cannot use, and why; empty where it can."""
    found = report.unusable
    if found is None:
        return ""
    which = f"revision {found.revision}" if found.revision else "what it is given"
    return f"it cannot use {which}: {found.reason}"


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
