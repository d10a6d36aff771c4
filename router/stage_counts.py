"""The numbers of one stage, as routers send them and the judge reads them. Pure.

Law: only requests whose target was drawn with the stage's weight are in here. Forced routes, and requests
that came while the canary was not ready or ejected, are left out, since no draw was made for them.
Counts are cumulative and of one weight; those of several routers add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.latency import BUCKETS
from serving.errors import InvalidInput

MAX_COUNT = 2**53  # what JSON numbers and floats hold exactly


@dataclass(frozen=True, slots=True)
class RoleCounts:
    """What one role did in a stage.

    Args:
        assigned: draws that fell on this role.
        requests: those whose outcome is known, in slices of arrival time.
        errors: those that failed or timed out; with sticky keys the first of each key, whichever of its
            requests it was. For tests that ask at whom errors happen.
        failures: those of `requests` that failed; with sticky keys the first request of each key. For tests
            that ask which share of the requests fails.
        latency: bucket of `router.latency` -> answers whose compute time fell there.
    """

    assigned: int = 0
    requests: int = 0
    errors: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)
    failures: int = 0

    def __add__(self, other: "RoleCounts") -> "RoleCounts":
        latency = dict(self.latency)
        for index, count in other.latency.items():
            latency[index] = latency.get(index, 0) + count
        return RoleCounts(
            self.assigned + other.assigned,
            self.requests + other.requests,
            self.errors + other.errors,
            latency,
            self.failures + other.failures,
        )


@dataclass(frozen=True, slots=True)
class StageCounts:
    """One stage: its weight (fraction of the traffic that the canary was to get) and what came of it.

    Args:
        weight: 0 to 1, the probability of the canary in every draw counted here.
        stable: the role's counts.
        canary: the role's counts.
        agreement: output -> (comparisons, differences) of reference and candidate.
    """

    weight: float
    stable: RoleCounts = RoleCounts()
    canary: RoleCounts = RoleCounts()
    agreement: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __add__(self, other: "StageCounts") -> "StageCounts":
        if self.weight != other.weight:
            raise InvalidInput(f"counts of weights {self.weight:g} and {other.weight:g} cannot be added")
        agreement = dict(self.agreement)
        for output, (comparisons, differences) in other.agreement.items():
            before = agreement.get(output, (0, 0))
            agreement[output] = (before[0] + comparisons, before[1] + differences)
        return StageCounts(self.weight, self.stable + other.stable, self.canary + other.canary, agreement)


def to_json(counts: StageCounts) -> dict[str, Any]:
    """The counts as JSON values; bucket numbers become text, as JSON's keys are."""
    return {
        "weight": counts.weight,
        "stable": _role_to_json(counts.stable),
        "canary": _role_to_json(counts.canary),
        "agreement": {output: list(pair) for output, pair in counts.agreement.items()},
    }


def from_json(value: object) -> StageCounts:
    """Counts as a router sent them.

    Raises:
        InvalidInput: a key is missing or unknown, or a number is impossible; the message names the place.
    """
    entries = _mapping(value, "counts", {"weight", "stable", "canary", "agreement"})
    weight = entries["weight"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise InvalidInput(f"counts.weight: expected a fraction of 0 to 1, got {weight!r:.60}")
    agreement = {}
    for output, pair in _mapping(entries["agreement"], "counts.agreement").items():
        place = f"counts.agreement.{output}"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidInput(f"{place}: expected [comparisons, differences]")
        comparisons, differences = (_count(number, place) for number in pair)
        if differences > comparisons:
            raise InvalidInput(f"{place}: {differences} differences in {comparisons} comparisons")
        agreement[output] = (comparisons, differences)
    return StageCounts(
        float(weight),
        _role_from_json(entries["stable"], "counts.stable"),
        _role_from_json(entries["canary"], "counts.canary"),
        agreement,
    )


def _role_to_json(role: RoleCounts) -> dict[str, Any]:
    return {
        "assigned": role.assigned,
        "requests": role.requests,
        "errors": role.errors,
        "failures": role.failures,
        "latency": {str(index): count for index, count in role.latency.items()},
    }


def _role_from_json(value: object, place: str) -> RoleCounts:
    entries = _mapping(value, place, {"assigned", "requests", "errors", "failures", "latency"})
    assigned, requests, errors, failures = (
        _count(entries[key], f"{place}.{key}") for key in ("assigned", "requests", "errors", "failures")
    )
    if max(errors, failures) > requests:
        raise InvalidInput(f"{place}: {max(errors, failures)} errors in {requests} requests")
    latency = {}
    for key, count in _mapping(entries["latency"], f"{place}.latency").items():
        if not (key.isascii() and key.isdigit() and int(key[:9]) < BUCKETS and str(int(key[:9])) == key):
            raise InvalidInput(f"{place}.latency: expected a bucket of 0 to {BUCKETS - 1}, got {key[:60]!r}")
        latency[int(key)] = _count(count, f"{place}.latency.{key}")
    return RoleCounts(assigned, requests, errors, latency, failures)


def _mapping(value: object, place: str, keys: set[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{place}: expected an object")
    if keys is not None and value.keys() != keys:
        raise InvalidInput(f"{place}: expected the keys {', '.join(sorted(keys))}")
    return value


def _count(value: object, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise InvalidInput(f"{place}: expected a whole number from 0 to 2^53, got {value!r:.60}")
    return value
