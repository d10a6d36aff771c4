"""The numbers of one stage, as routers send them and the judge reads them. Pure.

Law: only requests whose target was drawn with the stage's weight are in here. Forced routes, and requests
that came while the canary was not ready or ejected, are left out, since no draw was made for them. So are
sticky users whom an earlier stage had drawn: a stage that raises the weight draws from the others.
Counts are cumulative and of one weight; those of several routers add up.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, NamedTuple

from router.counting.key_units import UNIT_REQUESTS, Unit
from router.counting.latency import BUCKETS
from router.counting.pairs import NO_PAIRS, PairCounts, pairs_from_json, pairs_to_json
from router.counting.segments import (
    Segments,
    SegmentSeconds,
    apart,
    arrived_from,
    seconds_from_json,
    segments_from_json,
    segments_to_json,
    texts_from_json,
    together,
)
from router.counting.shifts import Shifts, shifts_apart, shifts_from_json, shifts_to_json, shifts_together
from serving.errors import InvalidInput

MAX_COUNT = 2**53  # what JSON numbers and floats hold exactly
SPAN_SECONDS = 5.0
"""What is compared span by span comes in bursts (a pause of a process, a queue): longer than most pauses."""
MAX_SPANS = 1000
MAX_SECONDS = 1250
"""Of a ring: one for each second that two attempts may last (`router.rollout.parser`), and some more."""
_COLUMNS = 8
"""Of a second: those of a row on the wire; what came later travels under a key of its own."""
MAX_KEYS_A_REPORT = 20_000
MAX_UNITS_A_REPORT = 5_000


FAILURE_KINDS = ("timeout", "unavailable", "failed", "refused")
"""How a canary failed: no answer in time; no connection, or 503; another 5xx, or an answer that cannot be
used; refused though stable accepts it."""


class Span(NamedTuple):
    """What arrived in one span of `SPAN_SECONDS` of wall time: requests, and those whose client left."""

    canary: int = 0
    canary_abandoned: int = 0
    stable: int = 0
    stable_abandoned: int = 0

    def __add__(self, other: tuple[int, ...]) -> "Span":  # type: ignore[override]
        return Span(*(a + b for a, b in zip(self, other, strict=True)))


class Second(NamedTuple):
    """What arrived in one second of wall time, by role; the words are those of `RoleCounts`.

    Last what the canary answered, and failed, of users whom an earlier stage had drawn.
    """

    canary: int = 0
    canary_errors: int = 0
    canary_failures: int = 0
    canary_abandoned: int = 0
    stable: int = 0
    stable_errors: int = 0
    stable_failures: int = 0
    stable_abandoned: int = 0
    again: int = 0
    again_failures: int = 0

    def __add__(self, other: tuple[int, ...]) -> "Second":  # type: ignore[override]
        return Second(*(a + b for a, b in zip(self, other, strict=True)))


class SpanTimes(NamedTuple):
    """Answers of one span whose time is known: by bucket of `router.counting.latency`, how many."""

    canary: Mapping[int, int]
    stable: Mapping[int, int]

    def __add__(self, other: tuple[Mapping[int, int], ...]) -> "SpanTimes":  # type: ignore[override]
        return SpanTimes(*(merged(a, b) for a, b in zip(self, other, strict=True)))


def merged(times: Mapping[int, int], more: Mapping[int, int]) -> dict[int, int]:
    """Two histograms as one."""
    return {index: times.get(index, 0) + more.get(index, 0) for index in times.keys() | more.keys()}


@dataclass(frozen=True, slots=True)
class RoleCounts:
    """What one role did in a stage.

    Args:
        assigned: draws that fell on this role.
        requests: those whose outcome is known, in slices of arrival time.
        errors: those that failed or timed out, without a sticky key; in a sum of processes also each key
            that erred, once, whichever of its requests it was. For tests that ask at whom errors happen.
        failures: those of `requests` that failed; with sticky keys the first request of each key. For tests
            that ask which share of the requests fails.
        abandoned: those of `requests` whose client went away first, so that nobody knows what they would have
            become; with sticky keys the first request of each key.
    """

    assigned: int = 0
    requests: int = 0
    errors: int = 0
    failures: int = 0
    abandoned: int = 0

    def __add__(self, other: "RoleCounts") -> "RoleCounts":
        return RoleCounts(
            self.assigned + other.assigned,
            self.requests + other.requests,
            self.errors + other.errors,
            self.failures + other.failures,
            self.abandoned + other.abandoned,
        )

    def without(self, requests: int, errors: int, failures: int, abandoned: int) -> "RoleCounts":
        """These counts without so many of them; never less than nothing."""
        return replace(
            self,
            assigned=max(self.assigned - requests, 0),
            requests=max(self.requests - requests, 0),
            errors=max(self.errors - errors, 0),
            failures=max(self.failures - failures, 0),
            abandoned=max(self.abandoned - abandoned, 0),
        )

    def since(self, before: "RoleCounts") -> "RoleCounts":
        """What was counted after `before`; never less than nothing."""
        return RoleCounts(
            max(self.assigned - before.assigned, 0),
            max(self.requests - before.requests, 0),
            max(self.errors - before.errors, 0),
            max(self.failures - before.failures, 0),
            max(self.abandoned - before.abandoned, 0),
        )


@dataclass(frozen=True, slots=True)
class StageCounts:
    """One stage: its weight (fraction of the traffic that the canary was to get) and what came of it.

    Args:
        weight: 0 to 1, the probability of the canary in every draw counted here.
        stable: the role's counts.
        canary: the role's counts.
        agreement: output -> (comparisons, differences) of reference and candidate.
        spans: number of the span -> what arrived in it, of the latest; of one process, lost in a sum.
        error_keys: hashes of sticky keys that erred first at the canary, and at stable, since control last
            answered; of one process, lost in a sum. Whoever adds processes up counts each key once.
        repeated: mirrored requests whose body a sandbox had seen before in this stage.
        pairs: compute times of the candidate and stable side by side, from a sandbox.
        times: number of the span -> compute times of what arrived in it, of the latest; of one process, lost
            in a sum, and only where no pairs can be timed.
        waits: number of the span -> from arrival to answer, of the good answers to what arrived in it, of the
            latest; of one process, lost in a sum, and only where a guard asks how long clients wait.
        open_span: all spans before this one are complete in this process; 0 is unknown, as in a sum.
        settled_until: seconds since 1970 before which all that arrived in this process has an outcome, which
            is in the counts; 0 is unknown, as in a sum.
        seconds: second since 1970 -> what arrived in it, of the latest; of one process, lost in a sum.
        error_seconds: of each of `error_keys`, the second in which the request arrived.
        units: of sticky keys, since control last answered; of one process, lost in a sum.
        keyless: name of the units -> (requests, events) of those without a key, each a unit of its own.
        compared: second since 1970 -> output -> (comparisons, differences), of the latest, where a guard
            weighs by time; of one process, lost in a sum.
        farthest: output -> the greatest distance, by its rule, of comparisons that could be measured.
        beyond: with sticky keys only users with a point of at least this are in the counts, 0 to 1: an
            earlier stage had drawn the others to the canary.
        again: requests of those others that the canary answered or failed; in none of the other counts.
        failed_by: kind of `FAILURE_KINDS` -> the canary's errors of this kind, those of keys once a process.
        recorded: output -> those of `agreement` that are of recorded requests.
        segments: those of `errors` without a sticky key, of both roles, by segment, where a guard asks for
            it; in a sum of processes also each key that erred, once.
        segment_seconds: second since 1970 -> the same of what arrived in it, of the latest; of one process,
            lost in a sum.
        error_segments: of each of `error_keys` the segment; empty where none are counted.
        shifts: output -> how the candidate's answers shift against stable's, where a guard asks for it.
    """

    weight: float
    stable: RoleCounts = RoleCounts()
    canary: RoleCounts = RoleCounts()
    agreement: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    spans: Mapping[int, Span] = field(default_factory=dict)
    open_span: int = 0
    error_keys: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    repeated: int = 0
    settled_until: float = 0.0
    seconds: Mapping[int, Second] = field(default_factory=dict)
    error_seconds: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    pairs: PairCounts = NO_PAIRS
    times: Mapping[int, SpanTimes] = field(default_factory=dict)
    units: tuple[Unit, ...] = ()
    keyless: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    compared: Mapping[int, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    farthest: Mapping[str, float] = field(default_factory=dict)
    waits: Mapping[int, SpanTimes] = field(default_factory=dict)
    beyond: float = 0.0
    again: int = 0
    failed_by: Mapping[str, int] = field(default_factory=dict)
    recorded: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    segments: Segments = field(default_factory=dict)
    segment_seconds: SegmentSeconds = field(default_factory=dict)
    error_segments: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    shifts: Shifts = field(default_factory=dict)

    def seconds_of_errors(self, role: int) -> tuple[int, ...]:
        """For each key that erred the second of its request; 0 where an older version does not say."""
        keys, seconds = self.error_keys[role], self.error_seconds[role]
        return seconds if len(seconds) == len(keys) else (0,) * len(keys)

    def segments_of_errors(self, role: int) -> tuple[str, ...]:
        """For each key that erred its segment; empty where segments are not counted."""
        keys, segments = self.error_keys[role], self.error_segments[role]
        return segments if len(segments) == len(keys) else ("",) * len(keys)

    def until(self, wall: float) -> "StageCounts":
        """Without what arrived in the second of `wall` or later; as it is where it is settled no further.

        Compute times are left as they are.

        Args:
            wall: seconds since 1970, within what `seconds` holds.
        """
        if self.settled_until <= wall:
            return self
        late = Second()
        for second, found in self.seconds.items():
            if second >= int(wall):
                late += found
        return replace(
            self,
            canary=self.canary.without(*late[:4]),
            stable=self.stable.without(*late[4:8]),
            again=max(self.again - late.again, 0),
            segments=apart(self.segments, arrived_from(int(wall), self.segment_seconds)),
        )

    def since(self, before: "StageCounts") -> "StageCounts":
        """What was counted after `before`, which the same process had counted of the same stage.

        The farthest are those of all the time.
        """
        return StageCounts(
            self.weight,
            self.stable.since(before.stable),
            self.canary.since(before.canary),
            _pairs_apart(self.agreement, before.agreement),
            repeated=self.repeated - before.repeated,
            pairs=self.pairs.since(before.pairs),
            keyless=_pairs_apart(self.keyless, before.keyless),
            farthest=self.farthest,
            beyond=self.beyond,
            again=max(self.again - before.again, 0),
            failed_by={kind: n - before.failed_by.get(kind, 0) for kind, n in self.failed_by.items()},
            recorded=_pairs_apart(self.recorded, before.recorded),
            segments=apart(self.segments, before.segments),
            shifts=shifts_apart(self.shifts, before.shifts),
        )

    def without_draws(self) -> "StageCounts":
        """What of it rests on no draw."""
        return replace(self, stable=RoleCounts(), canary=RoleCounts(), failed_by={}, segments={})

    def __add__(self, other: "StageCounts") -> "StageCounts":
        """The sum; a side that counts users whom the other knows to be drawn before adds no draws."""
        if self.beyond != other.beyond:
            older, newer = sorted((self, other), key=lambda counts: counts.beyond)
            return newer + replace(older.without_draws(), weight=newer.weight, beyond=newer.beyond)
        if self.weight != other.weight:
            raise InvalidInput(f"counts of weights {self.weight:g} and {other.weight:g} cannot be added")
        return StageCounts(
            self.weight,
            self.stable + other.stable,
            self.canary + other.canary,
            pairs_together(self.agreement, other.agreement),
            repeated=self.repeated + other.repeated,
            pairs=self.pairs + other.pairs,
            keyless=pairs_together(self.keyless, other.keyless),
            farthest=_farthest(self.farthest, other.farthest),
            beyond=self.beyond,
            again=self.again + other.again,
            failed_by=_together(self.failed_by, other.failed_by),
            recorded=pairs_together(self.recorded, other.recorded),
            segments=together(self.segments, other.segments),
            shifts=shifts_together(self.shifts, other.shifts),
        )


Pairs = Mapping[str, tuple[int, int]]


def pairs_together(one: Pairs, other: Pairs) -> dict[str, tuple[int, int]]:
    """Totals and events by name, added up."""
    found = dict(one)
    for name, (total, events) in other.items():
        before = found.get(name, (0, 0))
        found[name] = (before[0] + total, before[1] + events)
    return found


def _pairs_apart(now: Pairs, before: Pairs) -> dict[str, tuple[int, int]]:
    return {
        name: (total - before.get(name, (0, 0))[0], events - before.get(name, (0, 0))[1])
        for name, (total, events) in now.items()
    }


def _together(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    if not (one and other):
        return one or other
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in one.keys() | other.keys()}


def _farthest(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in one.keys() | other.keys()}


def to_json(counts: StageCounts) -> dict[str, Any]:
    """The counts as JSON values; bucket numbers become text, as JSON's keys are."""
    return {
        "weight": counts.weight,
        "stable": _role_to_json(counts.stable),
        "canary": _role_to_json(counts.canary),
        "agreement": {output: list(pair) for output, pair in counts.agreement.items()},
        "spans": [[number, *span] for number, span in counts.spans.items()],
        "open_span": counts.open_span,
        "repeated": counts.repeated,
        "pairs": pairs_to_json(counts.pairs),
        "times": _times_to_json(counts.times),
        "waits": _times_to_json(counts.waits),
        "error_keys": [list(keys) for keys in counts.error_keys],
        "error_seconds": [list(seconds) for seconds in counts.error_seconds],
        "settled_until": counts.settled_until,
        "seconds": [[second, *found[:_COLUMNS]] for second, found in counts.seconds.items()],
        "seconds_again": [
            [second, *found[_COLUMNS:]] for second, found in counts.seconds.items() if any(found[_COLUMNS:])
        ],
        "units": [list(unit) for unit in counts.units],
        "keyless": {name: list(pair) for name, pair in counts.keyless.items()},
        "compared": [
            [second, {output: list(pair) for output, pair in found.items()}]
            for second, found in counts.compared.items()
        ],
        "farthest": dict(counts.farthest),
        "beyond": counts.beyond,
        "again": counts.again,
        "failed_by": dict(counts.failed_by),
        "recorded": {output: list(pair) for output, pair in counts.recorded.items()},
        "segments": segments_to_json(counts.segments),
        "segment_seconds": [
            [second, segments_to_json(found)] for second, found in counts.segment_seconds.items()
        ],
        "error_segments": [list(segments) for segments in counts.error_segments],
        "shifts": shifts_to_json(counts.shifts),
    }


