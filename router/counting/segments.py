"""Segments: parts of the traffic, told apart by the value of a header, and the errors in each. Pure.

Law: a value gets a place of its own when it is first seen to fail, at most so many do, and those that come
later share one, `other`. In which place an error counts is decided by its value and by what arrived before
it, never by its own role. So among the errors of a place each still has the role that its draw gave it, which
is all that the test of a place asks, whatever values come and however many. For that values are taken up in
order of settled arrival, and those of one moment in the order of their text: taken up as requests end, those
of a canary that fails at once would have places before those of a stable that times out.

Only errors are counted, not requests: a good answer is never looked at.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from serving.errors import InvalidInput

OTHER = "other"
"""All values without a place of their own; a client that sends this very value is among them."""
NONE = "none"
"""Requests without the header, or with an empty one."""
MAX_TEXT = 64
"""Characters of a value; those that are alike so far are one."""
MAX_PLACES = 100
"""Of which a process tells one more, `other`."""


class SegmentErrors(NamedTuple):
    """The errors in one segment.

    Args:
        canary: of the canary.
        stable: of stable.
        first: second since 1970 in which the first of them arrived.
    """

    canary: int = 0
    stable: int = 0
    first: int = 0

    def __add__(self, other: tuple[int, ...]) -> "SegmentErrors":  # type: ignore[override]
        canary, stable, first = other
        return SegmentErrors(self.canary + canary, self.stable + stable, min(self.first, first))


Segments = Mapping[str, SegmentErrors]
SegmentSeconds = Mapping[int, Segments]
"""Second since 1970 -> the errors of what arrived in it."""


def segment_of(value: bytes | None) -> str:
    """The segment that a header's value names: at most `MAX_TEXT` printable characters."""
    text = NONE if value is None else value.decode("utf-8", "replace").strip()[:MAX_TEXT]
    if not text.isprintable():
        text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return text or NONE


@dataclass(frozen=True, slots=True)
class Places:
    """The values that have places of their own.

    Args:
        most: at most so many.
        values: in the order in which they were taken up.
    """

    most: int
    values: tuple[str, ...] = ()

    def taken(self, values: Iterable[str]) -> "Places":
        """With these values too, in their order, as far as there is room."""
        new = [value for value in dict.fromkeys(values) if value not in self.values and value != OTHER]
        room = self.most - len(self.values)
        return Places(self.most, (*self.values, *new[:room])) if new and room > 0 else self

    def seen(self, segments: Iterable[Segments]) -> "Places":
        """With the values of these errors, in the order in which their first arrived."""
        values = {(errors.first, value) for each in segments for value, errors in each.items()}
        return self.taken(value for _, value in sorted(values))

    def of(self, value: str) -> str:
        """The place in which a value counts."""
        return value if value in self.values else OTHER

    def folded(self, segments: Segments) -> dict[str, SegmentErrors]:
        """Errors by place."""
        found: dict[str, SegmentErrors] = {}
        for value, errors in segments.items():
            place = self.of(value)
            found[place] = errors + found[place] if place in found else errors
        return found


def together(one: Segments, other: Segments) -> Segments:
    """The errors of both."""
    if not (one and other):
        return one or other
    found = dict(one)
    for value, errors in other.items():
        found[value] = errors + found[value] if value in found else errors
    return found


def apart(segments: Segments, less: Segments) -> dict[str, SegmentErrors]:
    """Without so many of them, never less than nothing; segments without errors are left out."""
    found = {}
    for value, (canary, stable, first) in segments.items():
        minus = less.get(value, SegmentErrors())
        left = SegmentErrors(max(canary - minus.canary, 0), max(stable - minus.stable, 0), first)
        if left.canary or left.stable:
            found[value] = left
    return found


def arrived_from(second: int, seconds: SegmentSeconds) -> Segments:
    """The errors of what arrived in this second or later."""
    found: Segments = {}
    for number, segments in seconds.items():
        if number >= second:
            found = together(found, segments)
    return found


# ------------------------------------------------------------------ on the wire


def segments_to_json(segments: Segments) -> list[list[Any]]:
    """Rows of value, canary, stable, first."""
    return [[value, *errors] for value, errors in segments.items()]


def segments_from_json(value: object, place: str, count: Callable[[object, str], int]) -> Segments:
    """What `segments_to_json` made.

    Args:
        value: as it was sent; columns at the end of a row that this version does not know are left out.
        place: for messages.
        count: reads a whole number of at least 0.

    Raises:
        InvalidInput: it is something else; the message names the place.
    """
    if not isinstance(value, list | tuple) or len(value) > MAX_PLACES + 1:
        raise InvalidInput(f"{place}: expected a list of at most {MAX_PLACES + 1} segments")
    width = 1 + len(SegmentErrors._fields)
    found = {}
    for row in value:
        if not isinstance(row, list | tuple) or len(row) < width:
            raise InvalidInput(f"{place}: expected [value, {', '.join(SegmentErrors._fields)}]")
        found[text_from_json(row[0], place)] = SegmentErrors(*(count(each, place) for each in row[1:width]))
    return found


def seconds_from_json(
    value: object, place: str, count: Callable[[object, str], int], most: int
) -> dict[int, Segments]:
    """As `segments_from_json`, of at most so many seconds, each with its number in front."""
    if not isinstance(value, list | tuple) or len(value) > most:
        raise InvalidInput(f"{place}: expected a list of at most {most} seconds")
    found = {}
    for row in value:
        if not isinstance(row, list | tuple) or len(row) < 2:
            raise InvalidInput(f"{place}: expected [second, segments]")
        found[count(row[0], place)] = segments_from_json(row[1], place, count)
    return found


def texts_from_json(value: object, place: str, most: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The segments of keys that erred at the canary, and at stable; at most so many of each.

    Raises:
        InvalidInput: it is something else; the message names the place.
    """
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidInput(f"{place}: expected those of the canary and those of stable")
    if not all(isinstance(each, list | tuple) and len(each) <= most for each in value):
        raise InvalidInput(f"{place}: expected lists of at most {most} segments")
    canary, stable = (tuple(text_from_json(text, place) for text in each) for each in value)
    return canary, stable


def text_from_json(value: object, place: str) -> str:
    """The text of a segment."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise InvalidInput(f"{place}: expected 1 to {MAX_TEXT} printable characters, got {value!r:.80}")
    return value
