"""Outcomes as they are told: by clients to a node or to control, and by nodes to control. Pure.

Law: a request to tell is understood whole or refused whole, with the number of the line at fault. What is
understood is taken or left out one by one, with a reason of `REASONS`, and each of them is counted.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson

from router.counting.receipt import Receipt
from router.rollout.values import Outcome
from serving.errors import InvalidInput

MAX_LINES: Final = 10_000
"""Outcomes of one request."""

Reason = Literal[
    "duplicate", "late", "early", "not_drawn", "ambiguous", "receipt", "rollout", "outcome", "value"
]
"""Why an outcome is not taken: told before; after its `within`; of a time to come; of an answer that nobody
was drawn for; of a time at which weights changed; the receipt is not one of ours; nobody knows the rollout,
or the outcome; no value that the outcome can have."""
Value = float | str | bool
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

_KEYS: Final = frozenset({"receipt", "model", "key", "name", "value", "time", "at"})
_SKEW_SECONDS: Final = 60.0


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
        InvalidInput: it is not that; names the line, counted from 1.
    """
    return [_told(number, value, from_node) for number, value in enumerate(_values(body), 1)]


def _values(body: bytes) -> Iterable[Any]:
    stripped = body.strip()
    if not stripped:
        raise InvalidInput("no outcome: expected a JSON object, an array of them, or one in each line")
    if stripped[:1] == b"[" or b"\n" not in stripped:
        found = _json(1, stripped)
        values = found if isinstance(found, list) else [found]
    else:
        lines = stripped.split(b"\n")
        if len(lines) > MAX_LINES:
            raise InvalidInput(f"{len(lines):,} outcomes, of which a request has at most {MAX_LINES:,}")
        return (_json(number, line) for number, line in enumerate(lines, 1))
    if len(values) > MAX_LINES:
        raise InvalidInput(f"{len(values):,} outcomes, of which a request has at most {MAX_LINES:,}")
    return values


def _json(number: int, text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"outcome {number}: no JSON: {error}") from None


def _told(number: int, value: Any, from_node: bool) -> Told:  # noqa: FBT001
    try:
        return _of(value, from_node)
    except InvalidInput as error:
        raise InvalidInput(f"outcome {number}: {error}") from None


def _of(value: Any, from_node: bool) -> Told:  # noqa: FBT001
    if not isinstance(value, dict):
        raise InvalidInput('expected an object such as {"receipt": "...", "name": "conversion", "value": 1}')
    known = _KEYS if from_node else _KEYS - {"at"}
    if unknown := sorted(value.keys() - known):
        raise InvalidInput(f"{unknown[0][:60]!r} is not known; known: {', '.join(sorted(known))}")
    told = value.get("value")
    if isinstance(told, int) and not isinstance(told, bool):
        told = float(told) if abs(told) <= 2**53 else None
    if not isinstance(told, Value) or (isinstance(told, float) and not math.isfinite(told)):
        raise InvalidInput("value: expected a finite number, text, true or false")
    if isinstance(told, str) and len(told) > 1000:
        raise InvalidInput("value: text of more than 1,000 characters")
    name, receipt = _text(value, "name", 128), _text(value, "receipt", 100)
    model, key = _text(value, "model", 128), _text(value, "key", 1000)
    time, at = _time(value.get("time")), _time(value.get("at"))
    if not name:
        raise InvalidInput("name: which outcome it is, is not said")
    if bool(receipt) == bool(model or key):
        raise InvalidInput("expected a receipt, or model, key and time")
    if not receipt and not (model and key and time is not None):
        raise InvalidInput("by user it takes model, key and time: when they were answered")
    if from_node and at is None:
        raise InvalidInput("at: when the node took it is not said")
    return Told(name, told, receipt, model, key, time, at)


def _text(value: dict[str, Any], key: str, most: int) -> str:
    text = value.get(key, "")
    if not isinstance(text, str) or len(text) > most:
        raise InvalidInput(f"{key}: expected text of at most {most} characters")
    return text


def _time(value: Any) -> float | None:
    """Seconds since 1970, or ISO 8601 with its offset from UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise InvalidInput(f"time: expected such as 2026-01-31T12:00:00Z, got {value[:40]!r}")
        return moment.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise InvalidInput("time: expected seconds since 1970, or text such as 2026-01-31T12:00:00Z")
    return float(value)


def written(told: Iterable[Told], at: float) -> bytes:
    """As lines for `read_lines`, from a node that took them at this time, seconds since 1970."""
    return b"".join(
        orjson.dumps(
            {
                **{key: value for key, value in each._asdict().items() if value not in ("", None)},
                "value": each.value,
                "at": each.at or at,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for each in told
    )


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
    if answered > at + _SKEW_SECONDS:
        return "early"
    if outcome.kind == "label" and outcome.range is None and outcome.tolerance is None:
        return None
    if isinstance(value, str):
        return "value"
    if outcome.kind == "binary" and value not in (0, 1):
        return "value"
    if outcome.range is not None and not outcome.range[0] <= float(value) <= outcome.range[1]:
        return "value"
    return None


def drawn(receipt: Receipt) -> Reason | None:
    """Why the outcome of an answer says nothing of either side; None where it does."""
    return "not_drawn" if receipt.drawn is None else None
