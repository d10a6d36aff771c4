"""What is: rollouts, their history, evidence, examples, and what needs a person."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from control.api.problems import problems
from control.api.requests import Control, Json, Model, shown, view
from control.fleet.examples import Order
from control.judging.verdicts import as_json
from control.views.rollout import aa_view, judged, revision_view
from control.views.schemas import (
    AAView,
    EvidenceView,
    ExamplesView,
    NeedView,
    PointView,
    RevisionView,
    RolloutView,
)
from serving.errors import NotFound

router = APIRouter()


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
    seen = judged(plane.examiner, entry)
    return Json(
        {
            "model": model,
            "revision": entry.revision,
            "stage": entry.progress.stage,
            "alpha": entry.rollout.alpha,
            "judgement": None if seen.sole is None else as_json(seen.sole),
            "candidates": {target: as_json(judgement) for target, judgement in seen.arms.items()},
        }
    )


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
