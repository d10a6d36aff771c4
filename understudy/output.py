"""How commands speak: tables for people, JSON for programs, one line for an error."""

from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.table import Table

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
