"""Sticky keys over all processes of a stage: each user counts once, whoever saw them.

Law: workers tell which keys erred, and what the first requests of some keys came to; of a key the first that
is told counts. What speaks of the order of arrival (errors and first requests, whose roles are compared)
waits until every living worker has settled what came before; what is held against a limit does not. Workers
tell of those users only who are drawn anew in the stage; one of an older version tells of all, and is not
heard beside others.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from router.counting.key_units import Unit
from router.counting.segments import SegmentErrors, Segments, together
from router.counting.stage_counts import StageCounts

MAX_ERROR_KEYS = 200_000
"""Sticky keys that erred, of a stage in both roles together."""


class Place(NamedTuple):
    """Where something was counted.

    Args:
        model: the public name of a rollout.
        stage: of it.
        candidate: in an A/B/n test the key of the one that is counted beside stable; else empty. Such a test
            has no sticky users, so of their keys it is always empty.
    """

    model: str
    stage: int
    candidate: str = ""


@dataclass(slots=True)
class Shares:
    """Units of one name in one stage: how many had which share of events.

    Args:
        keys: of the units.
        all: share -> units.
        fresh: the same without users that an earlier stage has counted.
    """

    keys: set[int] = field(default_factory=set)
    all: Counter[float] = field(default_factory=Counter)
    fresh: Counter[float] = field(default_factory=Counter)


class _LateError(NamedTuple):
    """A key's error that waits for what arrived before it.

    Args:
        until: seconds since 1970 until which all workers have to be settled.
        segment: that it is in; empty where segments are not counted.
        second: in which its request arrived.
    """

    until: float
    segment: str
    second: int


@dataclass(slots=True)
class _Stage:
    beyond: float = 0.0  # as `StageCounts` has it
    erred: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))  # canary, stable
    late_errors: dict[tuple[bool, int], _LateError] = field(default_factory=dict)  # at the canary?, key
    segments: Segments = field(default_factory=dict)  # of those that erred
    firsts: dict[int, tuple[bool, bool]] = field(default_factory=dict)  # key: at the canary?, failed?
    late_firsts: dict[int, tuple[float, bool, bool]] = field(default_factory=dict)
    shares: dict[str, Shares] = field(default_factory=dict)


class StickyKeys:
    """What is known of the keys of each stage."""

    def __init__(self) -> None:
        self._stages: dict[Place, _Stage] = {}

    def learn(self, place: Place, found: StageCounts, origin: str) -> bool:
        """Take in what a report says about keys.

        Args:
            place: where it counted them.
            found: its counts.
            origin: the target that a sandbox holds; empty for a worker.

        Returns:
            Whether the canary has an error of a key that nobody had told.
        """
        if not found.units and not any(found.error_keys):
            return False
        stage = self._stages.setdefault(place, _Stage())
        if not origin and found.beyond > stage.beyond:
            stage = self._stages[place] = _Stage(found.beyond)
        if not origin and found.beyond < stage.beyond:
            return False
        news = False
        for role, keys in enumerate(found.error_keys):
            seconds, segments = found.seconds_of_errors(role), found.segments_of_errors(role)
            for key, second, segment in zip(keys, seconds, segments, strict=True):
                if key not in stage.erred[role] and (role == 0, key) not in stage.late_errors:
                    until = min(second + 1.0, found.settled_until)
                    stage.late_errors[role == 0, key] = _LateError(until, segment, second)
                    news = news or role == 0
        for unit in found.units:
            kind, _, role_name = unit.name.rpartition("/")
            if kind == "first":
                if unit.key not in stage.firsts and unit.key not in stage.late_firsts:
                    until = min(unit.second + 1.0, found.settled_until)
                    stage.late_firsts[unit.key] = until, role_name == "canary", unit.events > 0
            else:
                self._weigh(place, stage, unit, f"{origin} {unit.name}")
        return news

    def _weigh(self, place: Place, stage: _Stage, unit: Unit, name: str) -> None:
        shares = stage.shares.setdefault(name, Shares())
        if unit.key in shares.keys:
            return
        share = unit.events / unit.requests
        shares.keys.add(unit.key)
        shares.all[share] += 1
        if not any(
            unit.key in other.shares[name].keys
            for where, other in self._stages.items()
            if where.model == place.model and where.stage != place.stage and name in other.shares
        ):
            shares.fresh[share] += 1

    def settle(self, place: Place, until: float) -> bool:
        """Count what arrived before; whether an error of the canary still waits.

        When both roles together have `MAX_ERROR_KEYS` that erred, neither takes any more: a bound for each
        would stop the one that errs more often and let the other catch up.
        """
        stage = self._stages.get(place)
        if stage is None:
            return False
        for at_canary, key in [each for each, late in stage.late_errors.items() if late.until <= until]:
            late = stage.late_errors.pop((at_canary, key))
            if len(stage.erred[0]) + len(stage.erred[1]) < MAX_ERROR_KEYS:
                stage.erred[0 if at_canary else 1].add(key)
                if late.segment:
                    one = SegmentErrors(at_canary, not at_canary, late.second)
                    stage.segments = together(stage.segments, {late.segment: one})
        for key in [key for key, first in stage.late_firsts.items() if first[0] <= until]:
            stage.firsts[key] = stage.late_firsts.pop(key)[1:]
        return any(at_canary for at_canary, _ in stage.late_errors)

    def erred(self, place: Place) -> tuple[int, int]:
        """Keys that erred at the canary, and at stable."""
        stage = self._stages.get(place, _NOTHING)
        return len(stage.erred[0]), len(stage.erred[1])

    def segments(self, place: Place) -> Segments:
        """The same by segment, each key in that of the first of its errors that was told."""
        return self._stages.get(place, _NOTHING).segments

    def full(self, place: Place) -> bool:
        """Whether no more keys that erred are taken."""
        return sum(self.erred(place)) >= MAX_ERROR_KEYS

    def first_failures(self, place: Place) -> tuple[int, int] | None:
        """Sampled keys whose first request over all processes failed, at the canary and at stable.

        None where no first request was told: there are no keys, or the workers are of an older version.
        """
        firsts = Counter(self._stages.get(place, _NOTHING).firsts.values())
        return (firsts[True, True], firsts[False, True]) if firsts else None

    def drawn(self, place: Place) -> tuple[int, int]:
        """Sampled keys that were drawn anew in this stage: to the canary, and to stable."""
        firsts = self._stages.get(place, _NOTHING).firsts.values()
        canary = sum(at_canary for at_canary, _ in firsts)
        return canary, len(firsts) - canary

    def first_requests(self, place: Place) -> tuple[int, int]:
        """Sampled keys whose first request in this evidence came to the canary here, and failures of them."""
        seen: set[int] = set()
        for where, stage in self._stages.items():
            if where.model == place.model and where.stage < place.stage:
                seen |= stage.firsts.keys()
        firsts = [
            failed
            for key, (at_canary, failed) in self._stages.get(place, _NOTHING).firsts.items()
            if at_canary and key not in seen
        ]
        return len(firsts), sum(firsts)

    def shares(self, place: Place, name: str, origin: str = "") -> Shares:
        """The units of this name; `origin` as in `learn`."""
        return self._stages.get(place, _NOTHING).shares.get(f"{origin} {name}", Shares())

    def forget(self, places: Iterable[Place]) -> None:
        """Drop what is known of these stages."""
        for place in places:
            self._stages.pop(place, None)

    def places(self) -> list[Place]:
        """The stages of which something is known."""
        return list(self._stages)

    def clear(self) -> None:
        """Drop everything."""
        self._stages.clear()


_NOTHING = _Stage()
