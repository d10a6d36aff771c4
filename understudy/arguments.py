"""How options are written: the same durations and shares as in the rollout file."""

import math

import typer

from serving.document import Node
from serving.errors import InvalidInput


def fraction(text: str) -> float:
    """`5%` or `0.05`, as a fraction from 0 to 1.

    Raises:
        BadParameter: it is neither.
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"expected a percentage, e.g. 5%, got {text!r}")
    return value


def duration(text: str) -> float:
    """`250ms`, `30s` or `1h30m`, in seconds.

    Raises:
        BadParameter: it is no duration.
    """
    try:
        return Node(text, "", 1, 1, "").duration()
    except InvalidInput:
        raise typer.BadParameter(f"expected a duration, e.g. 20ms or 10m, got {text!r}") from None


def header(text: str) -> tuple[str, str]:
    """`name: value`.

    Raises:
        BadParameter: it is not one line of that form.
    """
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable() or " " in name.strip():
        raise typer.BadParameter(f"expected 'name: value', got {text!r}")
    return name.strip(), value.strip()
