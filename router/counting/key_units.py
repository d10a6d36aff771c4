"""Units of sticky keys in one process: what the first requests of a user came to. Pure.

Law: a user's requests hang together, so they are one observation, whose share of failures (or differences)
is between 0 and 1. A unit ends at its `UNIT_REQUESTS`th request or `UNIT_SECONDS` after it began, whatever
its outcomes were, and a key has one in each process and stage; control takes the first that it is told of
each key. Keys are sampled by their own bits, never by the point at which they are drawn, and alike in all
processes: all of them until a process has `LEVEL_KEYS`, then every second one until it has as many more, and
so on. So what is held and told grows with the logarithm of the number of users, and never ends.
"""

from collections.abc import Iterable
from typing import NamedTuple

UNIT_REQUESTS = 10
UNIT_SECONDS = 60.0
LEVEL_KEYS = 1_000


class Unit(NamedTuple):
    """What became of a sticky key.

    Args:
        name: what was counted: `canary` or a guard on agreement for a unit; `first/` and the role for the
            first request of a key.
        key: its hash.
        second: seconds since 1970, whole, when it began.
        requests: that are in it, 1 to `UNIT_REQUESTS`.
        events: those of them that failed, or differed.
    """

    name: str
    key: int
    second: int
    requests: int
    events: int


class KeyUnits:
    """The units of one stage in this process."""

    def __init__(self) -> None:
        self._mask = 0
        self._taken: set[int] = set()
        self._at_level = 0
        self._units: dict[tuple[str, int], list[int] | None] = {}  # second, requests, events; None: ended
        self._open: dict[tuple[str, int], float] = {}  # in the order in which they began

    def sampled(self, key: int) -> bool:
        """Whether this key is one of those that are told; once it is, it remains so in this stage."""
        return key in self._taken or not key & self._mask

    def add(self, name: str, key: int, event: bool, now: float) -> list[Unit]:  # noqa: FBT001  (a count)
        """Count a request of a key that is sampled.

        Args:
            name: of the units.
            key: hash of 64 bits.
            event: whether it failed, or differed.
            now: seconds since 1970.

        Returns:
            The units that ended with it.
        """
        self._take(key)
        place = name, key
        if place not in self._units:
            self._units[place] = [int(now), 0, 0]
            self._open[place] = now
        unit = self._units[place]
        if unit is None:
            return []
        unit[1] += 1
        unit[2] += event
        return self._ended([place]) if unit[1] >= UNIT_REQUESTS else []

    def first(self, name: str, key: int, event: bool, now: float) -> list[Unit]:  # noqa: FBT001  (a count)
        """As `add`, of the first request of a key only, which is a unit of its own."""
        self._take(key)
        if (name, key) in self._units:
            return []
        self._units[name, key] = None
        return [Unit(name, key, int(now), 1, int(event))]

    def expire(self, now: float) -> list[Unit]:
        """The units that are over because of their age."""
        over = []
        for place, began in self._open.items():
            if now - began < UNIT_SECONDS:
                break
            over.append(place)
        return self._ended(over)

    def _take(self, key: int) -> None:
        if key not in self._taken:
            self._taken.add(key)
            self._at_level += 1
            if self._at_level >= LEVEL_KEYS:
                self._at_level, self._mask = 0, 2 * self._mask + 1

    def _ended(self, places: Iterable[tuple[str, int]]) -> list[Unit]:
        ended = []
        for place in places:
            unit = self._units[place]
            assert unit is not None
            ended.append(Unit(*place, *unit))
            self._units[place] = None
            del self._open[place]
        return ended
