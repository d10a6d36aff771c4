"""Outcomes as they are told: by clients to a node or to control, and by nodes to control. Pure.

Law: a request to tell is understood whole or refused whole, with the number of the line at fault. What is
understood is taken or left out one by one, with a reason of `REASONS`, and each of them is counted.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson

from router.counting.receipt import Receipt
from router.rollout.values import Outcome
from serving.errors import InvalidInput

PATH: Final = b"/v1/outcomes"
"""At every door at which clients tell them, and within a node."""
REVISION: Final = b"x-understudy-revision"
"""Within a node: the snapshot that the worker was at, by which the outcomes are to be understood."""
MAX_LINES: Final = 10_000
"""Outcomes of one request."""
MAX_BODY_BYTES: Final = 1 << 24
"""Of a request, as it comes and inflated; most outcomes need 200."""
MAX_LINE_BYTES: Final = 32 * 1024
"""Of one outcome; the longest that is understood has less, however it is escaped."""
MAX_ARRAY_BYTES: Final = 4 << 20
"""Of an array, which is parsed in one go."""

Reason = Literal[
    "duplicate", "late", "early", "not_drawn", "ambiguous", "receipt", "rollout", "outcome", "value"
]
"""Why an outcome is not taken: told before; after its `within`; of a time to come; of an answer that nobody
was drawn for, or not among all candidates of a test; of a user who cannot be attributed, since the weights
changed at that time or the rollout draws for each request; the receipt is not one of ours; nobody knows the
rollout, or the outcome; no value that the outcome can have."""
Value = float | str | bool
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

_OF_NODES: Final = frozenset({"receipt", "model", "key", "name", "value", "time", "at"})
_OF_CLIENTS: Final = _OF_NODES - {"at"}
_LEAST: Final = 3
"""Fields of the shortest outcome: receipt, name and value."""
SKEW_SECONDS: Final = 60.0
"""By how much clocks of the fleet may differ."""
_EXACT: Final = 2**53
_LATEST: Final = 2**40
"""A time after this is one in milliseconds, or a mistake."""


class Told(NamedTuple):
    """One outcome, as told: of a receipt, or of a user of a rollout at a time.

    Args:
        name: of the outcome.
        value: the truth for an output, whether it happened, or an amount.
        receipt: of the answer; empty where only the user is known.
        model: the public name; empty with a receipt.
        key: the user, as in the header of the split; empty with a receipt.
        time: of a user, when they were answered; of a receipt when it happened, for people; seconds since
            1970.
        at: when a node took it, seconds since 1970; None as told by a client.
    """

    name: str
    value: Value
    receipt: str = ""
    model: str = ""
    key: str = ""
    time: float | None = None
    at: float | None = None


def read_lines(body: bytes, *, from_node: bool = False) -> list[Told]:
    """The outcomes of a request: one JSON object, an array of them, or one in each line.

    Args:
        body: of the request, not compressed.
        from_node: whether it is a node that tells what it took, and when.

    Raises:
        InvalidInput: it is not that; names the outcome, counted from 1.
    """
    return list(each_of(body, from_node=from_node))


def each_of(body: bytes, *, from_node: bool = False) -> Iterator[Told]:
    """As `read_lines`, one by one: between two of them others may have the event loop.

    Nothing may be done with the first before the last is read.
    """
    for number, value in enumerate(_values(body), 1):
        try:
            yield _told(value, from_node)
        except InvalidInput as error:
            raise InvalidInput(f"outcome {number}: {error}") from None


def _values(body: bytes) -> Iterable[Any]:
    stripped = body.strip()
    if not stripped:
        raise InvalidInput("no outcome: expected a JSON object, an array of them, or one in each line")
    if stripped[:1] == b"[":
        return _of_array(stripped)
    count = stripped.count(b"\n") + 1
    if count > 1 and len(stripped) <= MAX_LINE_BYTES and (value := _object(stripped)) is not None:
        return (value,)
    _check_count(count)
    return _of_lines(stripped)


def _of_array(text: bytes) -> list[Any]:
    if len(text) > MAX_ARRAY_BYTES:
        raise InvalidInput(f"an array of more than {MAX_ARRAY_BYTES:,} bytes: send one outcome in each line")
    try:
        values: list[Any] = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"no array of outcomes: {error}") from None
    _check_count(len(values))
    if not values:
        raise InvalidInput("no outcome: the array is empty")
    return values


def _object(text: bytes) -> Any | None:
    """An object that is written over several lines; None where it is not one."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _of_lines(text: bytes) -> Iterator[Any]:
    """What each line says; there is one more line than line feeds."""
    begin, number = 0, 0
    while begin <= len(text):
        number += 1
        end = text.find(b"\n", begin)
        end = len(text) if end < 0 else end
        if end - begin > MAX_LINE_BYTES:
            raise InvalidInput(f"outcome {number}: a line of more than {MAX_LINE_BYTES:,} bytes")
        try:
            yield orjson.loads(text[begin:end])
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"outcome {number}: no JSON: {error}") from None
        begin = end + 1


