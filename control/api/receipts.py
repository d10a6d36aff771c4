"""Receipts of answers: what one says, and a new key to sign them with."""

import asyncio
import time
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from control.api.problems import problems
from control.api.requests import Control, Json
from control.views.receipt import receipt_view
from control.views.schemas import ReceiptKeyView, ReceiptView
from router.counting.receipt import name_id

router = APIRouter()


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
