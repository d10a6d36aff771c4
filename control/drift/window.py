"""What nodes have seen of targets in the last hour, added up. Pure.

Law: a slice that a process tells replaces what it told of it before, and what different processes tell adds;
so nothing is counted twice, whatever is told again. A slice that ended long ago takes nothing more, and its
sum is all that is kept of it. It is in memory only: a control that starts begins anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from router.drift.tally import Tally
from router.drift.watch import KEPT_SLICES, SLICE_SECONDS
from router.wire.drift_report import DriftReport, SliceReport
from router.wire.drift_telling import heard
from serving.errors import InvalidInput

CLOSED_SECONDS: Final = 2 * SLICE_SECONDS
"""After its end a slice is told no more: a process tells it within seconds, and one that is cut off later."""
MOST_TARGETS: Final = 1000
"""Of all rollouts that are kept; a target that was heard of least lately goes first."""
MOST_PROBLEMS: Final = 100

Place = tuple[str, str]
"""The public name of a rollout, and the key of a target."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What was seen of a target, added up.

    Attributes:
        since: when the first slice of it begins, seconds since 1970; 0 where there is none.
        answers: good answers that came to those who count.
        left_out: of them not counted.
        of: answers there were, as far as the samples tell.
        tallies: by feature.
    """

    since: int = 0
    answers: int = 0
    left_out: int = 0
    of: float = 0.0
    tallies: Mapping[str, Tally] = field(default_factory=dict)

    def __add__(self, other: "Sum") -> "Sum":
        """Of both together."""
        tallies = dict(self.tallies)
        for name, tally in other.tallies.items():
            tallies[name] = tallies[name] + tally if name in tallies else tally
        return Sum(
            min(self.since, other.since) if self.since and other.since else self.since or other.since,
            self.answers + other.answers,
            self.left_out + other.left_out,
            self.of + other.of,
            tallies,
        )


@dataclass(slots=True)
class _Open:
    """One slice: what each process told of it, until it is closed, and then the sum."""

    told: dict[str, Sum] = field(default_factory=dict)
    closed: Sum | None = None

    def sum(self) -> Sum:
        return self.closed if self.closed is not None else added(list(self.told.values()))


@dataclass(slots=True)
class _Heard:
    """What is known of a target in the bins of one profile."""

    slices: dict[int, _Open] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # by instance

    def hear(self, instance: str, report: DriftReport, now: float) -> None:
        self.problems.pop(instance, None)
        if report.problem and len(self.problems) < MOST_PROBLEMS:
            self.problems[instance] = report.problem
        for each in report.slices:
            if not (now - KEPT_SLICES * SLICE_SECONDS < each.begins <= now + SLICE_SECONDS):
                continue  # of a clock that goes wrong, or of long ago
            found = self.slices.setdefault(each.begins, _Open())
            if found.closed is None:
                found.told[instance] = _sum_of(each)
        self._tidy(now)

    def _tidy(self, now: float) -> None:
        for begins, each in list(self.slices.items()):
            if begins <= now - KEPT_SLICES * SLICE_SECONDS:
                del self.slices[begins]
            elif each.closed is None and begins + SLICE_SECONDS + CLOSED_SECONDS < now:
                with suppress(InvalidInput):  # it is said where somebody looks
                    each.closed, each.told = each.sum(), {}

    def sum(self, now: float) -> Sum:
        slices = list(self.slices.items())  # reports may come meanwhile
        return added(each.sum() for begins, each in slices if begins > now - KEPT_SLICES * SLICE_SECONDS)


class Window:
    """What all nodes have seen lately. Times are seconds since 1970, given by the caller."""

    def __init__(self) -> None:
        self._heard: dict[Place, dict[str, _Heard]] = {}  # by the digest of the profile

    def hear(self, instance: str, reports: Iterable[DriftReport], now: float) -> None:
        """Take in what one process tells."""
        for report in reports:
            place = report.model, report.target
            known = self._heard.pop(place, {})
            self._heard[place] = known  # the last heard of stands last
            if report.profile not in known and len(known) > 1:
                del known[next(iter(known))]
            known.setdefault(report.profile, _Heard()).hear(instance, report, now)
        while len(self._heard) > MOST_TARGETS:
            del self._heard[next(iter(self._heard))]

    def targets(self, model: str | None = None) -> Iterator[Place]:
        """Those that were heard of, of a rollout or of all."""
        return (place for place in list(self._heard) if model in {None, place[0]})

    def digests(self, place: Place) -> tuple[str, ...]:
        """Of the profiles in whose bins a target was counted; the latest last."""
        return tuple(self._heard.get(place, {}))

    def sum(self, place: Place, digest: str, now: float) -> Sum:
        """What was seen of a target in the bins of a profile in the last hour; in any thread.

        Raises:
            InvalidInput: processes told of a feature over different bins.
        """
        found = self._heard.get(place, {}).get(digest)
        return Sum() if found is None else found.sum(now)

    def problem(self, place: Place, digest: str) -> str:
        """Why some process does not count; empty where all do."""
        found = self._heard.get(place, {}).get(digest)
        return "" if found is None else next(iter(found.problems.values()), "")


def added(sums: Iterable[Sum]) -> Sum:
    """All of them together."""
    return sum(sums, Sum())


def _sum_of(told: SliceReport) -> Sum:
    tallies = {name: heard(each) for name, each in told.features.items()}
    return Sum(told.begins, told.answers, told.left_out, told.of, tallies)
