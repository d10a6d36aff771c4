"""Counting what a router sees, per stage of a rollout, in order of arrival.

Law: an outcome enters the counts only when everything that arrived before the end of its slice of arrival
time has finished. Otherwise an outage in which the canary fails at once and stable only after its timeout
would look, for a second, like a bad canary (statistics.md, "Order matters"). What the latest seconds brought
is told beside the sums, so that control can hold the same law over several processes.
Adding is a handful of integer operations on the event loop; nothing here locks or allocates per request.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from router.counting.key_units import KeyUnits, Unit
from router.counting.segments import Places, SegmentErrors, Segments
from router.counting.segments import together as segments_together
from router.counting.shifts import ShiftCounter
from router.counting.slices import UNTIMED, Slice, Tally, Timed, together
from router.counting.stage_counts import (
    MAX_KEYS_A_REPORT,
    MAX_SECONDS,
    MAX_UNITS_A_REPORT,
    SPAN_SECONDS,
    RoleCounts,
    Second,
    Span,
    SpanTimes,
    StageCounts,
)

MAX_KEYS = 200_000
"""Sticky keys remembered a stage; when as many were seen, the stage counts no further ones."""

RING_MARGIN = 5
"""Seconds kept beyond the longest for which a request holds others back, for reports that are under way."""

KEPT_SPANS = 30
"""Spans that are reported: more than the longest time for which a process can hold the others back."""

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """What control is told once, and again until it has answered.

    Args:
        most: items a report.
    """

    def __init__(self, most: int) -> None:
        self.total = 0
        self._most = most
        self._items: list[Item] = []
        self._answered = -1
        self._given = 0  # of the items: told in this exchange at least

    def extend(self, items: Iterable[Item]) -> None:
        """These are to be told."""
        before = len(self._items)
        self._items.extend(items)
        self.total += len(self._items) - before

    def give(self, answered: int) -> list[Item]:
        """What is to be told in a report.

        Args:
            answered: how many reports control has answered. What was there when the first of those that it
                has not answered was made is told again until it answers the next.
        """
        if answered != self._answered:
            self._answered = answered
            del self._items[: self._given]
            self._given = min(len(self._items), self._most)
        return self._items[: self._most]


class StageRecorder:
    """The counts of one stage in this process.

    Args:
        model: the public name of the rollout.
        stage: its number; every count belongs to one stage.
        weight: the canary's share of the draws in this stage, 0 to 1.
        beyond: sticky users with a point below were drawn in an earlier stage, so theirs are no draws of this
            one; 0 to 1.
        candidate: in an A/B/n test the key of the candidate that is counted beside stable; else empty.
        wall: seconds since 1970, alike in all processes of a rollout.
        longest: seconds that a request may be under way; those of the latest seconds are kept for so long.
        timed: which times are kept, span by span.
        segments: at most so many are told apart by name; 0 counts none, and so does a stage without a draw.
    """

    def __init__(
        self,
        model: str,
        stage: int,
        weight: float,
        wall: Callable[[], float] = time.time,
        longest: float = 30.0,
        timed: Timed = UNTIMED,
        beyond: float = 0.0,
        segments: int = 0,
        candidate: str = "",
    ) -> None:
        self.beyond = beyond
        self.candidate = candidate
        self._places = Places(segments if 0.0 < weight < 1.0 else 0)
        self._segments: Segments = {}
        self._segment_seconds: dict[int, Segments] = {}
        self._timed = timed
        self._times: dict[int, SpanTimes] = {}
        self._waits: dict[int, SpanTimes] = {}
        self.model = model
        self.stage = stage
        self.weight = weight
        self.wall = wall
        self._spans: dict[int, Span] = {}
        self._seconds: dict[int, Second] = {}
        self._kept_seconds = min(int(longest) + RING_MARGIN, MAX_SECONDS)
        self.begin(wall())
        self.keys_full = False
        self._open: deque[Slice] = deque()
        self._settled = StageCounts(weight, beyond=beyond)
        self._agreement: dict[str, tuple[int, int]] = {}
        self._recorded: dict[str, tuple[int, int]] = {}
        self._keys: set[int] = set()
        self._bodies: set[int] = set()
        self._repeated = 0
        self._error_keys: set[int] = set()
        # Keys whose error settled, each with the second of its arrival and its segment: canary, stable.
        self._erred: tuple[Outbox[tuple[int, int, str]], Outbox[tuple[int, int, str]]] = (
            Outbox(MAX_KEYS_A_REPORT),
            Outbox(MAX_KEYS_A_REPORT),
        )
        self._key_units = KeyUnits()
        self._ended_units: Outbox[Unit] = Outbox(MAX_UNITS_A_REPORT)
        self._keyless: dict[str, tuple[int, int]] = {}
        self._compared: dict[int, dict[str, tuple[int, int]]] = {}
        self._farthest: dict[str, float] = {}
        self._shifts: dict[str, ShiftCounter] = {}

    @property
    def recorders(self) -> "tuple[StageRecorder, ...]":
        """It counts by itself: as of `Abreast`."""
        return (self,)

    def begin(self, began: float, stable: Tally | None = None) -> None:
        """Begin a slice.

        Args:
            began: seconds since 1970.
            stable: as of `Slice`.
        """
        self.current = Slice(began, self._timed, again=self.beyond > 0.0, stable=stable)

    def first_of_key(self, key: int) -> bool:
        """Whether this key is new to the stage; with sticky keys only then does its request count."""
        return self._remember(self._keys, key)

    def first_error_of_key(self, key: int) -> bool:
        """Whether this is the first error of the key in this stage."""
        return not self.keys_full and self._remember(self._error_keys, key)

    def first_of_body(self, body: int) -> bool:
        """Whether this body is new to the stage; those that are not are counted. Only in a sandbox.

        When as many were seen as are remembered, none is new any more.
        """
        if body in self._bodies:
            self._repeated += 1
            return False
        if len(self._bodies) >= MAX_KEYS:
            return False
        self._bodies.add(body)
        return True

    def compared(self, output: str, *, same: bool, recorded: bool = False) -> None:
        """Count one comparison of an output, of a recorded request or a live one; only in a sandbox."""
        _count_pair(self._agreement, output, not same)
        if recorded:
            _count_pair(self._recorded, output, not same)

    def measured(self, output: str, distance: float) -> None:
        """Keep the greatest distance of an output; only in a sandbox."""
        if distance >= self._farthest.get(output, 0.0):
            self._farthest[output] = distance

    def shifted(self, output: str, candidate: frozenset[str], stable: frozenset[str]) -> None:
        """Count the values that both sides answered with to one request; only in a sandbox."""
        self._shifts.setdefault(output, ShiftCounter()).count(candidate, stable)

    def compared_now(self, output: str, *, same: bool) -> None:
        """Count one comparison of an output into its second, for a guard that weighs by time."""
        second = int(self.wall())
        _count_pair(self._compared.setdefault(second, {}), output, not same)
        while len(self._compared) > self._kept_seconds:
            del self._compared[min(self._compared)]

    def compared_for_key(self, name: str, key: int, *, same: bool) -> None:
        """Count one comparison into the unit of its sticky key; 0 is none."""
        self._into_unit(name, key, not same, self.wall())

    def sampled(self, key: int) -> bool:
        """Whether the requests of this sticky key are counted one by one, for its unit."""
        return self._key_units.sampled(key)

    def _into_unit(self, name: str, key: int, event: bool, at: float) -> None:  # noqa: FBT001  (a count)
        if key == 0:
            _count_pair(self._keyless, name, event)
        elif self._key_units.sampled(key):
            self._ended_units.extend(self._key_units.add(name, key, event, at))

    def _remember(self, keys: set[int], key: int) -> bool:
        if key in keys:
            return False
        if len(keys) >= MAX_KEYS:
            self.keys_full = True
            return False
        keys.add(key)
        return True

    def rotate(self) -> bool:
        """End the current slice and settle those that are complete, in order; called every 100 ms.

        Returns:
            Whether an error of the canary is among what was settled.
        """
        now, failed = self.wall(), False
        if self.current.empty():
            self.current.began = now
        else:
            self.turn(now)
        while self._open and not self.under_way:
            failed = self.settle() or failed
        self._ended_units.extend(self._key_units.expire(now))
        return failed

    def turn(self, now: float, stable: Tally | None = None) -> None:
        """End the current slice, and begin one as of `begin`."""
        self._open.append(self.current)
        self.begin(now, stable)

    @property
    def under_way(self) -> bool:
        """Whether something in the oldest slice that has ended has no outcome yet."""
        return self._open[0].under_way

    def settle(self, beside: Sequence[Tally] = ()) -> bool:
        """Enter the oldest slice that has ended into the counts.

        Args:
            beside: what also happened at stable in it, and is not in the slice.

        Returns:
            Whether an error of the canary is in it.
        """
        done = self._open.popleft()
        if beside:
            done.stable = together(self._timed, (done.stable, *beside))
        self._settled += StageCounts(
            self.weight,
            stable=_frozen(done.stable),
            canary=_frozen(done.canary),
            failed_by=done.canary.failed_by,
            again=_ended(done.again.canary) if self.beyond else 0,
            beyond=self.beyond,
        )
        second = int(done.began)
        self._enter_segments(second, done)
        for outbox, tally in zip(self._erred, (done.canary, done.stable), strict=True):
            places = map(self._places.of, tally.segments_of_keys)
            outbox.extend((key, second, place) for key, place in zip(tally.error_keys, places, strict=True))
        self._enter_units(done)
        if self.weight > 0.0 or self.beyond > 0.0:
            self._enter_second(second, done)
            if 0.0 < self.weight < 1.0:  # else there is no draw to hold the roles against
                self._enter_span(done)
        return done.canary.errors > 0 or bool(done.canary.error_keys)

    def report(self, answered: int) -> StageCounts:
        """What control is to be told: the counts, and the keys that erred since it last answered.

        Args:
            answered: how many reports control has answered. What was settled when the first of those that it
                has not answered was made is told again until it answers the next.
        """
        canary, stable = (erred.give(answered) for erred in self._erred)
        return replace(
            self.settled,
            error_keys=(tuple(key for key, *_ in canary), tuple(key for key, *_ in stable)),
            error_seconds=(
                tuple(second for _, second, _ in canary),
                tuple(second for _, second, _ in stable),
            ),
            error_segments=(
                (tuple(place for *_, place in canary), tuple(place for *_, place in stable))
                if self.counts_segments
                else ((), ())
            ),
            units=tuple(self._ended_units.give(answered)),
        )

    @property
    def counts_segments(self) -> bool:
        """Whether errors are counted by segment."""
        return self._places.most > 0

    def _enter_segments(self, second: int, done: Slice) -> None:
        """Take up the segments of a slice, of both roles in one order, and its errors without a key."""
        if not self.counts_segments:
            return
        canary, stable = done.canary, done.stable
        of_keys = {*canary.segments_of_keys, *stable.segments_of_keys} - {""}
        self._places = self._places.taken(sorted(canary.segments.keys() | stable.segments.keys() | of_keys))
        if not (canary.segments or stable.segments):
            return
        found = self._places.folded(
            {
                segment: SegmentErrors(canary.segments[segment], stable.segments[segment], second)
                for segment in canary.segments.keys() | stable.segments.keys()
            }
        )
        self._segments = segments_together(self._segments, found)
        self._segment_seconds[second] = segments_together(self._segment_seconds.get(second, {}), found)
        while len(self._segment_seconds) > self._kept_seconds:
            del self._segment_seconds[min(self._segment_seconds)]

    def _enter_units(self, done: Slice) -> None:
        """Sticky keys: of both roles the first request, and of the canary the unit."""
        for role, tally in (("canary", done.canary), ("stable", done.stable)):
            for key, failed in tally.of_keys:
                if key != 0:
                    first = self._key_units.first(f"first/{role}", key, failed, done.began)
                    self._ended_units.extend(first)
                if role == "canary":
                    self._into_unit(role, key, failed, done.began)
        # What is held against a limit rests on no draw: there users count who were drawn before.
        for key, failed in done.again.canary.of_keys if self.beyond else ():
            self._into_unit("canary", key, failed, done.began)

    def _enter_second(self, second: int, done: Slice) -> None:
        canary, stable = done.canary, done.stable
        again = done.again.canary if self.beyond else None
        self._seconds[second] = self._seconds.get(second, Second()) + Second(
            canary.requests,
            canary.errors,
            canary.failures,
            canary.abandoned,
            stable.requests,
            stable.errors,
            stable.failures,
            stable.abandoned,
            0 if again is None else _ended(again),
            0 if again is None else again.failures,
        )
        while len(self._seconds) > self._kept_seconds:
            del self._seconds[min(self._seconds)]

    def _enter_span(self, done: Slice) -> None:
        number = int(done.began // SPAN_SECONDS)
        before = self._spans.get(number, Span())
        self._spans[number] = before + Span(
            done.canary.requests, done.canary.abandoned, done.stable.requests, done.stable.abandoned
        )
        if (canary := done.canary.times) is not None and (stable := done.stable.times) is not None:
            for kept, of_canary, of_stable in (
                (self._times, canary.compute, stable.compute),
                (self._waits, canary.waits, stable.waits),
            ):
                if of_canary is not None and of_stable is not None:
                    kept[number] = kept.get(number, SpanTimes({}, {})) + SpanTimes(of_canary, of_stable)
        while len(self._spans) > KEPT_SPANS:
            oldest = min(self._spans)
            del self._spans[oldest]
            self._times.pop(oldest, None)
            self._waits.pop(oldest, None)

    @property
    def settled(self) -> StageCounts:
        """All that may be judged; cumulative."""
        oldest = self._open[0] if self._open else self.current
        return replace(
            self._settled,
            agreement=dict(self._agreement),
            recorded=dict(self._recorded),
            spans=dict(self._spans),
            times=dict(self._times),
            waits=dict(self._waits),
            open_span=int(oldest.began // SPAN_SECONDS),
            repeated=self._repeated,
            settled_until=oldest.began,
            seconds=dict(self._seconds),
            keyless=dict(self._keyless),
            compared={second: dict(found) for second, found in self._compared.items()},
            farthest=dict(self._farthest),
            shifts={output: each.shift for output, each in self._shifts.items()},
            segments=dict(self._segments),
            segment_seconds=dict(self._segment_seconds),
        )


def _count_pair(pairs: dict[str, tuple[int, int]], name: str, event: bool) -> None:  # noqa: FBT001  (a count)
    total, events = pairs.get(name, (0, 0))
    pairs[name] = (total + 1, events + event)


def _ended(tally: Tally) -> int:
    """Requests that came to an end."""
    return tally.requests - tally.abandoned


def _frozen(tally: Tally) -> RoleCounts:
    return RoleCounts(
        assigned=tally.requests,  # each outcome counted is that of one draw
        requests=tally.requests,
        errors=tally.errors,
        failures=tally.failures,
        abandoned=tally.abandoned,
    )
