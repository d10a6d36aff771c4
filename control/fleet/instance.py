"""One process of the data plane, as it last reported. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from control.fleet.rows import Rows
from control.fleet.sight import GONE_SECONDS
from control.fleet.sticky_keys import Place
from router.counting.stage_counts import SPAN_SECONDS, StageCounts
from router.wire.ledger import still
from router.wire.report import Report, ServedReport, TargetPlace, TargetReport


@dataclass(slots=True, eq=False)
class Instance:
    """One process.

    Attributes:
        report: the latest.
        heard: when it came, in monotonic seconds.
        rows: what it says of its targets.
        first: the counts with which it was first heard; those of stages that came later began with nothing.
        told: its counts, each as it was last told.
        fresh: of which the latest report has told; the others are settled as far as `until`.
        until: seconds since 1970 until which what the latest report leaves out is complete.
    """

    report: Report
    heard: float
    rows: Rows
    first: dict[Place, StageCounts]
    told: dict[Place, StageCounts]
    fresh: Collection[Place]
    until: float

    @property
    def targets(self) -> Mapping[TargetPlace, TargetReport]:
        """What it says of its targets, by rollout, target and role."""
        return self.rows.targets

    @property
    def served(self) -> Mapping[str, ServedReport]:
        """Who answers as stable there, by rollout."""
        return self.rows.served

    @property
    def counts(self) -> dict[Place, StageCounts]:
        """All its counts, settled as far as they are."""
        return {place: self.counted(place, found) for place, found in self.told.items()}

    def lives(self, now: float) -> bool:
        """Whether it was heard of lately, as of now in monotonic seconds."""
        return now - self.heard < GONE_SECONDS

    def serves(self, now: float) -> bool:
        """Whether it lives and does not end."""
        return self.lives(now) and not self.report.draining

    def take(self, report: Report, counts: Mapping[Place, StageCounts], now: float) -> None:
        """A later report: its counts replace what was told before of the same stages."""
        if report.settled_until < self.until:  # what is left out then keeps what was said of it
            left_out = self.told.keys() - counts.keys()
            self.told |= {place: self.counted(place, self.told[place]) for place in left_out}
        self.told |= counts
        self.fresh, self.until = counts.keys(), report.settled_until
        self.report, self.heard = report, now

    def counted(self, place: Place, found: StageCounts) -> StageCounts:
        """What it told of a stage, settled as far as it is."""
        return found if place in self.fresh else still(found, self.until)

    def settled(self, place: Place, found: StageCounts) -> float:
        """How far what it told of a stage is settled; 0 where it does not say."""
        if place in self.fresh or found.settled_until <= 0.0:
            return found.settled_until
        return max(found.settled_until, self.until)

    def open_span(self, place: Place, found: StageCounts) -> int:
        """The span of a stage that is not complete yet; 0 where it does not say."""
        settled = self.settled(place, found)
        return found.open_span if settled <= found.settled_until else int(settled // SPAN_SECONDS)


class Alike(NamedTuple):
    """Processes that say the same of their targets.

    Args:
        rows: what they say.
        instances: they, in their order.
    """

    rows: Rows
    instances: list[Instance]


def alike(instances: Iterable[Instance]) -> list[Alike]:
    """Processes by what they say of their targets, in the order of the first of each."""
    found: dict[int, Alike] = {}
    for instance in instances:
        rows = instance.rows
        if (group := found.get(id(rows))) is None:
            group = found[id(rows)] = Alike(rows, [])
        group.instances.append(instance)
    return list(found.values())


def alone(groups: Iterable[Alike]) -> list[Alike]:
    """Each process by itself, where it matters on which node it is."""
    return [Alike(group.rows, [instance]) for group in groups for instance in group.instances]
