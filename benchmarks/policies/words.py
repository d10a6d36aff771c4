"""Cells of a CSV as people read them, and Markdown tables."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """The rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(head: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """A Markdown table; `none` when it has no rows."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in body]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines]) if lines else "none"


def number(text: str) -> float:
    """A cell as a number; NaN where it is empty."""
    return float(text) if text else float("nan")


def share(fraction: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * fraction:.3g}%"


def percent(text: str) -> str:
    """A cell with a fraction as a percentage."""
    return share(float(text)) if text else ""


def count(text: str) -> str:
    """A cell with a count."""
    return f"{float(text):,.0f}" if text else "-"


def rate(text: str) -> str:
    """A cell with requests per second."""
    return f"{float(text):g}/s"


def seconds(text: str) -> str:
    """A cell with seconds, in the unit that suits it."""
    if not text:
        return "-"
    value = float(text)
    for unit, scale in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{1000 * value:.3g} ms"


def spread(row: Row, what: str, word: Callable[[str], str] = count, of: str = "") -> str:
    """Median and 95% of something, with the share of runs that have it where `of` names that column."""
    if not row[f"{what}_median"]:
        return "never"
    some = f" ({percent(row[of])})" if of and number(row[of]) < 0.9995 else ""
    return f"{word(row[f'{what}_median'])} / {word(row[f'{what}_p95'])}{some}"


def most(rows: Iterable[Row], key: str) -> str:
    """The greatest of a column of fractions."""
    return share(max(number(row[key]) for row in rows))
