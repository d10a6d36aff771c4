"""`understudy test`: a candidate held against a base on rows of a file, judged as a rollout judges.

Exit codes: 0 proven, 3 harmful, 5 undecided.
"""

from pathlib import Path
from typing import Annotated

import typer

from router.rollout.parser import parse
from router.rollout.values import Rollout
from serving.document import DocumentError
from serving.errors import InvalidInput, ServingError
from understudy.arguments import duration
from understudy.output import Json, emit_json, fail, progress_of_rows
from understudy.places import Models, origin_of
from understudy.reports.showing import Files, Html, Junit, Markdown, show

Candidate = Annotated[
    str, typer.Argument(help="The model to test, e.g. digits/2; left out: the rollout's canary")
]
Against = Annotated[
    str, typer.Option("--against", help="The base, e.g. digits/1; left out: the rollout's stable")
]
On = Annotated[
    str, typer.Option("--on", help="A file of rows (.npz, .csv, .jsonl, .parquet), or records:PLACE, the log")
]
Since = Annotated[
    float | None, typer.Option("--since", parser=duration, help="Of the log, only the last so long, e.g. 7d")
]
Labels = Annotated[
    str, typer.Option("--labels", help="The column that has the truth, or a file with it; left out: `labels`")
]
RolloutName = Annotated[str, typer.Option("--rollout", help="Judge by the rules and guards of this rollout")]
RolloutFile = Annotated[
    Path, typer.Option("--rollouts", help="The file that has it", envvar="UNDERSTUDY_ROLLOUTS")
]
Limit = Annotated[
    int, typer.Option("--limit", min=0, help="Only so many rows (of the log the latest); 0: all")
]
Threads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of one run of a model")]
Timing = Annotated[
    float, typer.Option("--timing", parser=duration, help="How long the two are timed side by side, at most")
]


def run_test(
    candidate: Candidate = "",
    against: Against = "",
    on: On = "",
    since: Since = None,
    labels: Labels = "",
    rollout: RolloutName = "",
    rollouts: RolloutFile = Path("rollouts.yaml"),
    models: Models = None,
    limit: Limit = 0,
    threads: Threads = 1,
    timing: Timing = "10s",  # type: ignore[assignment]  # typer parses defaults too
    junit: Junit = None,
    markdown: Markdown = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """Run a candidate and a base on rows, and judge by the comparators, guards and sentences of a rollout.

    Without --rollout: at most 1% errors or 1.5 times the base's, at most 3 times as slow, 95% agreement.
    """
    from understudy.offline.outcome import as_json
    from understudy.offline.reporting import report
    from understudy.offline.testing import Wanted, outcome

    try:
        document = read_rollout(rollouts, rollout) if rollout else None
        base, other = _targets(document, candidate, against)
        places = origin_of(models)
        wanted = Wanted(places, base, other, on, labels, document, limit or None, since, threads, timing)
        with progress_of_rows("checking both models", quiet=json) as note:
            found = outcome(wanted, note)
    except (ServingError, DocumentError) as error:
        fail(str(error))
    shown = report(found)
    Files(junit, markdown, html).write(shown, [shown], "understudy test")
    if json:
        emit_json(as_json(found))
    else:
        show(shown)
    raise typer.Exit(found.exit_code)


def read_rollout(file: Path, name: str) -> Rollout:
    """The rollout of a model in a file.

    Raises:
        InvalidInput: it cannot be read, or has none of that name.
    """
    try:
        documents = parse(file.read_bytes(), str(file))
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}; name the rollout file by --rollouts") from None
    if name not in documents:
        raise InvalidInput(f"{file}: no rollout for model {name!r}; it has {', '.join(documents)}")
    return documents[name]


def _targets(document: Rollout | None, candidate: str, against: str) -> tuple[str, str]:
    """Base and candidate: those that are named, else those of the rollout."""
    if document is not None:
        against = against or document.stable.model
        candidates = [each.target.model for each in document.all_candidates]
        if not candidate and len(candidates) > 1:
            raise InvalidInput(f"which candidate is to be tested? name one of {', '.join(candidates)}")
        candidate = candidate or "".join(candidates)
    if not candidate:
        raise InvalidInput(
            "which model is to be tested? name it, e.g. `understudy test digits/2`, or a rollout"
        )
    if not against:
        raise InvalidInput("what is it held against? name it by --against, e.g. digits/1, or a --rollout")
    return against, candidate