def _check_count(count: int) -> None:
    if count > MAX_LINES:
        raise InvalidInput(f"{count:,} outcomes, of which a request has at most {MAX_LINES:,}")


def _told(found: Any, from_node: bool) -> Told:  # noqa: FBT001
    if not isinstance(found, dict):
        raise InvalidInput('expected an object such as {"receipt": "...", "name": "conversion", "value": 1}')
    known = _OF_NODES if from_node else _OF_CLIENTS
    if not known >= found.keys():
        unknown = min(found.keys() - known)
        raise InvalidInput(f"{unknown[:60]!r} is not known; known: {', '.join(sorted(known))}")
    name, receipt = _text(found, "name", 128), _text(found, "receipt", 100)
    if name and receipt and len(found) == _LEAST and "value" in found and not from_node:
        return Told(name, _value(found["value"]), receipt)  # as most are; the rest could find no fault
    model, key = _text(found, "model", 128), _text(found, "key", 1000)
    value, time, at = _value(found.get("value")), _time(found, "time"), _time(found, "at")
    if not name:
        raise InvalidInput("name: which outcome it is, is not said")
    if bool(receipt) == bool(model or key):
        raise InvalidInput("expected a receipt, or model, key and time")
    if not receipt and not (model and key and time is not None):
        raise InvalidInput("by user it takes model, key and time: when they were answered")
    if from_node and at is None:
        raise InvalidInput("at: when the node took it is not said")
    return Told(name, value, receipt, model, key, time, at)


def _value(value: Any) -> Value:
    if isinstance(value, str):
        return _sound("value", value, 1000)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _EXACT:
            raise InvalidInput(f"value: {value} is beyond 2^53, where numbers are not exact; send it as text")
        return float(value)
    if not isinstance(value, float) or not math.isfinite(value):
        raise InvalidInput("value: expected a finite number, text, true or false")
    return value


def _text(found: dict[str, Any], key: str, most: int) -> str:
    text = found.get(key)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InvalidInput(f"{key}: expected text of at most {most:,} characters")
    return _sound(key, text, most)


def _sound(key: str, text: str, most: int) -> str:
    """Text that every database can hold."""
    if len(text) > most:
        raise InvalidInput(f"{key}: expected text of at most {most:,} characters, got {len(text):,}")
    if "\0" in text:
        raise InvalidInput(f"{key}: text with a character of code 0, which not every database holds")
    return text


def _time(found: dict[str, Any], key: str) -> float | None:
    """Seconds since 1970, or ISO 8601 with its offset from UTC."""
    value = found.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise InvalidInput(f"{key}: expected such as 2026-01-31T12:00:00Z, got {value[:40]!r}")
        value = moment.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise InvalidInput(f"{key}: expected seconds since 1970, or text such as 2026-01-31T12:00:00Z")
    return float(value)


def written(told: Iterable[Told], at: float) -> bytes:
    """As lines for `read_lines`, from a node that took them at this time, seconds since 1970."""
    return b"".join(line_of(each, at) for each in told)


def line_of(told: Told, at: float) -> bytes:
    """The line of one outcome, as of `written`."""
    line: dict[str, Value] = {"name": told.name, "value": told.value}
    if told.receipt:
        line["receipt"] = told.receipt
    else:
        line["model"], line["key"] = told.model, told.key
    if told.time is not None:
        line["time"] = told.time
    line["at"] = at if told.at is None else told.at
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def refusal(outcome: Outcome, value: Value, answered: float, at: float) -> Reason | None:
    """Why an outcome is not taken; None where it is.

    Args:
        outcome: as the document has it.
        value: as told.
        answered: when the request came, seconds since 1970.
        at: when it was told.
    """
    if at > answered + outcome.within_seconds:
        return "late"
    if answered > at + SKEW_SECONDS:
        return "early"
    if outcome.kind == "label" and outcome.range is None and outcome.tolerance is None:
        return None
    if isinstance(value, str) or (outcome.kind != "binary" and isinstance(value, bool)):
        return "value"
    if outcome.kind == "binary" and value not in (0, 1):
        return "value"
    if outcome.range is not None and not outcome.range[0] <= float(value) <= outcome.range[1]:
        return "value"
    return None


def drawn(receipt: Receipt) -> Reason | None:
    """Why the outcome of an answer says nothing of either side; None where it does."""
    return "not_drawn" if receipt.drawn is None else None
