"""`understudy models`: what is in the repository, and whether it can be served."""

from typing import Annotated, Any

import typer

from serving.errors import ServingError
from serving.models.checking.verify import Report
from serving.models.kinds import verify
from serving.sources.opening import open_source
from serving.wire.tensors import shape_json, spec_json
from understudy.output import Json, emit_json, fail, table
from understudy.places import Models, origin_of

app = typer.Typer(no_args_is_help=True, help="The model repository")


@app.command("list")
def list_models(models: Models = None, json: Json = False) -> None:
    """List every model and version."""
    try:
        source = open_source(origin_of(models))
        entries = source.discover()
        problems = source.problems
        rows: list[dict[str, Any]] = [
            {
                "name": entry.name,
                "version": entry.version,
                "bytes": entry.path.stat().st_size,
                "served_alone": entry.version in {other.version for other in source.served(entry.name)},
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
        ["model", "version", "size", "version policy"],
        [
            [
                row["name"],
                row["version"],
                f"{row['bytes'] / 1000:,.1f} kB",
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
    json: Json = False,
) -> None:
    """Verify models in a limited process of their own, as the server does before it loads them."""
    try:
        source = open_source(origin_of(models))
        name, _, version = (model or "").partition("/")
        chosen = [
            source.find(entry.name, entry.version)
            for entry in source.discover()
            if (not name or entry.name == name) and (not version or entry.version == version)
        ]
        if not chosen:
            fail(f"no model {model!r} in the repository" if model else "the repository is empty")
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


def _verdict(report: Report) -> str:
    if not report.ok:
        return f"refused: {report.reason}"
    return f"ok, not measured: {report.unmeasured}" if report.unmeasured else "ok"


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
        "inputs": [spec_json(spec) for spec in signature.inputs] if signature else [],
        "outputs": [spec_json(spec) for spec in signature.outputs] if signature else [],
    }
