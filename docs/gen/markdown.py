"""Markdown, as little as the generated pages need."""

from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Text that may stand in a table: one line, its bars escaped, and `<` no HTML where it is no code."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def code(text: str) -> str:
    """Text in a code span; nothing for no text."""
    return f"`{text}`" if text else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line for each row."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines) + "\n"


def page(title: str, made_from: str, *parts: str) -> str:
    """A generated page, which says so to whoever opens it to edit it."""
    note = f"<!-- Written by `make docs` from {made_from}. Do not edit. -->"
    return "\n\n".join([note, f"# {title}", *(part.strip("\n") for part in parts if part)]) + "\n"
