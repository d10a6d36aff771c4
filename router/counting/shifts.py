"""How the candidate's answers shift against stable's to the same requests, value by value. Pure.

Law: shifts of processes and stages add. A pair counts for a value where one side alone answered with it; both
sides have the same share of it when these two counts are alike. A process tells `MOST_VALUES` values apart,
those that it met first; what comes later is `OTHER`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from serving.errors import InvalidInput

MOST_VALUES: Final = 100
OTHER: Final = "other values"
MOST_TEXT: Final = 100
MOST_TOLD: Final = 10_000
"""Values of one output in a report."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Of one output.

    Attributes:
        pairs: of answers to the same request.
        alone: value -> in how many of them the candidate alone had it, and stable alone.
    """

    pairs: int = 0
    alone: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __add__(self, other: "Shift") -> "Shift":
        """Of both together."""
        found = dict(self.alone)
        for value, (candidate, stable) in other.alone.items():
            before = found.get(value, (0, 0))
            found[value] = before[0] + candidate, before[1] + stable
        return Shift(self.pairs + other.pairs, found)

    def since(self, before: "Shift") -> "Shift":
        """What was counted after `before`."""
        alone = {}
        for value, (candidate, stable) in self.alone.items():
            earlier = before.alone.get(value, (0, 0))
            alone[value] = candidate - earlier[0], stable - earlier[1]
        return Shift(self.pairs - before.pairs, alone)


NO_SHIFT: Final = Shift()
Shifts = Mapping[str, Shift]
"""By the name of the output."""


class ShiftCounter:
    """Counts the pairs of one output in one process."""

    def __init__(self) -> None:
        self._pairs = 0
        self._alone: dict[str, tuple[int, int]] = {}

    def count(self, candidate: frozenset[str], stable: frozenset[str]) -> None:
        """Count a pair, by the values that each side answered with."""
        self._pairs += 1
        if candidate != stable:
            told, given = self._named(candidate), self._named(stable)
            for name in told ^ given:
                at_candidate, at_stable = self._alone[name]
                self._alone[name] = at_candidate + (name in told), at_stable + (name in given)

    def _named(self, values: frozenset[str]) -> set[str]:
        """What values are told as; each has a place from then on."""
        names = {value[:MOST_TEXT] for value in values}
        for name in sorted(names - self._alone.keys()):
            if len(self._alone) < MOST_VALUES - 1:
                self._alone[name] = (0, 0)
            else:
                self._alone.setdefault(OTHER, (0, 0))
                names = (names - {name}) | {OTHER}
        return names

    @property
    def shift(self) -> Shift:
        """What was counted."""
        return Shift(self._pairs, dict(self._alone))


def shifts_together(one: Shifts, other: Shifts) -> Shifts:
    """Both, added up by output."""
    if not (one and other):
        return one or other
    return {name: one.get(name, NO_SHIFT) + other.get(name, NO_SHIFT) for name in one.keys() | other.keys()}


def shifts_apart(now: Shifts, before: Shifts) -> Shifts:
    """What was counted after `before`."""
    return {name: shift.since(before.get(name, NO_SHIFT)) for name, shift in now.items()}


def shifts_to_json(shifts: Shifts) -> dict[str, Any]:
    """As JSON values."""
    return {
        name: {"pairs": shift.pairs, "alone": {value: list(counts) for value, counts in shift.alone.items()}}
        for name, shift in shifts.items()
    }


def shifts_from_json(value: object, place: str, count: Callable[[object, str], int]) -> Shifts:
    """What `shifts_to_json` made.

    Args:
        value: the JSON values.
        place: of it, in errors.
        count: reads a number at its place.

    Raises:
        InvalidInput: it is none; says where.
    """
    return {name: _shift(each, f"{place}.{name}", count) for name, each in _items(value, place)}


def _shift(value: object, place: str, count: Callable[[object, str], int]) -> Shift:
    entries = dict(_items(value, place))
    pairs, alone = count(entries.get("pairs"), f"{place}.pairs"), {}
    for name, counts in _items(entries.get("alone", {}), f"{place}.alone"):
        if not isinstance(counts, list | tuple) or len(counts) < 2:
            raise InvalidInput(f"{place}.alone: expected [candidate, stable]")
        candidate, stable = (count(each, f"{place}.alone") for each in counts[:2])
        alone[name] = candidate, stable
    return Shift(pairs, alone)


def _items(value: object, place: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict) or len(value) > MOST_TOLD or not all(type(key) is str for key in value):
        raise InvalidInput(f"{place}: expected an object of at most {MOST_TOLD} members")
    return value.items()
