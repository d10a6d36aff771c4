"""`understudy outcomes`: what became known of answers, from a file or one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import orjson
import typer

from serving.errors import ServingError
from understudy.admin import HERE, Admin, Ca, Token, connected, trust
from understudy.output import Json, emit_json, fail

if TYPE_CHECKING:
    from understudy.outcomes.files import Checked
    from understudy.outcomes.lines import Missing
    from understudy.outcomes.telling import Tally

LEFT_OUT = 3
"""Exit code where some were left out for another reason than having been told before."""

_ANSWER_SECONDS = 120.0
"""Of a door: a batch is written to a database, or to a disk, before it is answered."""

app = typer.Typer(no_args_is_help=True, help="Outcomes: what became known of answers after they were given")

Node = Annotated[
    str,
    typer.Option(
        "--node", help="URL of a node's public door, to tell them there; --token is an API key then"
    ),
]


@app.callback()
def connect(ca: Ca = None) -> None:
    """Outcomes: what became known of answers after they were given."""
    trust(ca)


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(help=".parquet, .csv or .jsonl: receipt,name,value or model,key,name,value,time")
    ],
    name: Annotated[str, typer.Option("--name", help="Of the outcome, where rows have no name")] = "",
    model: Annotated[str, typer.Option("--model", help="Public name, where rows by key have none")] = "",
    records: Annotated[
        str,
        typer.Option(
            "--records",
            help="The prediction log (folder or URL), where rows have a `request_id` and no receipt",
            envvar="UNDERSTUDY_RECORDS",
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, tell nobody")] = False,
    node: Node = "",
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Tell the outcomes of a file: labels, conversions, amounts; also ground truth in SageMaker's JSON lines.

    The whole file is checked first, and with a row that is not understood none is told. After an interruption
    run it again: a door takes each outcome once. Exit code 0: all were taken or known; 3: some were left out,
    with the reasons; 1: it was not, or not wholly, told.
    """
    from understudy.outcomes.files import check
    from understudy.outcomes.lines import Missing
    from understudy.outcomes.telling import Tally

    missing = Missing(name, model, _receipts(file, records, model) if records else None)
    try:
        checked = check(file, missing)
    except ServingError as error:
        fail(str(error))
    _refuse_faults(checked)
    if checked.unread:
        typer.echo(f"not read: {', '.join(checked.unread)}", err=True)
    if dry_run:
        emit_json({"rows": checked.rows}) if json else typer.echo(f"{checked.rows:,} outcomes, none told")
        return
    tally = Tally()
    with telling(node, admin, token) as client:
        _tell_all(client, file, missing, checked.rows - checked.unrecorded, tally)
    if checked.unrecorded:
        tally.left_out["no_record"] = checked.unrecorded
    _end(tally, json=json)


@app.command()
def tell(
    receipt: Annotated[str, typer.Argument(help="`x-understudy-receipt` of the answer")],
    name: Annotated[str, typer.Argument(help="Of the outcome, as in the rollout")],
    value: Annotated[str, typer.Argument(help="A number, true, false, or a label's text")],
    time: Annotated[str, typer.Option("--time", help="When it happened, e.g. 2026-01-31T12:00:00Z")] = "",
    node: Node = "",
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Tell the outcome of one answer."""
    from understudy.outcomes.files import Line
    from understudy.outcomes.lines import Missing, line_of, typed
    from understudy.outcomes.telling import Tally
    from understudy.outcomes.telling import tell as tell_door

    told = {"receipt": receipt, "name": name, "value": typed("value", value), "time": typed("time", time)}
    tally = Tally()
    try:
        line = Line(name, line_of(told, Missing()))
        with telling(node, admin, token) as client:
            tell_door(client, [line], tally)
    except ServingError as error:
        fail(str(error))
    _end(tally, json=json)


@contextmanager
def telling(node: str, admin: str, token: str) -> Iterator[httpx.Client]:
    """A client of the door that outcomes are told to: a node's where one is named, else control's."""
    with connected(node.rstrip("/") or admin, token) as client:
        client.timeout = httpx.Timeout(_ANSWER_SECONDS, connect=10.0)
        yield client


def _receipts(file: Path, records: str, model: str) -> dict[str, str]:
    """Those of the requests that the file names by their ids."""
    from understudy.commands.records import reading, wanted
    from understudy.outcomes.files import request_ids

    with reading(records) as place:
        ids = request_ids(file)
        if not ids:
            return {}
        from understudy.outcomes.recorded import receipts_of

        return receipts_of(place, wanted(model, ""), ids)


def _refuse_faults(checked: "Checked") -> None:
    """End the command where a row was not understood; nothing was told."""
    for fault in checked.faults:
        typer.echo(f"error: {fault}", err=True)
    if more := checked.faulty - len(checked.faults):
        typer.echo(f"error: {more:,} rows more are not understood", err=True)
    if checked.faulty:
        fail(f"{checked.faulty:,} of {checked.rows:,} rows are not understood; none was told")


def _tell_all(client: httpx.Client, file: Path, missing: "Missing", rows: int, tally: "Tally") -> None:
    """Tell all rows, with a bar on a terminal; what stops it ends the command, and says how far it came."""
    from rich.console import Console
    from rich.progress import Progress

    from understudy.outcomes.files import lines
    from understudy.outcomes.telling import batches, tell

    console = Console(stderr=True)
    try:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("outcomes", total=rows)
            for batch in batches(lines(file, missing)):
                tell(client, batch, tally)
                progress.update(bar, completed=tally.told)
    except (ServingError, httpx.HTTPError, KeyboardInterrupt) as error:
        why = str(error) or "interrupted"
        fail(
            f"{why}; {tally.told:,} of {rows:,} outcomes were told ({tally.accepted:,} taken)."
            " Run it again: none counts twice"
        )


def _end(tally: "Tally", *, json: bool) -> None:
    """Say what became of them, and end with the exit code for it."""
    if json:
        said = {
            "told": tally.told,
            "accepted": tally.accepted,
            "left_out": dict(tally.left_out),
            "examples": tally.examples,
        }
        typer.echo(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode())
    else:
        reasons = [f"{number:,} {reason}" for reason, number in tally.left_out.most_common() if number]
        left = f", left out: {', '.join(reasons)}" if reasons else ""
        for example in tally.examples:
            typer.echo(f"left out: {example}", err=True)
        typer.echo(f"{tally.accepted:,} of {tally.told:,} taken{left}")
    if tally.refused:
        raise typer.Exit(LEFT_OUT)
