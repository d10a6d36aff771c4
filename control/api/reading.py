"""What is: rollouts, their history, evidence, examples, and what needs a person."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from control.api.problems import problem, problems
from control.api.requests import Control, Json, Model, actor_of, shown, view
from control.fleet.examples import Order
from control.plane import Plane
from control.rollouts.progress import served_by
from control.rollouts.writer import Entry
from control.store.store import Revision
from control.views.audit import JsonWriting, PageWriting, Writing
from control.views.drift import drift_view
from control.views.rollout import aa_view, evidence_view, judged, revision_view
from control.views.schemas import (
    AAView,
    DriftView,
    EvidenceView,
    ExamplesView,
    ExportView,
    NeedView,
    OriginView,
    PointView,
    RevisionView,
    RolloutView,
    VerdictView,
)
from control.views.verdict import Word, verdict_view
from router.rollout.values import Target
from serving.errors import NotFound

router = APIRouter()

AT_ONCE = 100
"""Revisions that are read from the database at a time; each may have evidence of many kilobytes."""


@router.get("/v1/rollouts", summary="All rollouts", response_model=list[RolloutView], responses=problems(503))
async def list_rollouts(plane: Control) -> Any:
    plane.door.require_open()
    now = time.monotonic()
    return Json([view(plane.door.entries[model], plane, now) for model in sorted(plane.door.entries)])


@router.get(
    "/v1/needs",
    summary="What needs a person, of rollouts and of control itself; the most urgent first",
    response_model=list[NeedView],
)
async def list_needs(plane: Control) -> Any:
    return Json(plane.attention.all(time.monotonic()))


@router.get(
    "/v1/rollouts/{model}",
    summary="One rollout; its ETag is its revision",
    response_model=RolloutView,
    responses=problems(404, 503),
)
async def show(plane: Control, model: Model) -> Any:
    return shown(plane.door.get(model), plane)


@router.get(
    "/v1/rollouts/{model}/history",
    summary="Who changed it, when and why; the latest first",
    response_model=list[RevisionView],
    responses=problems(404, 503),
)
async def history(
    plane: Control,
    model: Model,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="only older than this revision")] = None,
) -> Any:
    revisions = await asyncio.to_thread(plane.door.history, model, limit, before)
    if not revisions:
        plane.door.get(model)
    return Json([revision_view(revision) for revision in revisions])


@router.get(
    "/v1/rollouts/{model}/evidence",
    summary="Each guard: its e-values, the line, and what they say",
    response_model=EvidenceView,
    responses=problems(404, 503),
)
async def evidence(plane: Control, model: Model) -> Any:
    entry = plane.door.get(model)
    return Json(evidence_view(entry, judged(plane.examiner, entry)))


@router.get(
    "/v1/rollouts/{model}/lineage",
    summary="What is claimed of where its local models come from, and by whom",
    description="As it is said now; what was said when they were accepted is in the audit log.",
    response_model=list[OriginView],
    responses=problems(404, 503),
)
async def lineage(plane: Control, model: Model) -> Any:
    entry = plane.door.get(model)
    local: dict[str, tuple[str, Target]] = {}
    for role, target in served_by(entry.rollout, entry.progress).roles():
        if target.url is None:
            local.setdefault(target.model, (role, target))
    return Json(await asyncio.gather(*(_origin(plane, entry, *each) for each in local.values())))


async def _origin(plane: Plane, entry: Entry, role: str, target: Target) -> dict[str, Any]:
    accepted = entry.digests.get(target.model, "")
    told = await plane.catalogue.origin(target, accepted)
    return {"target": target.model, "role": role, "sha256": accepted, "lineage": told.as_json()}


Wanted = Annotated[
    Sequence[Word],
    Query(alias="is", max_length=6, description="another verdict than these is answered with 409"),
]
Candidate = Annotated[str | None, Query(max_length=200, description="of this target, NAME/VERSION, only")]


@router.get(
    "/v1/rollouts/{model}/verdict",
    summary="The verdict on its candidate in one word, for controllers such as Argo Rollouts",
    response_model=VerdictView,
    responses=problems(400, 404, 409, 503),
)
async def verdict(plane: Control, model: Model, wanted: Wanted = (), candidate: Candidate = None) -> Any:
    entry = plane.door.get(model)
    view = verdict_view(entry, judged(plane.examiner, entry), candidate)
    if wanted and view["verdict"] not in wanted:
        return problem(409, f"{view['candidate'] or model}: {view['verdict']}: {view['reason']}")
    return Json(view)


@router.post(
    "/v1/rollouts/{model}/verdict",
    summary="The same, for webhooks that only POST, such as Flagger's; it changes nothing",
    description="A viewer may ask. The token may be the password of Basic authentication, only here.",
    response_model=VerdictView,
    responses=problems(400, 404, 409, 503),
)
async def ask_verdict(plane: Control, model: Model, wanted: Wanted = (), candidate: Candidate = None) -> Any:
    return await verdict(plane, model, wanted, candidate)


@router.get(
    "/v1/rollouts/{model}/export",
    summary="The whole file of a rollout, for auditors: what is in force, and all of its audit log",
    description="As JSON, or as a page to print; of a rollout that was deleted, too.",
    responses={200: {"model": ExportView, "content": {"text/html": {}}}, **problems(404, 503)},
)
async def export(
    plane: Control,
    model: Model,
    request: Request,
    form: Annotated[Literal["json", "page"], Query(alias="as", description="the form of the file")] = "json",
) -> StreamingResponse:
    first = await asyncio.to_thread(plane.door.history, model, AT_ONCE, None)
    entry = plane.door.entries.get(model)
    if not first:
        entry = plane.door.get(model)
    now = time.monotonic()
    head = {
        "model": model,
        "made_at": time.time(),
        "made_by": actor_of(request).name,
        "understudy": plane.version,
        "rollout": None if entry is None else view(entry, plane, now),
        "evidence": None if entry is None else evidence_view(entry, judged(plane.examiner, entry)),
    }
    writing: Writing = PageWriting() if form == "page" else JsonWriting()
    name = f"{model}-audit.{'html' if form == 'page' else 'json'}"
    return StreamingResponse(
        _written(plane, writing, head, first),
        media_type=writing.media_type,
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


async def _written(
    plane: Plane, writing: Writing, head: dict[str, Any], rows: Sequence[Revision]
) -> AsyncIterator[bytes]:
    """The file in pieces; what is changed meanwhile is newer than all of it."""
    yield writing.begin(head)
    row: Revision | None = None
    while rows:
        for older in rows:
            if row is not None:
                yield writing.revision(row, older)
            row = older
        rows = await asyncio.to_thread(plane.door.history, head["model"], AT_ONCE, rows[-1].revision)
    if row is not None:
        yield writing.revision(row, None)
    yield writing.end()


@router.get(
    "/v1/rollouts/{model}/aa",
    summary="The A/A test that runs, or the last one with a report: false alarms, noise, tolerances",
    response_model=AAView,
    responses=problems(404, 503),
)
async def show_aa(plane: Control, model: Model) -> Any:
    entry = plane.door.get(model)
    if (seen := plane.examiner.aa_evidence(entry)) is not None:
        return Json(aa_view(model, seen, None))
    for row in await asyncio.to_thread(plane.door.history, model, 1000, None):
        if row.evidence is not None and (row.event == "aa_ended" or "cut_short" in row.evidence):
            return Json(aa_view(model, row.evidence, row))
    raise NotFound(f"no A/A of {model!r} has ended with a report")


@router.get(
    "/v1/rollouts/{model}/examples",
    summary="Comparisons that were kept, with both answers",
    response_model=ExamplesView,
    responses=problems(404, 503),
)
async def examples(
    plane: Control,
    model: Model,
    output: Annotated[str | None, Query(max_length=1000, description="only of this output")] = None,
    order: Annotated[Order, Query(description="the farthest or the latest first")] = "distance",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Any:
    plane.door.get(model)
    return Json(plane.gallery.view(model, output, order, limit))


@router.get(
    "/v1/rollouts/{model}/drift",
    summary="How far inputs and answers of the last hour are from the profiles of its targets",
    response_model=DriftView,
    responses=problems(404, 503),
)
async def drift(plane: Control, model: Model) -> Any:
    entry = plane.door.get(model)
    stable = served_by(entry.rollout, entry.progress).stable.key
    return Json(await asyncio.to_thread(drift_view, entry.rollout, stable, plane.drift))


@router.get(
    "/v1/rollouts/{model}/series",
    summary="The last 15 minutes, a point a second: shares, rates, latencies, agreement, evidence",
    response_model=list[PointView],
    responses=problems(404, 503),
)
async def series(
    plane: Control,
    model: Model,
    since: Annotated[
        float, Query(ge=0, le=1e12, allow_inf_nan=False, description="only later points (since 1970)")
    ] = 0.0,
) -> Response:
    plane.door.get(model)
    return Response(plane.dashboard.series.json(model, since), media_type="application/json")
