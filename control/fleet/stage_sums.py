"""The counts of one stage over all processes that have counted in it. Pure.

Law: a sum that was made holds until a process tells other counts of the stage: how far it is settled moves
on by itself, and changes nothing once all that was told had arrived before.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from control.fleet.instance import Instance
from control.fleet.sticky_keys import Place
from router.counting.stage_counts import RoleCounts, Span, SpanTimes, StageCounts

NO_TIMES = SpanTimes({}, {})
NO_ROLE = RoleCounts()
MAX_SUMS = 16
"""That are remembered of a stage: by candidate, and whether from when its process was first heard."""


class SeenSpan(NamedTuple):
    """What all workers saw of a span: requests, compute times, and how long clients waited."""

    counts: Span = Span()
    times: SpanTimes = NO_TIMES
    waits: SpanTimes = NO_TIMES

    def __add__(self, other: "SeenSpan") -> "SeenSpan":  # type: ignore[override]
        return SeenSpan(self.counts + other.counts, self.times + other.times, self.waits + other.waits)


@dataclass(frozen=True, slots=True)
class Sum:
    """A stage, added up.

    Attributes:
        workers: their counts; None where no worker has any.
        found: what the candidate's sandboxes found.
        asked: workers that had requests.
        until: as far as it was cut, in seconds since 1970; infinite where it was not.
        latest: the last second in which something arrived, of those of which that is told.
    """

    workers: StageCounts | None
    found: StageCounts
    asked: int
    until: float
    latest: int

    def holds(self, until: float) -> bool:
        """Whether it is the same when it is cut there."""
        return until == self.until or self.latest < int(min(until, self.until, 2.0**53))


@dataclass(slots=True)
class StageSums:
    """Who has counted in a stage, and what that comes to."""

    instances: dict[str, Instance] = field(default_factory=dict)
    latest_span: int = 0
    _sums: dict[tuple[str | None, bool], Sum] = field(default_factory=dict)

    def told(self, instance: Instance, found: StageCounts) -> None:
        """A process has told its counts."""
        self.instances[instance.report.instance] = instance
        self.latest_span = max(self.latest_span, max(found.spans, default=0))
        self.changed()

    def changed(self) -> None:
        """What was added up is to be added up again."""
        if self._sums:
            self._sums.clear()

    def each(self, place: Place, kind: str) -> Iterator[tuple[Instance, StageCounts]]:
        """The processes of a kind that have counted, with what each told."""
        for instance in self.instances.values():
            if instance.report.kind == kind:
                yield instance, instance.told[place]

    def sum(self, place: Place, candidate: str | None, until: float, *, since_heard: bool) -> Sum:
        """The counts, without what arrived in the second of `until` or later.

        Args:
            place: of the stage.
            candidate: key of the target whose sandboxes count.
            until: seconds since 1970; infinite cuts nothing.
            since_heard: only what each process has counted since it was first heard.
        """
        kept = self._sums.get((candidate, since_heard))
        if kept is None or not kept.holds(until):
            if len(self._sums) >= MAX_SUMS:
                self._sums.clear()
            kept = self._added(place, candidate, until, since_heard=since_heard)
            self._sums[candidate, since_heard] = kept
        return kept

    def _added(self, place: Place, candidate: str | None, until: float, *, since_heard: bool) -> Sum:
        workers: StageCounts | None = None
        found, asked, latest = StageCounts(0.0), 0, 0
        for instance in self.instances.values():
            report, told = instance.report, instance.told[place]
            latest = max(latest, last_second(told))
            of_sandbox = report.kind != "worker"
            if of_sandbox and (report.candidate != candidate or not report.live):
                continue
            counted = told if until == inf else instance.counted(place, told).until(until)
            if since_heard and (first := instance.first.get(place)) is not None:
                counted = counted.since(first)
            if of_sandbox:
                found += replace(counted, weight=0.0, stable=NO_ROLE, canary=NO_ROLE)
            else:
                workers = counted if workers is None else workers + counted
                asked += counted.canary.requests + counted.stable.requests > 0
        return Sum(workers, found, asked, until, latest)

    def spans(self, place: Place, after: int, complete_before: int) -> Mapping[int, SeenSpan]:
        """The spans of workers between these two, in their order."""
        found: dict[int, SeenSpan] = {}
        for _, counted in self.each(place, "worker"):
            for number, span in counted.spans.items():
                if after < number < complete_before:
                    times, waits = (each.get(number, NO_TIMES) for each in (counted.times, counted.waits))
                    found[number] = found.get(number, SeenSpan()) + SeenSpan(span, times, waits)
        return {number: found[number] for number in sorted(found)}


def last_second(found: StageCounts) -> int:
    """In which something of it arrived, as far as it tells seconds."""
    return max(max(found.seconds, default=0), max(found.segment_seconds, default=0))
