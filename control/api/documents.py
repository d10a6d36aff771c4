"""Whole documents: put, put all or none, and delete."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from control.api.problems import CHANGE
from control.api.requests import (
    DOCUMENT,
    BasedOn,
    Control,
    DryRun,
    IfMatch,
    Json,
    Model,
    Reason,
    actor_of,
    revision_of,
    shown,
    view,
)
from control.rollouts.catalogue import Unservable
from control.rollouts.file import located
from control.rollouts.writer import Proposal
from control.views.rollout import proposal_view
from control.views.schemas import ProposalView, RolloutView
from router.rollout.parser import parse_each, parse_one
from serving.document import all_of
from serving.errors import InvalidInput

router = APIRouter()


@router.put(
    "/v1/rollouts/{model}",
    summary="Put a whole document (YAML or JSON)",
    openapi_extra=DOCUMENT,
    response_model=RolloutView | ProposalView,
    responses=CHANGE,
)
async def put(
    plane: Control,
    model: Model,
    request: Request,
    if_match: IfMatch = None,
    dry_run: DryRun = False,  # noqa: FBT002
    reason: Reason = "",
) -> Any:
    request.state.dry_run = dry_run
    based_on = revision_of(if_match)
    text = await request.body()
    rollout = await asyncio.to_thread(parse_one, model, text, "document")
    try:
        if dry_run:
            return Json(proposal_view(await plane.door.propose(rollout, based_on)))
        await plane.door.put([rollout], actor_of(request), reason or "put", based_on)
    except Unservable as error:
        raise located(text, "document", error, model) from None
    return shown(plane.door.get(model), plane)


@router.post(
    "/v1/rollouts",
    summary="Put every document of a rollout file (YAML or JSON), all or none of them",
    description="A refusal names every fault of the file, each with line and column. Rollouts that the"
    " file does not name stay as they are.",
    openapi_extra=DOCUMENT,
    response_model=list[RolloutView] | list[ProposalView],
    responses=CHANGE,
)
async def put_all(
    plane: Control,
    request: Request,
    based_on: BasedOn = (),
    dry_run: DryRun = False,  # noqa: FBT002
    reason: Reason = "",
) -> Any:
    request.state.dry_run = dry_run
    text = await request.body()
    rollouts, errors = await asyncio.to_thread(parse_each, text, "document")
    revisions = {model: int(revision) for model, _, revision in (row.rpartition(":") for row in based_on)}
    if unknown := revisions.keys() - rollouts.keys() - errors.keys():
        raise InvalidInput(f"basedOn: the document has no rollout {min(unknown)!r}")
    proposals: list[Proposal] = []
    try:
        if errors:  # what the models say against the others is told at the same time
            unservable = await plane.door.faults(list(rollouts.values()))
            rest = [located(text, "document", error) for error in unservable.values()]
            raise all_of([*errors.values(), *rest])
        if dry_run:
            proposals = await plane.door.propose_all(list(rollouts.values()), revisions)
        else:
            await plane.door.put(list(rollouts.values()), actor_of(request), reason or "put", revisions)
    except Unservable as error:
        raise located(text, "document", error) from None
    if dry_run:
        return Json([proposal_view(proposal) for proposal in proposals])
    now = time.monotonic()
    return Json([view(plane.door.get(model), plane, now) for model in rollouts])


@router.delete("/v1/rollouts/{model}", summary="Serve this name no longer", status_code=204, responses=CHANGE)
async def delete(
    plane: Control,
    model: Model,
    request: Request,
    if_match: IfMatch = None,
    reason: Reason = "",
) -> Response:
    await plane.door.put([], actor_of(request), reason or "deleted", revision_of(if_match), delete=[model])
    return Response(status_code=204)
