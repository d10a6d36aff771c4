"""Outcomes as they are told: checked, and written in batches.

Law: all of them are checked before any is told, and what a server makes of each is added up.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from understudy_client.errors import InvalidAnswer, InvalidData
from understudy_client.taken import LeftOut, OutcomesTaken
from understudy_client.wire.protocol import parse

MAX_LINES = 10_000
"""Outcomes of one request."""
MAX_BODY_BYTES = 8 << 20
"""Of a request; a node takes twice as much."""

Value = bool | int | float | str
Time = float | datetime

_EXACT = 2**53
_FIELDS = frozenset({"name", "value", "receipt", "model", "key", "time"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an answer, by its receipt; or of a user, by model, key and time.

    Attributes:
        name: of the outcome, as the rollout has it.
        value: the truth for an output, whether it happened, or an amount.
        receipt: of the answer.
        model: the public name, where only the user is known.
        key: the user, as in the sticky header.
        time: of a user when they were answered; of a receipt when it happened; seconds since 1970, or a
            datetime that knows its time zone.
    """

    name: str
    value: Value
    receipt: str | None = None
    model: str | None = None
    key: str | None = None
    time: Time | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Outcomes of one request.

    Attributes:
        before: how many were told in those before.
        count: how many these are.
        body: a JSON object in each line.
    """

    before: int
    count: int
    body: bytes


def batches(outcomes: Iterable[Outcome | Mapping[str, Any]]) -> list[Batch]:
    """All of them, in requests.

    Raises:
        InvalidData: one cannot be told; names it, counted from 1.
    """
    found: list[Batch] = []
    lines: list[bytes] = []
    before = size = 0
    for line in _lines(outcomes):
        if len(lines) == MAX_LINES or (lines and size + len(line) > MAX_BODY_BYTES):
            found.append(Batch(before, len(lines), b"".join(lines)))
            before += len(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    return [*found, Batch(before, len(lines), b"".join(lines))] if lines else found


def _lines(outcomes: Iterable[Outcome | Mapping[str, Any]]) -> Iterator[bytes]:
    if isinstance(outcomes, Outcome | Mapping):
        raise InvalidData("outcomes() takes several: give a list of them")
    for number, outcome in enumerate(outcomes, 1):
        try:
            yield json.dumps(_line(_outcome(outcome)), separators=(",", ":")).encode() + b"\n"
        except InvalidData as error:
            raise InvalidData(f"outcome {number}: {error}; nothing was told") from None


def _outcome(found: Outcome | Mapping[str, Any]) -> Outcome:
    if isinstance(found, Outcome):
        return found
    if not isinstance(found, Mapping):
        raise InvalidData(f"expected an Outcome or a mapping, got a {type(found).__name__}")
    if unknown := [str(key) for key in found if key not in _FIELDS]:
        raise InvalidData(f"{', '.join(unknown)} is not known; known: {', '.join(sorted(_FIELDS))}")
    if not {"name", "value"} <= found.keys():
        raise InvalidData("an outcome has a name and a value")
    return Outcome(**found)


def _line(outcome: Outcome) -> dict[str, Any]:
    line: dict[str, Any] = {"name": _text("name", outcome.name), "value": _value(outcome.value)}
    by_user = (outcome.model, outcome.key)
    if (outcome.receipt is None) == (by_user == (None, None)):
        raise InvalidData("expected a receipt, or model, key and time")
    if outcome.receipt is not None:
        line["receipt"] = _text("receipt", outcome.receipt)
    else:
        if None in (*by_user, outcome.time):
            raise InvalidData("by user it takes model, key and time: when they were answered")
        line["model"], line["key"] = _text("model", outcome.model), _text("key", outcome.key)
    if outcome.time is not None:
        line["time"] = _time(outcome.time)
    return line


def _text(field: str, text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise InvalidData(f"{field}: expected text, got {text!r}"[:200])
    return text


def _value(value: Any) -> Value:
    if isinstance(value, np.generic):
        value = value.item()  # a label is often an element of an output
    if not isinstance(value, bool | int | float | str):
        raise InvalidData(f"value: expected a number, text, True or False, got a {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidData(f"value: {value} is no finite number")
    if isinstance(value, int) and abs(value) > _EXACT:
        raise InvalidData(f"value: {value} is beyond 2^53, where numbers are not exact; tell it as text")
    return value


def _time(time: Any) -> float:
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise InvalidData("time: a datetime without its time zone; datetime.now(timezone.utc) has one")
        return time.timestamp()
    if isinstance(time, bool) or not isinstance(time, int | float | np.number) or not math.isfinite(time):
        raise InvalidData("time: expected seconds since 1970 or a datetime")
    return float(time)


def read_taken(body: bytes, batch: Batch) -> OutcomesTaken:
    """What became of a batch.

    Raises:
        InvalidAnswer: the server does not say so of each of its outcomes.
    """
    found = parse(body)
    try:
        left_out = {str(reason): int(count) for reason, count in found["left_out"].items()}
        examples = tuple(
            LeftOut(batch.before + int(each["line"]), str(each["reason"])) for each in found["examples"]
        )
        taken = OutcomesTaken(int(found["accepted"]), left_out, examples)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidAnswer(f"the answer does not say what was taken: {error!r}") from None
    if taken.told != batch.count:
        raise InvalidAnswer(f"the server speaks of {taken.told} outcomes, {batch.count} were told")
    return taken
