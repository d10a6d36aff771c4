"""`understudy profile`: what people type; what it does is imported when it is asked for."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.errors import InvalidInput, ServingError
from understudy.arguments import duration
from understudy.output import Json, emit_json, fail, progress_of_rows, table
from understudy.places import Models, origin_of

if TYPE_CHECKING:
    from router.drift.profile import Profile
    from understudy.profiling.making import Asked


def profile(
    rows: Annotated[
        str,
        typer.Argument(
            help="A file of rows (.npz, .csv, .jsonl, .parquet), records:PLACE, the log, or the"
            " statistics.json of a SageMaker baseline; left out: the model's heldout.npz"
        ),
    ] = "",
    model: Annotated[str, typer.Option("--model", help="Whose profile it is, e.g. digits/2")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", help="Write it here; left out: beside the model")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add the rows to the profile that is there")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write nothing; say how far the rows are from the profile")
    ] = False,
    since: Annotated[
        float | None,
        typer.Option("--since", parser=duration, help="Of the log, only the last so long, e.g. 7d"),
    ] = None,
    requests_to: Annotated[
        str, typer.Option("--requests-to", help="Of the log, requests to this public name")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Only so many rows (of the log the latest); 0: all")] = 0,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of one run of the model")] = 1,
    models: Models = None,
    json: Json = False,
) -> None:
    """Write down what a model's inputs and answers are like, so that drift can be measured against it.

    The model answers each row. With --compare: PSI, Jensen-Shannon distance and how far values moved, the
    features that moved most first. These are numbers to look at, and no verdict.
    """
    from understudy.profiling.making import Asked

    try:
        if not model:
            raise InvalidInput("whose profile? name the model by --model, e.g. digits/2")
        if add and compare:
            raise InvalidInput("--add writes and --compare does not: give one of them")
        asked = Asked(origin_of(models), model, rows, requests_to, since, limit or None, threads)
        with progress_of_rows("checking the model", quiet=json) as note:
            if compare:
                _compare(asked, output, note, json=json)
            else:
                _write(asked, output, note, add=add, json=json)
    except ServingError as error:
        fail(str(error))


def _write(
    asked: "Asked", output: Path | None, note: Callable[[str, int, int], None], *, add: bool, json: bool
) -> None:
    from router.drift.profile import to_json
    from serving.host.whole_files import write_whole
    from understudy.profiling.making import counted, place_of, reference

    place = output or place_of(asked.models, asked.key)
    if add:
        there = _there(asked, output)
        found = there + counted(asked, there, note)
    else:
        found = reference(asked, note)
    write_whole(place, to_json(found))
    _tell(found, place, json=json)


def _there(asked: "Asked", output: Path | None) -> "Profile":
    """The profile that is named, else the one beside the model.

    Raises:
        InvalidInput: there is none.
    """
    from router.drift.references import References
    from understudy.profiling.making import known

    path = output or known(asked.models, asked.key)
    if path is None:
        raise InvalidInput(
            f"{asked.key} has no profile yet; write one first: understudy profile ROWS --model {asked.key}"
        )
    return References().read(path).profile


def _tell(found: "Profile", place: Path, *, json: bool) -> None:
    from understudy.profiling.telling import words_of

    if json:
        uncounted = list(found.uncounted)
        emit_json({
            "file": str(place), "rows": found.rows, "features": len(found.features), "uncounted": uncounted,
        })  # fmt: skip
        return
    for line in words_of(found):
        typer.echo(line)
    typer.echo(f"written to {place}")


def _compare(
    asked: "Asked", output: Path | None, note: Callable[[str, int, int], None], *, json: bool
) -> None:
    from understudy.profiling.making import counted
    from understudy.profiling.telling import HEADINGS, MANY, rows_of

    there = _there(asked, output)
    distances = there.distances(counted(asked, there, note))
    if json:
        emit_json({name: asdict(each) for name, each in distances.items()})
        return
    table("", HEADINGS, rows_of(distances))
    if len(distances) > MANY:
        typer.echo(f"{len(distances) - MANY} features that moved less are not shown; --json has all")
