"""`understudy models tune`: what people type; what it does is imported when it is asked for."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from serving.document import DocumentError
from serving.errors import ServingError
from understudy.arguments import duration, fraction
from understudy.output import Json, emit_json, fail, table
from understudy.places import Models, folder_of

if TYPE_CHECKING:
    from understudy.tuning.trials import Tuned

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
    from understudy.tuning.trying import Target

    target = Target(p99, errors, rate, highest, step)
    asked = Asked(folder_of(models), model, target, 60 * minutes)
    try:
        found = tune(asked, lambda text: typer.echo(text, err=True) if not json else None)
    except (ServingError, DocumentError, GeneratorFailed) as error:
        fail(str(error))
    tell(found, model, p99, json=json)


def tell(found: "Tuned", model: str, p99_seconds: float, *, json: bool) -> None:
    """Say what it came to.

    Raises:
        typer.Exit: no configuration keeps the latency.
    """
    from understudy.tuning.telling import rows_of, words_of

    if json:
        emit_json(asdict(found) | {"written": found.better})
    else:
        table("", ["configuration", "keeps", "p99", ""], rows_of(found))
        for line in words_of(found, model, p99_seconds):
            typer.echo(line)
    if found.best is None:
        raise typer.Exit(MISSED)
