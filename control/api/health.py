"""Metrics of all processes of the node, and the health of this control."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from control.api.problems import problem, problems
from control.api.requests import Control, Json
from control.views.schemas import Health

router = APIRouter()


@router.get(
    "/metrics",
    summary="Of all processes of the node",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
)
async def metrics(request: Request) -> Response:
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(await asyncio.to_thread(encode, request.app.state.registry), media_type=media_type)


@router.get("/healthz", summary="Alive", response_model=Health)
async def healthz() -> Any:
    return Json({"status": "ok"})


@router.get(
    "/readyz/lead",
    summary="This control leads, whatever its rollout file is like; asked by a Service, for nodes",
    response_model=Health,
    responses=problems(503),
)
async def leads(plane: Control) -> Any:
    reason = plane.problem_of_lead()
    return problem(503, reason) if reason else Json({"status": "ready"})


@router.get(
    "/readyz",
    summary="This control leads, the rollout file is accepted, and most nodes take what it gives",
    response_model=Health,
    responses=problems(503),
)
async def readyz(plane: Control) -> Any:
    reason = "; ".join(filter(None, (plane.problem(), plane.refusing().problem)))
    return problem(503, reason) if reason else Json({"status": "ready"})
