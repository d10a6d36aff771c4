"""Outcomes: what became of answers, told by clients and by nodes."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from control.api.limits import MAX_OUTCOMES_BYTES, OUTCOMES_PATH, SYNC_OUTCOMES_PATH
from control.api.problems import problems
from control.api.requests import Control, Json
from control.plane import Plane
from router.outcomes.described import BODY, DESCRIPTION, OutcomesTaken
from serving.errors import InvalidInput, Unavailable
from serving.http.codings import inflate

router = APIRouter()


@router.post(
    OUTCOMES_PATH,
    summary="Tell what became of answers",
    description=DESCRIPTION,
    openapi_extra=BODY,
    response_model=OutcomesTaken,
    responses=problems(400, 413, 503),
)
async def tell(plane: Control, request: Request) -> Any:
    return await _take(plane, request, from_node=False)


@router.post(
    SYNC_OUTCOMES_PATH,
    summary="The same, from nodes, with when they took each",
    openapi_extra=BODY,
    response_model=OutcomesTaken,
    responses=problems(400, 413, 503),
)
async def sync_outcomes(plane: Control, request: Request) -> Any:
    return await _take(plane, request, from_node=True)


async def _take(plane: Plane, request: Request, *, from_node: bool) -> Json:
    if not plane.leader.leads:
        raise Unavailable("another control leads")
    plane.door.require_open()
    body = await request.body()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "gzip":
        body = await asyncio.to_thread(inflate, body, b"gzip", MAX_OUTCOMES_BYTES)
    elif encoding != "identity":
        raise InvalidInput(f"content-encoding: gzip or none is known here, got {encoding[:40]!r}")
    taken = await plane.desk.take(body, from_node=from_node)
    return Json({"accepted": taken.accepted, "left_out": dict(taken.left_out), "examples": taken.examples})
