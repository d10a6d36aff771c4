"""Counts that are left out of a report because control has them. Pure.

Law: control has of each stage of a process exactly what that process last told and knows to have been taken.
Counts are cumulative, so a lost report loses nothing: what it told is told again until an answer came. A
report that leaves something out names the report on which it rests, and control takes it only where it heard
that one or a later one; else it asks for everything. An older report that comes late changes nothing.
What is told once (keys, units) is never left out. Rows that replace those before (targets) are left out where
all reports since the one it rests on, the hurried ones too, had the same. How far a stage is settled moves on
without any request: of those left out one number says it for all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

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
        unchanged: whether the rows beside them can be left out.
    """

    number: int
    base: int
    counts: Mapping[Place, StageCounts]
    settled_until: float = 0.0
    unchanged: bool = False


class Ledger:
    """What control has of the counts of this process."""

    def __init__(self) -> None:
        self._number = 0
        self._base = 0
        self._taken: dict[Place, StageCounts] = {}
        self._told: Telling | None = None  # in the exchange under way
        self._rows: object = None
        self._rows_since = 0  # the first report that had them, as all after it

    @property
    def begun(self) -> bool:
        """Whether control has anything."""
        return self._base > 0

    def telling(
        self, counts: Mapping[Place, StageCounts], rows: object = None, *, hurried: bool = False
    ) -> "Telling":
        """Begin the next report of all that was counted; one that is hurried is told beside the exchange.

        Args:
            counts: all of them.
            rows: what else it says, of which control keeps what was said last; compared as a whole.
            hurried: whether it is beside the exchange.
        """
        self._number += 1
        if rows != self._rows or self._rows_since == 0:
            self._rows, self._rows_since = rows, self._number
        unchanged = self._rows_since <= self._base
        telling = Telling(self._number, self._base, counts, self._taken, unchanged=unchanged)
        if not hurried:
            self._told = telling
        return telling

    def answered(self) -> None:
        """Control has taken the report of the exchange, or a hurried one that was made after it."""
        if self._told is not None:
            self._base = self._told.told.number
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
        *,
        unchanged: bool = False,
    ) -> None:
        self._number, self._base, self._unchanged = number, base, unchanged
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
        return Told(self._number, self._base, self._rows, until, self._unchanged)


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
