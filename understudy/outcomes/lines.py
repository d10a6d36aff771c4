"""Rows of somebody's file as outcomes to be told: which columns, which values, and what SageMaker calls them.

Law: a row becomes exactly one outcome that a door understands, or is refused with the reason. Nothing is
guessed but the type of a text cell, where the file has no types. Pure.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import orjson

from router.counting.receipt import LENGTH
from router.wire.outcomes import read_lines
from serving.errors import InvalidInput

COLUMNS: Final = ("receipt", "model", "key", "name", "value", "time")
"""What doors are told."""
REQUEST_ID: Final = "request_id"
READ: Final = (*COLUMNS, REQUEST_ID)
"""What is read of a row; other columns are not."""
_WORDS: Final = {"true": True, "false": False}
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LEADING_ZERO: Final = re.compile(r"[+-]?0\d")
_GROUND_TRUTH: Final = "groundTruthData"
_RECEIPT: Final = re.compile(rf"[A-Za-z0-9_-]{{{LENGTH}}}")


class NoRecord(InvalidInput):
    """A request whose receipt is not known."""


class Missing(NamedTuple):
    """What the rows of a file do not say, and the person who tells it does.

    Args:
        name: of the outcome; empty where each row has one.
        model: the public name, of rows by user; empty where each row has one.
        receipts: by request id, of rows without a receipt; None where nobody says where they are.
    """

    name: str = ""
    model: str = ""
    receipts: Mapping[str, str] | None = None


def request_id_of(row: Mapping[str, Any]) -> str | None:
    """By which its receipt is to be looked up; None where it has one, or neither."""
    try:
        said = _ground_truth(row) if _GROUND_TRUTH in row else row
    except InvalidInput:
        return None
    found = said.get(REQUEST_ID)
    return found if isinstance(found, str) and found and not said.get("receipt") else None


def line_of(row: Mapping[str, Any], missing: Missing) -> bytes:
    """A row as a line of `POST /v1/outcomes`, with its end.

    Args:
        row: values by column; None and columns that nobody reads are left out.
        missing: what it does not say.

    Raises:
        InvalidInput: no door would understand it; says which column is at fault.
        NoRecord: it names its request by an id, and that has no receipt, or several.
    """
    said = _ground_truth(row) if _GROUND_TRUTH in row else row
    request = request_id_of(row)
    if request is not None:
        said = {**said, "receipt": _receipt(request, missing)}
    told = {key: _plain(key, said[key]) for key in COLUMNS if said.get(key) not in (None, "")}
    if missing.name:
        told.setdefault("name", missing.name)
    if missing.model and "receipt" not in told:
        told.setdefault("model", missing.model)
    if "name" not in told:
        raise InvalidInput("name: which outcome it is, is not said; name all of them by --name")
    line = orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)
    try:
        read_lines(line)
    except InvalidInput as error:
        raise InvalidInput(str(error).removeprefix("outcome 1: ")) from None
    return line


def typed(column: str, text: str) -> Any:
    """What a cell of a file without types says: values and times are numbers where they look like one.

    A number with leading zeros, such as a post code, stays text. An empty cell says nothing.
    """
    if column not in ("value", "time") or not text:
        return text or None
    if column == "value" and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text) and not _LEADING_ZERO.match(text):
        return float(text)
    return text


def _receipt(request: str, missing: Missing) -> str:
    if missing.receipts is None:
        raise InvalidInput(
            f"{REQUEST_ID}: {request[:80]!r} is no receipt; say by --records which prediction log has its"
        )
    receipt = missing.receipts.get(request)
    if receipt is None:
        raise NoRecord(f"{REQUEST_ID}: no one answer of {request[:80]!r} is in the prediction log")
    return receipt


def _plain(column: str, value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case datetime() if value.tzinfo is None:
            raise InvalidInput(f"{column}: a time without a time zone; write it in UTC, with its zone")
        case datetime():
            return value.isoformat()
        case Decimal():
            return float(value)
        case str() | int() | float():
            return value
        case _:
            raise InvalidInput(
                f"{column}: expected text, a number, true or false, not {type(value).__name__}"
            )


def _ground_truth(row: Mapping[str, Any]) -> dict[str, Any]:
    """What SageMaker Model Monitor calls a record of ground truth, by the names that we have."""
    match row:
        case {
            "groundTruthData": {"data": str(data), "encoding": "CSV"},
            "eventMetadata": {"eventId": str(event)},
        }:
            column = "receipt" if _RECEIPT.fullmatch(event) else REQUEST_ID
            return {column: event, "value": typed("value", data.strip())}
        case {"groundTruthData": {"encoding": encoding}} if encoding != "CSV":
            raise InvalidInput(f"groundTruthData: encoding {str(encoding)[:20]!r}; known: CSV, of one value")
    raise InvalidInput(
        'expected {"groundTruthData": {"data": "1", "encoding": "CSV"},'
        ' "eventMetadata": {"eventId": RECEIPT}}'
    )
