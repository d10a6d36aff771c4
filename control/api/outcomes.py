"""What became of answers, told from outside, and the receipts by which that is told."""

import asyncio
import time
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from control.api.limits import MAX_OUTCOMES_BYTES, OUTCOMES_PATH, SYNC_OUTCOMES_PATH
from control.api.problems import problems
from control.api.requests import Control, Json
from control.plane import Plane
from control.views.receipt import receipt_view
from control.views.schemas import ReceiptKeyView, ReceiptView
from router.counting.receipt import name_id
from router.outcomes.described import BODY, DESCRIPTION, OutcomesTaken
from serving.errors import InvalidInput
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
    plane.require_lead()
    plane.door.require_open()
    body = await request.body()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "gzip":
        body = await asyncio.to_thread(inflate, body, b"gzip", MAX_OUTCOMES_BYTES)
    elif encoding != "identity":
        raise InvalidInput(f"content-encoding: gzip or none is known here, got {encoding[:40]!r}")
    taken = await plane.desk.take(body, from_node=from_node)
    return Json({"accepted": taken.accepted, "left_out": dict(taken.left_out), "examples": taken.examples})


class WantedKey(BaseModel):
    """How receipts are to be signed from now on."""

    model_config = ConfigDict(extra="forbid")
    forget: bool = Field(
        False, description="Refuse at once the receipts of all keys before it, as after a leak"
    )


@router.get(
    "/v1/receipts/{receipt}",
    summary="What a receipt says, once it is verified",
    response_model=ReceiptView,
    responses=problems(400, 503),
)
async def show_receipt(
    plane: Control, receipt: Annotated[str, Path(description="`x-understudy-receipt` of an answer")]
) -> Any:
    said = plane.keyring.read(receipt)
    models: Collection[str] = plane.door.entries
    if said.rollout not in map(name_id, models):  # one that was deleted
        models = await asyncio.to_thread(plane.models_ever)
    nodes = {row.report.node for row in plane.nodes.alive(time.monotonic())}
    return Json(receipt_view(said, models, nodes))


@router.post(
    "/v1/receipt-keys",
    summary="Sign receipts with a new key from now on",
    description="Keys are rotated by themselves (`--receipt-key-days`). They are told to nobody but nodes.",
    response_model=ReceiptKeyView,
    responses=problems(400, 413, 503),
)
async def rotate_key(plane: Control, wanted: WantedKey | None = None) -> Any:
    key = await plane.keyring.rotate(forget=wanted is not None and wanted.forget)
    return Json({"id": key.id, "made": key.made})
