"""The page behind a link for an approval: GET shows what is wanted, only POST approves or rejects."""

import json
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from control.api.problems import problems
from control.api.requests import Control
from control.pilot.approval_links import Expired
from control.plane import Plane
from control.rollouts.looking import hash_of
from control.rollouts.state import status_sentence
from control.views.approval_page import HEADERS, asked, told
from control.views.rollout import judged
from serving.errors import InvalidInput, ServingError

router = APIRouter()
GONE = 410


def _pages(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of these endpoints, for the OpenAPI document: pages, beside what others say in problems."""
    found = problems(*statuses)
    for told_as in found.values():
        told_as["content"] = {**told_as["content"], "text/html": {}}
    return found


def _answer(page: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(page, status, dict(HEADERS))


async def _refused(plane: Plane, model: str, person: str, error: ServingError) -> HTMLResponse:
    if error.status < 500:
        await plane.refused_approval(model, person, f"by a link: {error}")
    return _answer(told("Refused", str(error)), GONE if isinstance(error, Expired) else error.status)


@router.get(
    "/v1/approvals/{token}",
    summary="The page of a link for an approval",
    description="The link carries what lets it in. Looking changes nothing: scanners of mail do no harm.",
    response_class=HTMLResponse,
    responses=_pages(404, 409, 410, 503),
)
async def look(plane: Control, token: str) -> Any:
    model = person = ""
    try:
        claims = plane.links.read(token)
        model, person = claims.model, claims.person
        opened = plane.links.open(claims)
    except ServingError as error:
        return await _refused(plane, model, person, error)
    entry = opened.entry
    looked = plane.approvals.looked_at(entry)
    seen, document = hash_of(looked), json.dumps(looked["document"], indent=2)
    status, judgement = status_sentence(entry.rollout, entry.progress), judged(plane.examiner, entry).sole
    return _answer(
        asked(person, f"{model}: {status}", looked, document, seen, judgement, changed=seen != claims.seen)
    )


@router.post(
    "/v1/approvals/{token}",
    summary="Approve or reject by a link, once",
    response_class=HTMLResponse,
    responses=_pages(400, 404, 409, 410, 413, 503),
)
async def answer(plane: Control, token: str, request: Request) -> Any:
    model = person = ""
    try:
        claims = plane.links.read(token)
        model, person = claims.model, claims.person
        approves, seen, reason = _form(await request.body())
        entry = await plane.links.use(claims, seen, reason, approves=approves)
    except ServingError as error:
        return await _refused(plane, model, person, error)
    plane.approved(model, "counted" if approves else "rejected")
    status = status_sentence(entry.rollout, entry.progress)
    return _answer(
        told("Thank you", f"{person} {'approved' if approves else 'rejected'}. {model}: {status}.")
    )


def _form(body: bytes) -> tuple[bool, str, str]:
    """Whether it approves, what was seen, and why.

    Raises:
        InvalidInput: it is not what the form sends.
    """
    try:
        fields = parse_qs(body.decode(), max_num_fields=10)
    except ValueError:
        raise InvalidInput("expected what the form of this page sends") from None
    say, seen, reason = (fields.get(name, [""])[0] for name in ("say", "seen", "reason"))
    if say not in {"approve", "reject"} or len(seen) > 64 or len(reason) > 1000 or "\0" in reason:
        raise InvalidInput("expected what the form of this page sends")
    return say == "approve", seen, reason
