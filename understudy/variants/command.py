"""`understudy models quantize`: what people type; what it does is imported when it is asked for."""

from typing import Annotated

import typer

from serving.errors import ServingError
from understudy.arguments import duration
from understudy.output import Json, emit_json, fail, table
from understudy.places import Models, folder_of
from understudy.variants.methods import METHODS


def quantize(
    model: Annotated[str, typer.Argument(help="The model to make a variant of, e.g. digits/2")],
    int8: Annotated[bool, typer.Option("--int8", help="Weights in 8 bits, ranges at each run")] = False,
    int8_static: Annotated[
        bool, typer.Option("--int8-static", help="Weights and activations in 8 bits, ranges from rows")
    ] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Weights and arithmetic in 16 bits")] = False,
    calibrate: Annotated[
        str,
        typer.Option(
            "--calibrate",
            help="Rows for ranges, and to compare both on: a file (.npz, .csv, .jsonl, .parquet), or"
            " records:PLACE, the log; left out: the model's heldout.npz",
        ),
    ] = "",
    since: Annotated[
        float | None,
        typer.Option("--since", parser=duration, help="Of the log, only the last so long, e.g. 1d"),
    ] = None,
    requests_to: Annotated[
        str, typer.Option("--requests-to", help="Of the log, the public name; left out: the model's own")
    ] = "",
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of one run")] = 1,
    timing: Annotated[
        float, typer.Option("--timing", parser=duration, help="How long the two are timed at most")
    ] = "5s",  # type: ignore[assignment]  # typer parses defaults too
    models: Models = None,
    json: Json = False,
) -> None:
    """Make the next version of a model from it: smaller numbers, verified and held against it."""
    chosen = [name for name, on in (("int8", int8), ("int8-static", int8_static), ("fp16", fp16)) if on]
    if len(chosen) != 1:
        raise typer.BadParameter("say one of --int8, --int8-static and --fp16")
    from understudy.variants.making import Asked, make
    from understudy.variants.telling import rows_of, words_of

    asked = Asked(
        folder_of(models), model, METHODS[chosen[0]], calibrate, since, requests_to, threads, timing
    )
    try:
        made = make(asked, lambda what: typer.echo(what, err=True) if not json else None)
    except ServingError as error:
        fail(str(error))
    if json:
        emit_json(made.as_json())
        return
    table("", ["", made.origin, made.key, ""], rows_of(made))
    for line in words_of(made):
        typer.echo(line)
