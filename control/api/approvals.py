"""Approving a rollout that waits for it, or rejecting it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from control.api.problems import CHANGE, problems
from control.api.requests import Control, Json, Model, Why, actor_of, roles_of, shown
from control.plane import Plane
from control.rollouts.events import IllegalTransition, NotEntitled
from control.rollouts.writer import Actor, Conflict
from control.views.schemas import RefusalView, RolloutView

router = APIRouter()
REFUSED = (NotEntitled, IllegalTransition, Conflict)


class Seen(Why):
    """An approval, and of what."""

    seen: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="`waiting_for.approval.seen` of the rollout's view, as it was looked at",
    )


@asynccontextmanager
async def _refusals_kept(plane: Plane, model: str, actor: Actor) -> AsyncIterator[None]:
    """Keep for auditors that somebody's answer did not count."""
    try:
        yield
    except REFUSED as error:
        await plane.refused_approval(model, actor.name, str(error))
        raise


@router.post(
    "/v1/rollouts/{model}/approve",
    summary="Approve what was looked at, of a rollout at an `approve` step",
    description="By a token whose role the step names. Who made the revision cannot; what has changed since"
    " it was looked at is refused with 409.",
    response_model=RolloutView,
    responses=CHANGE,
)
async def approve(plane: Control, model: Model, request: Request, wanted: Seen) -> Any:
    actor = actor_of(request)
    async with _refusals_kept(plane, model, actor):
        entry = await plane.approvals.approve(model, actor, roles_of(request), wanted.seen, wanted.reason)
    plane.approved(model, "counted")
    return shown(entry, plane)


@router.post(
    "/v1/rollouts/{model}/reject",
    summary="Pause a rollout at an `approve` step, with the reason",
    response_model=RolloutView,
    responses=CHANGE,
)
async def reject(plane: Control, model: Model, request: Request, why: Why | None = None) -> Any:
    actor, reason = actor_of(request), why.reason if why is not None else ""
    async with _refusals_kept(plane, model, actor):
        entry = await plane.approvals.reject(model, actor, roles_of(request), reason)
    plane.approved(model, "rejected")
    return shown(entry, plane)


@router.get(
    "/v1/rollouts/{model}/refusals",
    summary="Approvals that did not count, the latest first",
    response_model=list[RefusalView],
    responses=problems(404, 503),
)
async def refusals(plane: Control, model: Model, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Any:
    plane.door.get(model)
    return Json([asdict(row) for row in await asyncio.to_thread(plane.refusals, model, limit)])
