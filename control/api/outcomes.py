"""What is told from outside: outcomes of answers, and webhooks of MLflow, whose signature is their token."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from control.api.limits import MAX_OUTCOMES_BYTES, OUTCOMES_PATH, SYNC_OUTCOMES_PATH
from control.api.problems import problems
from control.api.requests import Control, Json
from control.follow.deliveries import PATH
from control.plane import Plane
from router.outcomes.described import BODY, DESCRIPTION, OutcomesTaken
from serving.errors import InvalidInput, NotFound, Unavailable
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


class HookTaken(BaseModel):
    """What comes of a webhook."""

    asked: list[str] = Field(description="The rollouts whose alias is asked for now")


@router.post(
    PATH,
    summary="A webhook of MLflow: ask now where the followed aliases stand",
    description="MLflow signs it (`X-MLflow-Signature`) with the secret that `--mlflow-webhook-secret` names;"
    " the signature stands in place of the token, here and nowhere else. What it says is not believed: MLflow"
    " is asked. Signed more than five minutes ago, it is refused (401), and taken twice too (409).",
    response_model=HookTaken,
    responses=problems(400, 404, 409, 413, 503),
)
async def mlflow(plane: Control, request: Request) -> Any:
    if plane.deliveries is None:
        raise NotFound("no secret of webhooks is set: say --mlflow-webhook-secret")
    if not plane.leader.leads:
        raise Unavailable("another control leads")
    plane.door.require_open()
    headers = {name.lower(): value for name, value in request.headers.items()}
    registered = plane.deliveries.take(headers, await request.body())
    return Json({"asked": plane.follower.hint(registered)})
