"""`understudy models tune`: what people type; what it does is imported when it is asked for."""

from dataclasses import asdict
from typing import Annotated

import typer

from serving.document import DocumentError
from serving.errors import ServingError
from understudy.arguments import duration, fraction
from understudy.output import Json, emit_json, fail, table
from understudy.places import Models, folder_of

MISSED = 3


def tune(
    model: Annotated[str, typer.Argument(help="The model to tune, e.g. digits/2")],
    p99: Annotated[float, typer.Option("--p99", parser=duration, help="What 99% of answers may take")],
    errors: Annotated[
        float, typer.Option("--errors", parser=fraction, help="Share of requests that may fail")
    ] = "0.1%",  # type: ignore[assignment]  # typer parses defaults too
    rate: Annotated[float, typer.Option(min=1, help="Requests/s to begin each search with")] = 200.0,
    highest: Annotated[float, typer.Option(min=1, help="Never more than this, requests/s")] = 100_000.0,
    step: Annotated[float, typer.Option("--step", parser=duration, help="How long each rate is held")] = "2s",  # type: ignore[assignment]
    minutes: Annotated[float, typer.Option(min=0, help="Begin no configuration after so long")] = 10.0,
    models: Models = None,
    json: Json = False,
) -> None:
    """Find threads, graph options, batching and execution that take most requests within a latency.

    They are written to config.yaml where they take a tenth more than what is there.

    Exit code 3: no configuration keeps the latency; nothing was written.
    """
    from understudy.bench.load import GeneratorFailed
    from understudy.tuning.measuring import Asked, tune

    asked = Asked(folder_of(models), model, p99, errors, rate, highest, step, 60 * minutes)
    try:
        found = tune(asked, lambda text: typer.echo(text, err=True) if not json else None)
    except (ServingError, DocumentError, GeneratorFailed) as error:
        fail(str(error))
    if json:
        emit_json(asdict(found))
    else:
        rows = [
            [
                trial.choice.words(),
                f"{trial.rate:,.0f}/s" if trial.rate else "-",
                f"{1e3 * trial.p99_seconds:.3g} ms" if trial.rate else trial.why,
                "taken" if trial is found.best else "",
            ]
            for trial in found.trials
        ]
        table("", ["configuration", "keeps", "p99", ""], rows)
        name = model.partition("/")[0]
        if found.best is None:
            typer.echo(f"none keeps a p99 of {1e3 * p99:g} ms: nothing was written")
        elif found.written:
            typer.echo(f"written to {name}/config.yaml, for all versions of {name}")
        else:
            typer.echo("nothing takes a tenth more than what is there: nothing was written")
        if not found.whole:
            typer.echo("not all was tried: --minutes were over")
    if found.best is None:
        raise typer.Exit(MISSED)
