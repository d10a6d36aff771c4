"""How commands speak: tables for people, JSON for programs, one line for an error."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from control.judging.verdicts import e_value

WORST_SEGMENTS = 5
"""So many are listed; `--json` has all."""

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]


def fail(message: str) -> NoReturn:
    """End with exit code 1 and a line on standard error."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


def emit_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of plain text: what looks like markup or an emoji in a reason is none."""
    drawn = Table(*columns, title=title, title_justify="left", box=None, header_style="bold")
    for row in rows:
        drawn.add_row(*row)
    Console(markup=False, emoji=False).print(drawn)


def segment_tables(view: Mapping[str, Any]) -> list[Table]:
    """The segments of a rollout that look worst; nothing where none has errors, or nobody looks at them."""
    segments = view.get("segments")
    if not segments or not segments["rows"]:
        return []
    drawn = Table(segments["header"], "canary errors", "stable errors", "harm", "harmed", box=None)
    for row in segments["rows"][:WORST_SEGMENTS]:
        harmed = "yes" if row["named"] else "not shown"
        cells = row["value"], f"{row['canary']:,}", f"{row['stable']:,}", e_value(row["log_harm"]), harmed
        drawn.add_row(*map(Text, cells))
    more = len(segments["rows"]) - WORST_SEGMENTS
    if more > 0:
        drawn.add_row(f"and {more} more")
    return [drawn]


def outcome_tables(view: Mapping[str, Any]) -> list[Table]:
    """What was told of a rollout's answers; nothing where its document has no outcomes."""
    if not view["outcomes"]:
        return []
    drawn = Table("outcome", "kind", "taken", "not mature", "left out", box=None)
    for row in view["outcomes"]:
        left = ", ".join(f"{number:,} {reason}" for reason, number in row["left_out"].items())
        waiting = "-" if row["kind"] == "label" else f"{row['waiting']:,}"
        cells = row["name"], row["kind"], f"{row['taken']:,}", waiting, left or "none"
        drawn.add_row(*map(Text, cells))
    return [drawn]