def _times_to_json(spans: Mapping[int, SpanTimes]) -> list[Any]:
    return [
        [number, *({str(index): count for index, count in role.items()} for role in times)]
        for number, times in spans.items()
    ]


def from_json(value: object) -> StageCounts:
    """Counts as a router sent them.

    Raises:
        InvalidInput: a key is missing, or a number is impossible; the message names the place. Keys, and
            columns at the end of a row, that this version does not know are left out, and what older ones do
            not send is not known.
    """
    entries = _mapping(value, "counts", {"weight", "stable", "canary", "agreement"})
    weight = _fraction(entries["weight"], "counts.weight")
    agreement = _pairs_from_json(entries["agreement"], "counts.agreement")
    return StageCounts(
        weight,
        _role_from_json(entries["stable"], "counts.stable"),
        _role_from_json(entries["canary"], "counts.canary"),
        agreement,
        _spans_from_json(entries.get("spans", [])),
        _count(entries.get("open_span", 0), "counts.open_span"),
        _keys_from_json(entries.get("error_keys", [[], []])),
        _count(entries.get("repeated", 0), "counts.repeated"),
        _settled_from_json(entries.get("settled_until", 0.0)),
        _seconds_from_json(entries.get("seconds", []), entries.get("seconds_again", [])),
        _error_seconds_from_json(entries.get("error_seconds", [[], []])),
        pairs_from_json(entries.get("pairs"), _count),
        _times_from_json(entries.get("times", []), "counts.times"),
        _units_from_json(entries.get("units", [])),
        _pairs_from_json(entries.get("keyless", {}), "counts.keyless", "events", "requests"),
        _compared_from_json(entries.get("compared", [])),
        _farthest_from_json(entries.get("farthest", {})),
        _times_from_json(entries.get("waits", []), "counts.waits"),
        _fraction(entries.get("beyond", 0.0), "counts.beyond"),
        _count(entries.get("again", 0), "counts.again"),
        _failed_by_from_json(entries.get("failed_by", {})),
        _pairs_from_json(entries.get("recorded", {}), "counts.recorded"),
        segments_from_json(entries.get("segments", []), "counts.segments", _count),
        seconds_from_json(entries.get("segment_seconds", []), "counts.segment_seconds", _count, MAX_SECONDS),
        texts_from_json(entries.get("error_segments", [[], []]), "counts.error_segments", MAX_KEYS_A_REPORT),
        shifts_from_json(entries.get("shifts", {}), "counts.shifts", _count),
    )


