"""`understudy gate`: what a change of the rollout file, or of models, would do, before anybody merges it.

Exit codes: the worst of all checks: 1 at fault, 3 harmful, 5 undecided, 0 passed.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from serving.document import DocumentError
from serving.errors import ServingError
from understudy.arguments import duration
from understudy.output import Json, emit_json, fail
from understudy.places import Models, origin_of
from understudy.reports.showing import Files, Html, Junit, Markdown, show

Base = Annotated[str, typer.Option("--base", help="A revision of git that the change is held against")]
RolloutFile = Annotated[
    Path, typer.Option("--rollouts", help="The rollout file", envvar="UNDERSTUDY_ROLLOUTS")
]
On = Annotated[
    list[str] | None,
    typer.Option("--on", help="Rows to test on: FILE for all, or NAME=FILE; left out: heldout.npz"),
]
Labels = Annotated[str, typer.Option("--labels", help="As of `understudy test`")]
Traffic = Annotated[
    float | None, typer.Option("--traffic", min=0.001, help="Requests/s of each rollout: simulate its steps")
]
Threads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of one run of a model")]
Timing = Annotated[
    float,
    typer.Option("--timing", parser=duration, help="How long two models are timed side by side, at most"),
]


def run_gate(
    base: Base,
    rollouts: RolloutFile = Path("rollouts.yaml"),
    models: Models = None,
    on: On = None,
    labels: Labels = "",
    traffic: Traffic = None,
    threads: Threads = 1,
    timing: Timing = "10s",  # type: ignore[assignment]  # typer parses defaults too
    junit: Junit = None,
    markdown: Markdown = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """Check every rollout that a change touches: lint, models, test, plan; one table and one exit code.

    Touched are rollouts whose document means something else than at --base, or whose models have other bytes.
    """
    from understudy.gate.checks import Settings
    from understudy.gate.gating import as_json, gate, report, reports

    rows = dict(_named(each) for each in on or ())
    settings = Settings(origin_of(models), rows, labels, traffic, threads, timing)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=json, transient=True) as progress:
            task = progress.add_task("", total=None)
            found = gate(base, rollouts, settings, lambda what: progress.update(task, description=what))
    except DocumentError as error:
        fail("\nerror: ".join(map(str, error.faults)))
    except ServingError as error:
        fail(str(error))
    shown = report(found)
    Files(junit, markdown, html).write(shown, reports(found), "understudy gate")
    if json:
        emit_json(as_json(found))
    else:
        show(shown)
    raise typer.Exit(found.code)


def _named(text: str) -> tuple[str, str]:
    """`NAME=FILE`, or a file for every rollout that has none of its own."""
    name, equals, file = text.partition("=")
    return (name, file) if equals and "/" not in name else ("", text)
