"""Counts that are left out of a report because control has them. Pure.

Law: control has of each stage of a process exactly what that process last told and knows to have been taken.
Counts are cumulative, so a lost report loses nothing: what it told is told again until an answer came. A
report that leaves something out names the report on which it rests, and control takes it only where it heard
that one or a later one; else it asks for everything. An older report that comes late changes nothing.
What is told once (keys, units) is never left out. A row that replaces the one before at its place (a target)
is left out where all reports since the one it rests on, the hurried ones too, had the same there. How far a
stage is settled moves on without any request: of those left out one number says it for all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from router.counting.stage_counts import SPAN_SECONDS, StageCounts

Place = tuple[str, int, str]
"""The public name of a rollout, a stage of it, and in an A/B/n test the key of the candidate; else empty."""

_NO_KEYS: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
_NO_SEGMENTS: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
ABREAST_SECONDS = 1.0
"""Stages of one process are settled one after the other; one that is farther back waits for something."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a report says of counts.

    Attributes:
        number: of the report.
        base: the report on which it rests; 0 leaves nothing out.
        counts: of the stages that are told.
        settled_until: seconds since 1970 until which the others are complete; 0 where there are none.
        moved: of each table of rows those that the report on which it rests may not have, by place; None for
            one that is gone. Of a report that rests on none all rows.
    """

    number: int
    base: int
    counts: Mapping[Place, StageCounts]
    settled_until: float = 0.0
    moved: Sequence[Mapping[Any, object]] = ()


class _Table:
    """Rows, each of which replaces the one before at its place."""

    def __init__(self) -> None:
        self._rows: dict[object, object] = {}  # None for one that is gone
        self._since: dict[object, int] = {}  # the first report that had it so, as all after it
        self._latest = 0  # of those

    def say(self, rows: Mapping[Any, object], number: int) -> None:
        """What the next report has."""
        if rows == self._rows:
            return
        self._latest = number
        for place, row in rows.items():
            before = self._rows.get(place)
            if before is not row and before != row:
                self._rows[place], self._since[place] = row, number
        for place in self._rows.keys() - rows.keys():
            if self._rows[place] is not None:
                self._rows[place], self._since[place] = None, number

    def moved(self, base: int) -> dict[Any, object]:
        """Those that changed after that report."""
        if base >= self._latest:
            return {}
        return {
            place: row
            for place, row in self._rows.items()
            if self._since[place] > base and (base > 0 or row is not None)
        }

    def taken(self, base: int) -> None:
        """Control has that report: what was gone by then need not be remembered."""
        for place in [place for place, row in self._rows.items() if row is None]:
            if self._since[place] <= base:
                del self._rows[place], self._since[place]


class Ledger:
    """What control has of the counts of this process."""

    def __init__(self) -> None:
        self._number = 0
        self._base = 0
        self._taken: dict[Place, StageCounts] = {}
        self._told: Telling | None = None  # in the exchange under way
        self._tables: list[_Table] = []

    @property
    def begun(self) -> bool:
        """Whether control has anything."""
        return self._base > 0

    def telling(
        self,
        counts: Mapping[Place, StageCounts],
        rows: Sequence[Mapping[Any, object]] = (),
        *,
        hurried: bool = False,
    ) -> "Telling":
        """Begin the next report of all that was counted; one that is hurried is told beside the exchange.

        Args:
            counts: all of them.
            rows: tables of what else it says, by place, of which control keeps what was said last; as many
                each time.
            hurried: whether it is beside the exchange.
        """
        self._number += 1
        self._tables = self._tables or [_Table() for _ in rows]
        for table, found in zip(self._tables, rows, strict=True):
            table.say(found, self._number)
        moved = [table.moved(self._base) for table in self._tables]
        telling = Telling(self._number, self._base, counts, self._taken, moved)
        if not hurried:
            self._told = telling
        return telling

    def answered(self) -> None:
        """Control has taken the report of the exchange, or a hurried one that was made after it."""
        if self._told is not None:
            self._base = self._told.told.number
            for table in self._tables:
                table.taken(self._base)
            self._taken |= {place: _lasting(found) for place, found in self._told.told.counts.items()}

    def begin_anew(self) -> None:
        """Control does not have what is left out: the next report is whole."""
        self._base = 0
        self._taken = {}
        self._told = None


class Telling:
    """What a report says of counts, while it is made: `places` has to be gone through first."""

    def __init__(
        self,
        number: int,
        base: int,
        counts: Mapping[Place, StageCounts],
        taken: Mapping[Place, StageCounts],
        moved: Sequence[Mapping[Any, object]],
    ) -> None:
        self._number, self._base, self._moved = number, base, moved
        self._counts, self._taken = counts, dict(taken)
        self._rows: dict[Place, StageCounts] = {}
        self._until = max((found.settled_until for found in counts.values()), default=0.0)

    def places(self) -> Iterator[Place]:
        """Go through the stages, so that others may have the event loop in between."""
        abreast = self._until - ABREAST_SECONDS
        for place, found in self._counts.items():
            before = self._taken.get(place)
            news = found.units or any(found.error_keys) or found.settled_until < abreast
            if before is None or news or before != _lasting(found):
                self._rows[place] = found
            else:
                self._until = min(self._until, found.settled_until)
            yield place

    @property
    def told(self) -> Told:
        """The report's part."""
        all_told = len(self._rows) == len(self._counts)
        until = 0.0 if all_told else self._until
        return Told(self._number, self._base, self._rows, until, self._moved)


def still(counts: StageCounts, settled_until: float) -> StageCounts:
    """Counts that a report leaves out, settled as far as it says."""
    if counts.settled_until <= 0.0 or settled_until <= counts.settled_until:
        return counts
    return replace(counts, settled_until=settled_until, open_span=int(settled_until // SPAN_SECONDS))


def _lasting(counts: StageCounts) -> StageCounts:
    """What of it stays the same until something is counted, or until it is told."""
    return replace(
        counts,
        settled_until=0.0,
        open_span=0,
        units=(),
        error_keys=_NO_KEYS,
        error_seconds=_NO_KEYS,
        error_segments=_NO_SEGMENTS,
    )