def _failed_by_from_json(value: object) -> dict[str, int]:
    place = "counts.failed_by"
    found = _mapping(value, place)
    return {kind: _count(found[kind], f"{place}.{kind}") for kind in FAILURE_KINDS if kind in found}


def _fraction(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidInput(f"{place}: expected a fraction of 0 to 1, got {value!r:.60}")
    return float(value)


def _pairs_from_json(
    value: object, place: str, events: str = "differences", trials: str = "comparisons"
) -> dict[str, tuple[int, int]]:
    pairs = {}
    for name, pair in _mapping(value, place).items():
        where = f"{place}.{name}"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidInput(f"{where}: expected [{trials}, {events}]")
        total, of_these = (_count(number, where) for number in pair)
        if of_these > total:
            raise InvalidInput(f"{where}: {of_these} {events} in {total} {trials}")
        pairs[name] = (total, of_these)
    return pairs


def _units_from_json(value: object) -> tuple[Unit, ...]:
    place = "counts.units"
    if not isinstance(value, list | tuple) or len(value) > MAX_UNITS_A_REPORT:
        raise InvalidInput(f"{place}: expected a list of at most {MAX_UNITS_A_REPORT} units")
    units = []
    for row in value:
        if not isinstance(row, list | tuple) or len(row) < len(Unit._fields):
            raise InvalidInput(f"{place}: expected [{', '.join(Unit._fields)}]")
        name, key, second, requests, events = row[: len(Unit._fields)]
        if not isinstance(name, str) or not (type(key) is int and 0 < key < 2**64):
            raise InvalidInput(f"{place}: expected a name and a hash of 64 bits")
        if not 1 <= _count(requests, place) <= UNIT_REQUESTS or _count(events, place) > requests:
            raise InvalidInput(f"{place}: {events} events in {requests} requests")
        units.append(Unit(name, key, _count(second, place), requests, events))
    return tuple(units)


def _compared_from_json(value: object) -> dict[int, dict[str, tuple[int, int]]]:
    place = "counts.compared"
    if not isinstance(value, list | tuple) or len(value) > MAX_SECONDS:
        raise InvalidInput(f"{place}: expected a list of at most {MAX_SECONDS} seconds")
    compared = {}
    for row in value:
        if not isinstance(row, list | tuple) or len(row) != 2:
            raise InvalidInput(f"{place}: expected [second, outputs]")
        compared[_count(row[0], place)] = _pairs_from_json(row[1], place)
    return compared


def _farthest_from_json(value: object) -> dict[str, float]:
    place = "counts.farthest"
    found = _mapping(value, place)
    for output, distance in found.items():
        if isinstance(distance, bool) or not isinstance(distance, int | float) or not 0 <= distance < inf:
            raise InvalidInput(f"{place}.{output}: expected a distance of 0 or more, got {distance!r:.60}")
    return {output: float(distance) for output, distance in found.items()}


def _settled_from_json(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_COUNT:
        raise InvalidInput(f"counts.settled_until: expected seconds since 1970, got {value!r:.60}")
    return float(value)


def _seconds_from_json(value: object, again: object) -> dict[int, Second]:
    seconds = {
        second: Second(*counts)
        for second, counts in _rows_of_seconds(value, "counts.seconds", Second._fields[:_COLUMNS])
    }
    for second, counts in _rows_of_seconds(again, "counts.seconds_again", Second._fields[_COLUMNS:]):
        before = seconds.get(second, Second())
        seconds[second] = Second(*before[:_COLUMNS], *counts)
    return seconds


def _rows_of_seconds(value: object, place: str, fields: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    if not isinstance(value, list | tuple) or len(value) > MAX_SECONDS:
        raise InvalidInput(f"{place}: expected a list of at most {MAX_SECONDS} seconds")
    for row in value:
        if not isinstance(row, list | tuple) or len(row) <= len(fields):
            raise InvalidInput(f"{place}: expected [second, {', '.join(fields)}]")
        second, *counts = (_count(each, place) for each in row[: 1 + len(fields)])
        yield second, counts


def _error_seconds_from_json(value: object) -> tuple[tuple[int, ...], tuple[int, ...]]:
    place = "counts.error_seconds"
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidInput(f"{place}: expected those of the canary and those of stable")
    for seconds in value:
        if not isinstance(seconds, list | tuple) or len(seconds) > MAX_KEYS_A_REPORT:
            raise InvalidInput(f"{place}: expected a list of at most {MAX_KEYS_A_REPORT} seconds")
    canary, stable = (tuple(_count(each, place) for each in seconds) for seconds in value)
    return canary, stable


def _keys_from_json(value: object) -> tuple[tuple[int, ...], tuple[int, ...]]:
    place = "counts.error_keys"
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidInput(f"{place}: expected those of the canary and those of stable")
    for keys in value:
        if not isinstance(keys, list | tuple) or len(keys) > MAX_KEYS_A_REPORT:
            raise InvalidInput(f"{place}: expected a list of at most {MAX_KEYS_A_REPORT} keys")
        if not all(type(key) is int and 0 < key < 2**64 for key in keys):
            raise InvalidInput(f"{place}: expected hashes of 64 bits")
    return tuple(value[0]), tuple(value[1])


def _spans_from_json(value: object) -> dict[int, Span]:
    place = "counts.spans"
    if not isinstance(value, list | tuple) or len(value) > MAX_SPANS:
        raise InvalidInput(f"{place}: expected a list of at most {MAX_SPANS} spans")
    spans = {}
    for row in value:
        if not isinstance(row, list | tuple) or len(row) <= len(Span._fields):
            raise InvalidInput(f"{place}: expected [number, {', '.join(Span._fields)}]")
        number, *counts = (_count(each, place) for each in row[: 1 + len(Span._fields)])
        span = Span(*counts)
        if span.canary_abandoned > span.canary or span.stable_abandoned > span.stable:
            raise InvalidInput(f"{place}: more abandoned than requests in span {number}")
        spans[number] = span
    return spans


def _times_from_json(value: object, place: str) -> dict[int, SpanTimes]:
    if not isinstance(value, list | tuple) or len(value) > MAX_SPANS:
        raise InvalidInput(f"{place}: expected a list of at most {MAX_SPANS} spans")
    times = {}
    for row in value:
        if not isinstance(row, list | tuple) or len(row) <= len(SpanTimes._fields):
            raise InvalidInput(f"{place}: expected [number, {', '.join(SpanTimes._fields)}]")
        number, canary, stable = row[: 1 + len(SpanTimes._fields)]
        times[_count(number, place)] = SpanTimes(_histogram(canary, place), _histogram(stable, place))
    return times


def _histogram(value: object, place: str) -> dict[int, int]:
    found = {}
    for key, count in _mapping(value, place).items():
        if not (key.isascii() and key.isdigit() and int(key[:9]) < BUCKETS and str(int(key[:9])) == key):
            raise InvalidInput(f"{place}: expected a bucket of 0 to {BUCKETS - 1}, got {key[:60]!r}")
        found[int(key)] = _count(count, f"{place}.{key}")
    return found


def _role_to_json(role: RoleCounts) -> dict[str, Any]:
    return {
        "assigned": role.assigned,
        "requests": role.requests,
        "errors": role.errors,
        "failures": role.failures,
        "abandoned": role.abandoned,
    }


def _role_from_json(value: object, place: str) -> RoleCounts:
    entries = _mapping(value, place, {"assigned", "requests", "errors", "failures"})
    assigned, requests, errors, failures = (
        _count(entries[key], f"{place}.{key}") for key in ("assigned", "requests", "errors", "failures")
    )
    abandoned = _count(entries.get("abandoned", 0), f"{place}.abandoned")
    if max(errors, failures, abandoned) > requests:
        raise InvalidInput(f"{place}: {max(errors, failures, abandoned)} errors in {requests} requests")
    return RoleCounts(assigned, requests, errors, failures, abandoned)


def _mapping(value: object, place: str, keys: set[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{place}: expected an object")
    if keys is not None and not value.keys() >= keys:
        raise InvalidInput(f"{place}: expected the keys {', '.join(sorted(keys))}")
    return value


def _count(value: object, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise InvalidInput(f"{place}: expected a whole number from 0 to 2^53, got {value!r:.60}")
    return value
