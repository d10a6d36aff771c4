"""`understudy models`: what there is, whether it can be served, and how it gets from place to place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.errors import ServingError
from serving.models.checking.verify import Report
from serving.models.files.graph_file import GRAPH_FILE
from serving.models.files.repository import ModelEntry
from serving.models.kinds import verify
from serving.sources.opening import open_source, place_of
from serving.wire.tensors import shape_json, spec_json
from understudy.output import Json, emit_json, fail, table
from understudy.places import Models, PythonSteps, origin_of
from understudy.tuning.command import tune
from understudy.variants.command import quantize

if TYPE_CHECKING:
    from rich.progress import TaskID

    from serving.sources.remote import RemoteFile

app = typer.Typer(no_args_is_help=True, help="Models: listed, checked, pulled and pushed")
app.command()(quantize)
app.command()(tune)


@app.command("list")
def list_models(models: Models = None, json: Json = False) -> None:
    """List every model and version."""
    try:
        source = open_source(origin_of(models))
        entries = source.discover()
        problems = source.problems
        names = {entry.name for entry in entries}
        served = {f"{each.name}/{each.version}" for name in names for each in source.served(name)}
        rows: list[dict[str, Any]] = [
            {
                "name": entry.name,
                "version": entry.version,
                "kind": _kind(entry),
                "bytes": _bytes_here(entry),
                "served_alone": f"{entry.name}/{entry.version}" in served,
            }
            for entry in entries
        ]
    except ServingError as error:
        fail(str(error))
    if json:
        emit_json({"models": rows, "problems": list(problems)})
        return
    table(
        "",
        ["model", "version", "kind", "size", "version policy"],
        [
            [
                row["name"],
                row["version"],
                row["kind"] or "-",
                _size(row["bytes"]),
                "served" if row["served_alone"] else "-",
            ]
            for row in rows
        ],
    )
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)


@app.command()
def check(
    model: Annotated[str | None, typer.Argument(help="name or name/version; all when left out")] = None,
    models: Models = None,
    python_steps: PythonSteps = False,
    json: Json = False,
) -> None:
    """Verify models in a limited process of their own, as the server does before it loads them."""
    try:
        source = open_source(origin_of(models, python_steps=python_steps))
        name, _, version = (model or "").partition("/")
        chosen = [
            source.find(entry.name, entry.version)
            for entry in source.discover()
            if (not name or entry.name == name) and (not version or entry.version == version)
        ]
        if not chosen:
            why = f"no model {model!r} in the repository" if model else "the repository is empty"
            fail("; ".join([why, *(f"left out: {problem}" for problem in source.problems)]))
        reports = verify(chosen)
    except ServingError as error:
        fail(str(error))
    if json:
        emit_json([_as_json(report) for report in reports])
    else:
        rows = [
            [
                f"{report.name}/{report.version}",
                _verdict(report),
                f"{report.run_seconds * 1e6:,.0f} us" if report.ok and not report.unmeasured else "",
                _shapes(report),
                _independence(report),
            ]
            for report in reports
        ]
        table("", ["model", "check", "run time", "inputs -> outputs", "rows independent"], rows)
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


@app.command()
def pull(
    model: Annotated[str, typer.Argument(metavar="NAME[/VERSION]", help="Of several versions those served")],
    models: Models = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="A folder of models to copy it into; else only the cache")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what has other bytes")] = False,
    json: Json = False,
) -> None:
    """Fetch a model from where it is, whole, and say its digest; into the cache, or into a folder."""
    from serving.models.files.repository import read
    from serving.sources.model_files import copy, files_of

    rows: list[dict[str, Any]] = []
    name, _, version = model.partition("/")
    try:
        with _progress(quiet=json) as progress:
            source = open_source(origin_of(models), progress=progress)
            versions = [version] if version else [entry.version for entry in source.served(name)]
            for number in versions:
                entry = source.find(name, number)
                size = sum(path.stat().st_size for path in files_of(entry).values())
                place = entry.path.parent if to is None else Path(copy(entry, to, force=force).place)
                rows.append(
                    {"name": name, "version": number, "bytes": size, "sha256": read(entry).sha256,
                     "path": str(place)}
                )  # fmt: skip
    except ServingError as error:
        fail(str(error))
    if json:
        emit_json(rows)
        return
    for row in rows:
        typer.echo(
            f"{row['name']}/{row['version']}  {_size(row['bytes'])}  sha256 {row['sha256']}  {row['path']}"
        )


@app.command()
def push(
    model: Annotated[str, typer.Argument(metavar="NAME/VERSION")],
    to: Annotated[str, typer.Argument(metavar="URL", help="s3://, gs:// or az://, of the models")],
    models: Models = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what has other bytes")] = False,
    json: Json = False,
) -> None:
    """Upload a version so that nobody meets half of it: `model.onnx` comes last.

    What is there with the same bytes stays; other bytes are refused without --force.
    """
    from serving.places import STORES, Places
    from serving.sources.model_files import push as put

    name, slash, version = model.partition("/")
    try:
        [url] = Places.of(to).named
        if url.partition("://")[0] not in STORES or not slash:
            fail("push NAME/VERSION to s3://, gs:// or az://, e.g. `push digits/3 s3://bucket/models`")
        entry = open_source(origin_of(models)).find(name, version)
        done = put(entry, url, force=force, told=_silent if json else _say)
    except (ServingError, ValueError) as error:
        fail(str(error))
    if json:
        emit_json(
            {"url": done.place, "written": list(done.written), "same": list(done.same), "bytes": done.size}
        )
    else:
        same = f", {len(done.same)} were there with the same bytes" if done.same else ""
        typer.echo(f"{done.place}: {len(done.written)} files put{same}")


def _silent(_path: str, _bytes: int) -> None:
    """For programs."""


def _say(path: str, size: int) -> None:
    typer.echo(f"{path}  {_size(size)}")


@contextmanager
def _progress(*, quiet: bool) -> "Iterator[Callable[[RemoteFile, int], None]]":
    """A bar for each file that comes, on a terminal; on standard error, so that figures can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as shown:
        tasks: dict[str, TaskID] = {}

        def progress(file: "RemoteFile", done: int) -> None:
            if file.path not in tasks:
                tasks[file.path] = shown.add_task(file.path, total=file.size)
            shown.update(tasks[file.path], completed=done)

        yield progress


