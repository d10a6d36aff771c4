"""The data plane's exchange, and what is known of it: nodes, load, models, events."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control.api.limits import SYNC_PATH
from control.api.problems import problems
from control.api.requests import Control, Json, Model, Topics, Version
from control.plane import Plane
from control.views.schemas import LoadRow, ModelDetail, ModelView, NodeRow
from router.wire.report import WIRE, Answer, Exchange, Report
from serving.errors import ServingError, fault_in_words

router = APIRouter()
_JSON = b"application/json"


@router.post(
    "/v1/sync",
    summary="The data plane's exchange: reports in, the newer snapshot out",
    response_model=Answer,
    responses=problems(400, 413, 503),
)
async def sync(plane: Control, report: Exchange) -> Any:
    return Json(await exchanged(plane, report))


async def exchanged(plane: Plane, report: Exchange) -> dict[str, Any]:
    """Take in what a process or a node says, and wait for what is newer as long as it wants.

    Returns:
        The fields of an `Answer`.

    Raises:
        ServingError: nothing of it can be taken in; `NotLeading` where another control leads.
    """
    plane.require_lead()
    if report.processes is not None:
        return _hear_node(plane, report, report.processes)
    nothing_new = {"wire": WIRE, "revision": report.revision, "snapshot": None}
    if plane.nodes.lacks(report):
        return {**nothing_new, "whole": True}
    plane.hear(report)
    if why := plane.given.barred(report.held):
        await asyncio.sleep(report.wait if report.revision else 0.0)  # else it wants what is on its disk
        return {**nothing_new, "refused": why, **plane.keyring.news(report)}
    snapshot, new = plane.door.snapshot, plane.snapshots.is_new(report)
    # At revision 0 nothing was accepted yet: no reason for a router to drop what it serves.
    has_it = snapshot.revision == report.revision and not new
    if snapshot.revision == 0 or has_it or _cannot_use(report, snapshot.revision):
        newer = await plane.door.newer_than(snapshot.revision, report.wait)
        if newer is None or plane.given.barred(report.held):  # of a database that was changed meanwhile
            return {**nothing_new, **plane.keyring.news(report)}
        snapshot = newer
    told = orjson.Fragment(plane.snapshots.told(snapshot, report))
    return {"wire": WIRE, "revision": snapshot.revision, "snapshot": told, **plane.keyring.news(report)}


def _cannot_use(report: Report, revision: int) -> bool:
    """Whether a process has tried a revision, and does not ask for it again."""
    return report.unusable is not None and report.unusable.revision == revision


def _hear_node(plane: Plane, node: Exchange, processes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Take in what a supervisor tells for its processes; what one of them says spoils no other's."""
    whole = plane.nodes.lacks(node)
    if not whole:
        plane.hear(node)
    found = {str(each.get("instance")): _hear_process(plane, each) for each in processes}
    answer = {"wire": WIRE, "revision": plane.door.snapshot.revision, "snapshot": None}
    return {**answer, "whole": whole, "processes": found}


def _hear_process(plane: Plane, said: Mapping[str, Any]) -> dict[str, Any]:
    """Take in what one process says.

    Returns:
        The fields of a `ProcessAnswer`.
    """
    try:
        report = plane.nodes.book.read(said)
        if plane.nodes.lacks(report):
            return {"whole": True}
        plane.hear(report)
    except ValidationError as error:
        return {"problem": fault_in_words(error.errors()[0])[:5000]}
    except ServingError as error:
        return {"problem": str(error)[:5000]}
    return plane.keyring.news(report)


class SyncDoor:
    """The short way of `POST /v1/sync`: plain ASGI, in front of the application.

    Of a fleet nearly all requests are exchanges, and most of what the application does for one says nothing
    of it. What cannot be taken goes on to the application as it came, which says why.

    Args:
        app: the application.
        plane: takes what is said.
    """

    def __init__(self, app: ASGIApp, plane: Plane) -> None:
        self._app = app
        self._plane = plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if not _is_exchange(scope):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:  # who asked has gone
            return
        try:
            said = Exchange.model_validate(orjson.loads(body))
            answer = await exchanged(self._plane, said)
        except (ValueError, ServingError):
            await self._app(scope, _again(body, receive), send)
            return
        await _send(send, orjson.dumps(answer))


def _is_exchange(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["path"] != SYNC_PATH or scope["method"] != "POST":
        return False
    return any(name == b"content-type" and value == _JSON for name, value in scope["headers"])


async def _body(receive: Receive) -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """The same request once more."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


async def _send(send: Send, text: bytes) -> None:
    headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@router.get("/v1/nodes", summary="Every process of the data plane", response_model=list[NodeRow])
async def list_nodes(plane: Control) -> Any:
    return Json(plane.nodes.rows(time.monotonic()))


@router.get(
    "/v1/load",
    summary="CPU and memory of each node's machine and processes",
    response_model=list[LoadRow],
)
async def load(plane: Control) -> Any:
    return Json(plane.dashboard.load.rows())


@router.get("/v1/models", summary="The model repository", response_model=list[ModelView])
async def list_models(plane: Control) -> Any:
    return Json(await asyncio.to_thread(plane.models))


@router.get(
    "/v1/models/{name}/{version}",
    summary="One version: its bytes, what it takes and gives, and what is claimed of where it comes from",
    response_model=ModelDetail,
    responses=problems(404, 503),
)
async def show_model(plane: Control, name: Model, version: Version) -> Any:
    return Json(await plane.model(name, version))


@router.get(
    "/v1/events",
    summary="Changes as they happen, and digests every second (server-sent events)",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **problems(503)},
)
async def events(plane: Control, topic: Topics = ()) -> StreamingResponse:
    return StreamingResponse(
        plane.dashboard.feed.listen(topic),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )
