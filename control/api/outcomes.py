"""Outcomes: what became of answers, told by clients and by nodes."""

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request

from control.api.limits import MAX_OUTCOMES_BYTES, OUTCOMES_PATH, SYNC_OUTCOMES_PATH
from control.api.problems import problems
from control.api.requests import Control, Json
from control.plane import Plane
from control.views.schemas import OutcomesTaken
from serving.errors import InvalidInput, Unavailable
from serving.http.codings import inflate

router = APIRouter()

_OUTCOME: Final = {
    "type": "object",
    "required": ["name", "value"],
    "properties": {
        "receipt": {"type": "string", "description": "`x-understudy-receipt` of the answer"},
        "model": {"type": "string", "description": "Without a receipt: the public name"},
        "key": {"type": "string", "description": "Without a receipt: the user, as in the header of `sticky`"},
        "time": {"description": "Without a receipt: when they were answered; seconds since 1970 or ISO 8601"},
        "name": {"type": "string", "description": "Of the outcome, in the document"},
        "value": {"description": "The truth of a label; true or false; an amount"},
    },
}  # fmt: skip
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [_OUTCOME, {"type": "array", "items": _OUTCOME}]}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


@router.post(
    OUTCOMES_PATH,
    summary="Tell what became of answers",
    description="One JSON object, an array of them, or one in each line; 10,000 at most, and the body may be"
    " compressed (`content-encoding: gzip`). A request that is not understood is refused whole; what is"
    " understood is taken or left out one by one, with the reason. Telling an outcome again does no harm.",
    openapi_extra=_BODY,
    response_model=OutcomesTaken,
    responses=problems(400, 413, 503),
)
async def tell(plane: Control, request: Request) -> Any:
    return await _take(plane, request, from_node=False)


@router.post(
    SYNC_OUTCOMES_PATH,
    summary="The same, from nodes, with when they took each",
    openapi_extra=_BODY,
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
