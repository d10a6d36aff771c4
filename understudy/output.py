"""How commands speak: tables for people, JSON for programs, one line for an error.

What draws tables is imported by the command that draws one: processes that stay only `fail`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import orjson
import typer

if TYPE_CHECKING:
    from pydantic import ValidationError
    from rich.table import Table

WORST_SEGMENTS = 5
"""So many are listed; `--json` has all."""

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]


def fail(message: str) -> NoReturn:
    """End with exit code 1 and a line on standard error."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


def fault_of_settings(error: "ValidationError") -> tuple[tuple[str, ...], str]:
    """Where the first fault of settings is, and what it is."""
    fault = error.errors(include_input=False)[0]
    return tuple(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")


def emit_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of plain text: what looks like markup or an emoji in a reason is none."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*columns, title=title, title_justify="left", box=None, header_style="bold")
    for row in rows:
        drawn.add_row(*row)
    Console(markup=False, emoji=False).print(drawn)


def segment_tables(view: Mapping[str, Any]) -> "list[Table]":
    """The segments of a rollout that look worst; nothing where none has errors, or nobody looks at them."""
    segments = view.get("segments")
    if not segments or not segments["rows"]:
        return []
    from rich.table import Table
    from rich.text import Text

    from control.judging.verdicts import e_value

    drawn = Table(segments["header"], "canary errors", "stable errors", "harm", "harmed", box=None)
    for row in segments["rows"][:WORST_SEGMENTS]:
        harmed = "yes" if row["named"] else "not shown"
        cells = row["value"], f"{row['canary']:,}", f"{row['stable']:,}", e_value(row["log_harm"]), harmed
        drawn.add_row(*map(Text, cells))
    more = len(segments["rows"]) - WORST_SEGMENTS
    if more > 0:
        drawn.add_row(f"and {more} more")
    return [drawn]


def outcome_tables(view: Mapping[str, Any]) -> "list[Table]":
    """What was told of a rollout's answers; nothing where its document has no outcomes."""
    if not view["outcomes"]:
        return []
    from rich.table import Table
    from rich.text import Text

    drawn = Table("outcome", "kind", "taken", "not mature", "left out", box=None)
    for row in view["outcomes"]:
        left = ", ".join(f"{number:,} {reason}" for reason, number in row["left_out"].items())
        waiting = "-" if row["kind"] == "label" else f"{row['waiting']:,}"
        cells = row["name"], row["kind"], f"{row['taken']:,}", waiting, left or "none"
        drawn.add_row(*map(Text, cells))
    return [drawn]


def given_shares(view: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Who takes a part of the traffic beside stable: target, weight and mirror, both in percent."""
    serving = view["serving"]
    if serving["canary"]:
        return [(serving["canary"], serving["weight"], serving["mirror"])]
    candidates = view.get("candidates", ())  # an older control has none
    return [(row["target"], row["weight"], row["mirror"]) for row in candidates if row["on"]]


def candidate_tables(view: Mapping[str, Any]) -> "list[Table]":
    """Each candidate of an A/B/n test, and how the search for the best stands; nothing without a test."""
    if not view.get("candidates"):  # an older control has no such tests
        return []
    from rich.table import Table
    from rich.text import Text

    drawn = Table("", "candidate", "share", "mirror", "ready in", "state", "judged by its guards", box=None)
    for row in view["candidates"]:
        ready = f"{sum(row['ready'].values())} of {len(row['ready'])}" if row["on"] else "-"
        state = "compared" if row["on"] else f"off: {row['reason']}"
        if row["target"] == view["serving"]["stable"]:
            state = "stable now"
        judgement = row["judgement"]
        judged = "-" if judgement is None else judgement["hold"] or judgement["verdict"]
        shares = f"{row['weight']:g}%", f"{row['mirror']:g}%"
        drawn.add_row(*map(Text, (str(row["number"]), row["target"], *shares, ready, state, judged)))
    return [drawn, *_best_tables(view["best"])]


def _best_tables(best: Mapping[str, Any] | None) -> "list[Table]":
    if best is None or not best["sides"]:
        return []
    from rich.table import Table
    from rich.text import Text

    drawn = Table(f"best by {best['outcome']}", "outcomes", "sum", "beside stable", "", box=None)
    for side in best["sides"]:
        beside = "-" if side["to_stable"] is None else f"{side['to_stable']:.3g}"
        total = f"{side['total']:,.6g}" if side["total"] else "-"
        cells = side["target"], f"{side['units']:,.0f}", total, beside, _place(best, side)
        drawn.add_row(*map(Text, cells))
    return [drawn]


def _place(best: Mapping[str, Any], side: Mapping[str, Any]) -> str:
    """What is known of one side."""
    if side["target"] == best["found"]:
        return "best"
    if not side["on"]:
        return "off"
    return "ahead" if side["target"] == best["leader"] and best["found"] is None else ""


@contextmanager
def progress_of_rows(first: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar of rows; on standard error, so that figures can be piped.

    Args:
        first: what is done before the first row.
        quiet: show nothing.

    Yields:
        What is told what is being done, and how many of how many rows are done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task(first, total=None)

        def note(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        yield note
