"""`understudy records`: what was recorded, one answer in full, SQL over all of it, and fewer files.

What pyarrow and DuckDB bring is imported by the command that needs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.errors import ServingError
from understudy.arguments import duration
from understudy.output import Json, emit_json, fail, table

if TYPE_CHECKING:
    from understudy.records.place import Place, Wanted

app = typer.Typer(no_args_is_help=True, help="The prediction log: who was served what, and by whom")

Records = Annotated[
    str,
    typer.Option(
        "--records", help="Folder or URL of the records, as of the node", envvar="UNDERSTUDY_RECORDS"
    ),
]
Model = Annotated[str, typer.Option("--model", help="Only of this public name")]
Since = Annotated[str, typer.Option("--since", help="Only the hours since so long ago, e.g. 90m or 7d")]


@contextmanager
def reading(records: str) -> "Iterator[Place]":
    """The place of the records; what goes wrong with it ends the command in words."""
    try:
        from understudy.records.place import open_place

        yield open_place(records)
    except ImportError as error:
        fail(f"records need {error.name}: pip install 'understudy[records]'")
    except ServingError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or records}: {error.strerror or error}")


def wanted(model: str, since: str) -> "Wanted":
    """What the options choose."""
    from understudy.records.place import Wanted

    return Wanted(model, datetime.now(UTC) - timedelta(seconds=duration(since)) if since else None)


@app.command("ls")
def list_records(records: Records, model: Model = "", since: Since = "", json: Json = False) -> None:
    """What there is: files, rows and bytes per model and day, and what became of each model's answers."""
    with reading(records) as place:
        from understudy.records.listing import listing
        from understudy.records.present import present

        found = listing(place, present(place, wanted(model, since)))
    accounts = {
        words: {name: account.outcomes() for name, account in by_model.items()}
        for words, by_model in (("answers", found.answers), ("comparisons", found.comparisons))
    }
    if json:
        emit_json({"days": [asdict(day) for day in found.days], **accounts})
        return
    rows = [
        [day.model, f"{day.date}", f"{day.files:,}", f"{day.rows:,}", f"{day.bytes / 1e6:,.1f} MB"]
        for day in found.days
    ]
    table("", ["model", "day (UTC)", "files", "rows", "size"], rows)
    for words, by_model in accounts.items():
        for name, outcomes in by_model.items():
            counts = (
                f"{count:,} {outcome.replace('_', ' ')}" for outcome, count in outcomes.items() if count
            )
            typer.echo(f"{name}: of {sum(outcomes.values()):,} {words} {', '.join(counts)}")


@app.command()
def show(
    key: Annotated[str, typer.Argument(metavar="RECEIPT|REQUEST_ID", help="Of an answer, or of its request")],
    records: Records,
    model: Model = "",
    since: Since = "",
    json: Json = False,
) -> None:
    """One answer in full: who gave it and why, inputs, outputs, and what candidates would have answered."""
    with reading(records) as place:
        from understudy.records.answer_output import show_answer
        from understudy.records.rows import find
        from understudy.records.telling import as_json

        found = find(place, wanted(model, since), key)
    emit_json(as_json(found)) if json else show_answer(found)


@app.command()
def check(
    records: Records,
    state_dir: Annotated[
        Path, typer.Option("--state-dir", help="Of the node, for its accounts", envvar="UNDERSTUDY_STATE_DIR")
    ] = Path(".understudy"),
    json: Json = False,
) -> None:
    """Add up the files against the accounts: exit code 0 where every answer is accounted for."""
    with reading(records) as place:
        from router.record.accounts import Accounts, accounts_folder
        from understudy.records.checking import settled_balances

        found = settled_balances(place, Accounts(accounts_folder(state_dir)))
    differences = [f"{each.model}, {each.instance}: {each.difference}" for each in found if each.difference]
    if json:
        emit_json(
            {
                "equal": not differences,
                "differences": differences,
                "accounts": [
                    {"instance": each.instance, "model": each.model, "rows": each.rows}
                    | {"requests": each.account.requests, **each.account.outcomes()}
                    | {"expired": each.account.expired}
                    for each in found
                ],
            }
        )
    else:
        columns = ["model", "process", "requests", "sampled out", "written", "dropped", "pending", "in files"]
        rows = [
            [each.model, each.instance]
            + [f"{count:,}" for count in (each.account.requests, each.account.sampled_out)]
            + [f"{count:,}" for count in (each.account.written, each.account.dropped)]
            + [f"{each.account.pending:,}", f"{each.rows:,}"]
            for each in found
        ]
        table("", columns, rows)
        typer.echo("equal: every answer is accounted for" if not differences else "")
    if differences:
        fail("\n".join(differences))


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A SELECT over `records`, in DuckDB's SQL")],
    records: Records,
    model: Model = "",
    since: Since = "",
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a header")] = False,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write a Parquet file instead")] = None,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each row")] = False,
) -> None:
    """SQL over the records; `date` and `hour` are columns that say which files are read."""
    if csv + json + (parquet is not None) > 1:
        raise typer.BadParameter("--json, --csv and --parquet exclude each other")
    with reading(records) as place:
        from understudy.records import query_output as output
        from understudy.records.querying import queried

        with queried(place, wanted(model, since), sql) as result:
            if parquet is not None:
                result.to_parquet(parquet)
            elif json:
                output.as_json(result)
            elif csv:
                output.as_csv(result)
            else:
                output.as_table(result)


@app.command()
def compact(records: Records, model: Model = "", since: Since = "", json: Json = False) -> None:
    """Merge the small files of hours that are over into one each; rows and accounts stay as they are.

    It may be killed at any time, and the next one goes on. One at a time for each folder or bucket.
    """
    done = []
    with reading(records) as place:
        from understudy.records.compacting import compact as merge

        for each in merge(place, wanted(model, since), datetime.now(UTC)):
            done.append(asdict(each))
            if not json:
                size = f"{each.bytes_before / 1e6:,.1f} MB -> {each.bytes_after / 1e6:,.1f} MB"
                typer.echo(f"{each.partition}: {each.files} files, {each.rows:,} rows, {size}")
    if json:
        emit_json({"merged": done})
    elif not done:
        typer.echo("nothing to merge")