def _kind(entry: ModelEntry) -> str | None:
    """None where it is not here: what a store lists says no more than that there is a version."""
    if not entry.path.exists():
        return None
    return "graph" if entry.path.name == GRAPH_FILE else "onnx"


def _bytes_here(entry: ModelEntry) -> int | None:
    """Of the file that says what it is, of a graph of all below it, too; None where it is not here."""
    if not entry.path.exists():
        return None
    files = entry.path.parent.rglob("*") if entry.path.name == GRAPH_FILE else [entry.path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _size(size: int | None) -> str:
    """In kB as everywhere; nothing is known of what is not here."""
    return "-" if size is None else f"{size / 1000:,.1f} kB"


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="name/version")],
    models: Models = None,
    json: Json = False,
) -> None:
    """Say of one version which bytes it has, what it takes and gives, and where it is said to come from."""
    from control.views.models import model_view
    from serving.models.files.repository import lineage

    name, _, version = model.partition("/")
    try:
        origin = origin_of(models)
        entry = open_source(origin).find(name, version)
        [report] = verify([entry])
        view = model_view(entry, report, lineage(entry, report.said), place_of(origin, entry))
    except ServingError as error:
        fail(str(error))
    if json:
        emit_json(view)
        return
    told = view["lineage"]
    facts = [
        ("from", view["place"] or "unknown"),
        ("check", _verdict(report)),
        ("SHA-256", view["sha256"] or "unknown"),
        ("size", _size(view["bytes"])),
        ("signature", _shapes(report)),
        ("rows independent", _independence(report)),
        *([("graph", report.form)] if report.form else []),
    ]
    for what, fact in facts:
        typer.echo(f"{what + ':':18}{fact}")
    rows = [[claim["about"], claim["value"], claim["said_by"], claim["link"]] for claim in told["claims"]]
    table("Claimed of where it comes from", ["about", "claim", "said by", "link"], rows)
    typer.echo(f"nobody says anything of: {', '.join(told['unknown']) or 'nothing'}")
    for problem in told["problems"]:
        typer.echo(f"not read: {problem}", err=True)


def _verdict(report: Report) -> str:
    if not report.ok:
        return f"refused: {report.reason}"
    form = f", {report.form}" if report.form else ""
    return f"ok{form}, not measured: {report.unmeasured}" if report.unmeasured else f"ok{form}"


def _shapes(report: Report) -> str:
    if report.signature is None:
        return ""
    sides = (report.signature.inputs, report.signature.outputs)
    return " -> ".join(", ".join(f"{t.name} {t.datatype} {shape_json(t)}" for t in side) for side in sides)


def _independence(report: Report) -> str:
    if not report.ok:
        return ""
    return f"not proven: {report.dependence}" if report.dependence else "proven"


def _as_json(report: Report) -> dict[str, Any]:
    signature = report.signature
    return {
        "name": report.name,
        "version": report.version,
        "ok": report.ok,
        "reason": report.reason,
        "sha256": report.sha256,
        "unmeasured": report.unmeasured,
        "warmup_shapes": [list(shape) for shape in report.trial.shapes] if report.trial else [],
        "run_seconds": report.run_seconds,
        "independent": report.ok and not report.dependence,
        "dependence": report.dependence,
        "graph": report.form,
        "inputs": [spec_json(spec) for spec in signature.inputs] if signature else [],
        "outputs": [spec_json(spec) for spec in signature.outputs] if signature else [],
    }
