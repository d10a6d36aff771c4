"""`understudy replay`: a recorded request once more, by the bytes of the model that answered it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.commands.records import Model, Records, Since, reading, wanted
from understudy.output import Json, emit_json
from understudy.places import Models, origin_of

if TYPE_CHECKING:
    from understudy.records.replaying import Output, Replay

DIFFERS = 3
_RUN = {True: "shared a run with others", False: "ran alone", None: "may have shared a run with others"}
_WORDS = {
    "equal": "equal, bit for bit",
    "rounding": "equal but for rounding",
    "different": "different",
}


def replay(
    key: Annotated[str, typer.Argument(metavar="RECEIPT|REQUEST_ID", help="Of an answer, or of its request")],
    records: Records,
    models: Models = None,
    state_dir: Annotated[
        Path,
        typer.Option(
            "--state-dir",
            help="State folder of a node, which keeps accepted bytes",
            envvar="UNDERSTUDY_STATE_DIR",
        ),
    ] = Path(".understudy"),
    model: Model = "",
    since: Since = "",
    json: Json = False,
) -> None:
    """Run a recorded request again by the same bytes of the model, and compare the answers.

    The bytes come from the state folder of a node or from the models, by the digest of the record; others
    are not taken. Exit code 0: the same answer, bit for bit where the request ran alone, else within
    rounding; 3: another one; 1: it cannot be run again.
    """
    with reading(records) as place:
        from serving.host.cpus import available_cpus
        from serving.sources.opening import open_source
        from understudy.records.replaying import replay as run
        from understudy.records.rows import find
        from understudy.records.telling import sentence

        answer = find(place, wanted(model, since), key).answer
        found = run(answer, open_source(origin_of(models)), state_dir, available_cpus())
    if json:
        emit_json({"verdict": found.verdict, **asdict(found)})
    else:
        typer.echo(f"{answer.file.model}: {sentence(answer.values)}")
        _show(found)
    if found.verdict == "different":
        raise typer.Exit(DIFFERS)


def _show(found: "Replay") -> None:
    for output in found.outputs:
        typer.echo(f"  {output.name}: {_words(output)}")
    if not found.outputs:
        typer.echo(f"  it fails again: {found.failed}" if found.failed else "  it is answered this time")
    typer.echo(f"{found.target}, SHA-256 {found.digest[:12]}, {_RUN[found.shared]}: {_WORDS[found.verdict]}")


def _words(output: "Output") -> str:
    apart = f" (by {output.distance:.2g} of a row's largest number)" if output.distance else ""
    return f"{_WORDS[output.verdict]}{apart}"
