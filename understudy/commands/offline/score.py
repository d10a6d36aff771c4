"""`understudy score`: a file of rows in, a folder of answers out.

Exit codes: 0 done; with a canary 0 proven, 3 harmful, 5 undecided.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from router.rollout.values import Rollout
from serving.document import DocumentError
from serving.errors import InvalidInput, ServingError
from understudy.arguments import fraction
from understudy.commands.offline.test import RolloutFile, RolloutName, read_rollout
from understudy.output import Json, emit_json, fail, table
from understudy.places import Models, origin_of

if TYPE_CHECKING:
    from understudy.scoring.asked import CanaryAsked, CanaryOutcome, Outcome

SECONDS_BETWEEN_LINES = 30.0
"""Where nobody looks at a terminal, progress is a line so often."""

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="A file of rows: .parquet, .csv, .jsonl, .arrow, .feather")
]
Folder = Annotated[
    Path, typer.Argument(metavar="OUT", help="The folder of the answers, as Parquet; begun, or gone on with")
]
Model = Annotated[
    str, typer.Option("--model", help="The model, e.g. digits/1; a name alone is the highest it serves")
]
Keep = Annotated[
    str,
    typer.Option(help="Columns of IN that OUT has too: others (than inputs), all, none, or names: id,date"),
]
MaxBad = Annotated[
    str,
    typer.Option("--max-bad", help="End once more rows are bad, e.g. 100 or 1%; left out: never"),
]
Jobs = Annotated[int, typer.Option(min=0, max=1024, help="Chunks at work at a time; 0: one for each CPU")]
Batch = Annotated[
    int, typer.Option(min=0, help="Rows of one run, where they may run together; 0: tried which is fast")
]
Canary = Annotated[str, typer.Option("--canary", help="A model that scores a share of the rows too")]
Share = Annotated[
    float, typer.Option("--share", parser=fraction, help="Of the rows, drawn by their number and --salt")
]
StopOn = Annotated[
    Literal["harmful", "never"], typer.Option("--stop-on", help="When the canary scores no more rows")
]
Serve = Annotated[
    bool, typer.Option("--serve-canary", help="Of the rows that it scores, its answers are the output")
]
Salt = Annotated[
    str, typer.Option(help="Of the draw; left out: another one for each file, by its name and time")
]


def score(
    source: Source,
    folder: Folder,
    model: Model = "",
    keep: Keep = "others",
    max_bad: MaxBad = "",
    jobs: Jobs = 0,
    batch: Batch = 0,
    canary: Canary = "",
    share: Share = "5%",  # type: ignore[assignment]  # typer parses defaults too
    stop_on: StopOn = "harmful",
    serve_canary: Serve = False,
    salt: Salt = "",
    rollout: RolloutName = "",
    rollouts: RolloutFile = Path("rollouts.yaml"),
    models: Models = None,
    json: Json = False,
) -> None:
    """Score the rows of a file, each once; the same command goes on where a killed one ended.

    OUT becomes a folder of Parquet files. Rows without an answer are in OUT/_bad, with the reason.
    """
    from serving.host.cpus import available_cpus
    from understudy.scoring.asked import Asked

    try:
        if not model:
            raise InvalidInput("by which model? name it by --model, e.g. digits/1")
        asked_canary = None
        if canary:
            document = read_rollout(rollouts, rollout) if rollout else None
            asked_canary = _canary(canary, share, salt, stop_on, document, serves=serve_canary)
        asked = Asked(
            source,
            folder,
            origin_of(models),
            model,
            keep,
            jobs or available_cpus(),
            _most_bad(max_bad),
            batch,
            asked_canary,
        )
        with _progress(quiet=json) as note:
            found = _scored(asked, note)
    except (ServingError, DocumentError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror or error}")
    if json:
        emit_json(_as_json(found))
    else:
        _show(found)
    raise typer.Exit(found.exit_code)


def _scored(asked: Any, note: Callable[[int, int], None]) -> "Outcome":
    try:
        from understudy.scoring.job import score as run
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        raise ServingError("scoring files needs: pip install 'understudy[records]'") from None
    return run(asked, note)


def _canary(
    key: str, share: float, salt: str, stop_on: str, document: Rollout | None, *, serves: bool
) -> "CanaryAsked":
    from understudy.scoring.asked import CanaryAsked

    if not share:
        raise InvalidInput("--share 0%: a canary that scores no row shows nothing; leave --canary out")
    return CanaryAsked(key, share, salt, stop_on == "harmful", serves, document)


def _most_bad(text: str) -> int | float | None:
    """So many rows, or as a float a share of them; None for no limit."""
    if not text:
        return None
    if text.endswith("%"):
        return fraction(text)
    if not text.isdecimal():
        raise InvalidInput(f"--max-bad {text}: expected a number of rows, e.g. 100, or a share, e.g. 1%")
    return int(text)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Rows, their rate and time to go, on standard error; where no terminal is, as a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from understudy.scoring.pace import Pace

    console, pace = Console(stderr=True), Pace(SECONDS_BETWEEN_LINES)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} rows/s, to go"),
        TimeRemainingColumn(),
    )
    shown = not quiet and console.is_terminal
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        task = progress.add_task("", total=None, rate=0.0)

        def note(done: int, total: int) -> None:
            line = pace.at(done, total)
            progress.update(task, completed=done, total=total, rate=pace.rate)
            if line and not quiet and not shown:
                typer.echo(line, err=True)

        yield note


def _show(found: "Outcome") -> None:
    went_on = f", {found.before:,} of them before it went on" if found.before else ""
    rate = (found.rows + found.bad - found.before) / max(found.seconds, 1e-9)
    typer.echo(
        f"{found.rows:,} rows scored by {found.model} (sha256 {found.digest[:12]}){went_on},"
        f" {found.bad:,} bad, in {found.seconds:,.1f} s ({rate:,.0f} rows/s):"
        f" {found.folder} has {found.parts:,} parts"
    )
    if found.bad:
        typer.echo(f"bad rows, with reasons: {found.folder}/_bad/*.jsonl")
    if found.canary is not None:
        _show_canary(found.canary)


def _show_canary(canary: "CanaryOutcome") -> None:
    stopped = "" if canary.stopped is None else f", and was found harmful after part {canary.stopped}"
    typer.echo(f"\n{canary.judgement.verdict}: {canary.model} scored {canary.rows:,} rows too{stopped}")
    rows = [[guard.guard, guard.verdict, guard.reason] for guard in canary.judgement.guards]
    table("", ["check", "verdict", "what is known"], rows)
    for note in canary.notes:
        typer.echo(f"- {note}")


def _as_json(found: "Outcome") -> dict[str, Any]:
    from control.judging.verdicts import as_json

    told = asdict(found) | {"exit_code": found.exit_code}
    if found.canary is not None:
        told["canary"]["judgement"] = as_json(found.canary.judgement)
        told["verdict"] = found.canary.judgement.verdict
    return told
