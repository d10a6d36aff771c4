"""What a person does to a rollout: promote, abort, pause, resume, undo, and begin an A/A."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field

from control.api.problems import CHANGE
from control.api.requests import (
    NO_NUL,
    Control,
    DryRun,
    IfMatch,
    Json,
    Model,
    WantedAA,
    Why,
    actor_of,
    revision_of,
    shown,
)
from control.rollouts.events import Abort, Event, Pause, Promote, Resume, StartAA
from control.views.rollout import proposal_view
from control.views.schemas import ProposalView, RolloutView
from router.rollout.parser import parse_one

router = APIRouter()


def _action(name: str, summary: str, event: Callable[[str], Event]) -> None:
    async def act(
        plane: Control, model: Model, request: Request, why: Why | None = None, if_match: IfMatch = None
    ) -> Any:
        actor, given = actor_of(request), why.reason if why is not None else ""
        happens = event(given or f"{name} by {actor.name}")
        seen = plane.examiner.aa_evidence(plane.door.get(model)) if name == "abort" else None
        entry = await plane.door.act(model, happens, actor, revision_of(if_match), lambda: seen, reason=given)
        return shown(entry, plane)

    router.add_api_route(
        f"/v1/rollouts/{{model}}/{name}",
        act,
        methods=["POST"],
        summary=summary,
        name=name,
        response_model=RolloutView,
        responses=CHANGE,
    )


_action("abort", "Take the canary or all candidates off, undo a promotion, or end an A/A test", Abort)
_action("pause", "Hold the rollout at its step", Pause)
_action("resume", "Let a paused rollout go on, or a rolled back one start again", lambda _: Resume())


class WantedPromotion(Why):
    """Who is to become stable."""

    target: str = Field(
        "",
        max_length=2500,
        pattern=NO_NUL,
        description="In an A/B/n test the candidate, e.g. digits/3; where its model is at several servers,"
        " the `target` that the rollout's view has of it; of a canary it may be left out",
    )


@router.post(
    "/v1/rollouts/{model}/promote",
    summary="Make the canary stable, or a candidate of an A/B/n test",
    response_model=RolloutView,
    responses=CHANGE,
)
async def promote(
    plane: Control,
    model: Model,
    request: Request,
    wanted: WantedPromotion | None = None,
    if_match: IfMatch = None,
) -> Any:
    actor, asked = actor_of(request), wanted or WantedPromotion()
    event = Promote(asked.reason or f"promote by {actor.name}", asked.target)
    entry = await plane.door.act(model, event, actor, revision_of(if_match), reason=asked.reason)
    return shown(entry, plane)


@router.post(
    "/v1/rollouts/{model}/aa",
    summary="Hold stable against itself for a while (A/A); nothing follows from it",
    description="Stable is its own canary: refused where the document names one, where stable is behind a"
    " URL, and while one runs. It ends by its time, its requests, an abort, an edit or a deletion; the"
    " document stays as it is.",
    response_model=RolloutView,
    responses=CHANGE,
)
async def start_aa(
    plane: Control, model: Model, request: Request, wanted: WantedAA | None = None, if_match: IfMatch = None
) -> Any:
    actor, asked = actor_of(request), wanted or WantedAA()
    event = StartAA(asked.weight, asked.mirror, asked.seconds, asked.requests, actor.name)
    return shown(await plane.door.start_aa(model, event, actor, revision_of(if_match), asked.reason), plane)


@router.post(
    "/v1/rollouts/{model}/undo",
    summary="Go back to the document of a revision",
    response_model=RolloutView | ProposalView,
    responses=CHANGE,
)
async def undo(
    plane: Control,
    model: Model,
    request: Request,
    why: Why | None = None,
    to: Annotated[
        int | None, Query(ge=1, le=2**53, description="a revision; the one before when left out")
    ] = None,
    if_match: IfMatch = None,
    dry_run: DryRun = False,  # noqa: FBT002
) -> Any:
    request.state.dry_run = dry_run
    revision = await asyncio.to_thread(plane.door.document_to_undo_to, model, to)
    rollout = parse_one(model, orjson.dumps(revision.document), f"revision {revision.revision}")
    if dry_run:
        return Json(proposal_view(await plane.door.propose(rollout, revision_of(if_match))))
    reason = f"back to revision {revision.revision}"
    if why is not None and why.reason:
        reason = f"{reason}: {why.reason}"
    await plane.door.put(
        [rollout], actor_of(request), reason, revision_of(if_match), bytes_of=revision.digests
    )
    return shown(plane.door.get(model), plane)
