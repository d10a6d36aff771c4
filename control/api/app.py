"""The admin door: FastAPI over the one door through which rollouts change.

Every change takes `If-Match` with the revision that it is based on (412 when stale); `*` or none does not
check. Errors are problem details (RFC 9457), with file, line and column where a document is at fault.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import orjson
import structlog
from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from control.api.api_page import add_api_page
from control.dashboard.door import add_page
from control.fleet.examples import Order
from control.judging.verdicts import as_json
from control.plane import Plane
from control.rollouts.catalogue import Unservable
from control.rollouts.events import Abort, Event, Pause, Promote, Resume, StartAA
from control.rollouts.file import located
from control.rollouts.writer import ANY, Actor, Entry, Proposal
from control.views.rollout import aa_view, proposal_view, revision_view, rollout_view
from control.views.schemas import (
    AAView,
    EvidenceView,
    ExamplesView,
    Fault,
    Health,
    LoadRow,
    ModelView,
    NeedView,
    NodeRow,
    PointView,
    Problem,
    ProposalView,
    RevisionView,
    RolloutView,
)
from router.rollout.parser import parse_each, parse_one
from router.wire.report import WIRE, Answer, Report
from serving.document import DocumentError, all_of
from serving.errors import InvalidInput, NotFound, ServingError, Unavailable
from serving.http.methods import HeadAsGet, allowed

log = structlog.get_logger()

PROBLEM = "application/problem+json"
_NO_NUL = r"^[^\x00]*$"
"""PostgreSQL keeps no NUL in text."""


class Json(JSONResponse):
    """JSON by orjson."""

    def render(self, content: Any) -> bytes:
        """Encode."""
        return orjson.dumps(content)


class Why(BaseModel):
    """The reason of an action, kept in the audit log."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=1000, pattern=_NO_NUL)


class WantedAA(BaseModel):
    """An A/A test: how much of the traffic the copy of stable gets, and for how long."""

    model_config = ConfigDict(extra="forbid")
    weight: float = Field(
        10.0, gt=0, lt=100, allow_inf_nan=False, description="Percent that the copy answers"
    )
    mirror: float = Field(
        100.0, ge=0, le=100, allow_inf_nan=False, description="Percent of stable's requests that it runs too"
    )
    seconds: float = Field(
        600.0, ge=1, le=86_400, allow_inf_nan=False, description="For how long, while the copy is ready"
    )
    requests: int | None = Field(None, ge=1, le=2**53, description="It ends sooner when so many were counted")
    reason: str = Field("", max_length=1000, pattern=_NO_NUL)


Model = Annotated[str, Path(description="Public model name", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Topic = Annotated[str, Field(pattern=r"^(overview|needs|load|rollout:[A-Za-z0-9][A-Za-z0-9._-]{0,127})$")]
Topics = Annotated[
    Sequence[Topic],
    Query(
        max_length=20,
        description="What to tell every second besides changes: overview, needs, load, or rollout:NAME",
    ),
]
Reason = Annotated[str, Query(max_length=1000, pattern=_NO_NUL, description="Why, for the audit log")]
DryRun = Annotated[bool, Query(alias="dryRun", description="only say what would change")]
BasedOn = Annotated[
    Sequence[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}:[0-9]{1,15}$")]],
    Query(
        alias="basedOn",
        max_length=1000,
        description="NAME:REVISION, the revision of a rollout that the change is based on, 0 for none; one"
        " that is not named is not checked",
    ),
]
IfMatch = Annotated[str | None, Header(description='The revision that the change is based on, e.g. "12"')]
_TITLES = {
    400: "Not valid", 401: "Not authenticated", 403: "Not allowed", 404: "Not found",
    409: "Does not apply now", 412: "Stale revision", 413: "Too large", 421: "Wrong host",
    422: "Not valid", 503: "Not available",
}  # fmt: skip
_PROBLEM_CONTENT = {PROBLEM: {"schema": Problem.model_json_schema()}}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint, for the OpenAPI document."""
    return {
        status: {"description": _TITLES[status], "content": _PROBLEM_CONTENT}
        for status in (401, 403, 421, 422, *statuses)
    }


_CHANGE = _problems(400, 404, 409, 412, 413, 503)


def create_app(plane: Plane) -> FastAPI:
    """The ASGI application of a control plane."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await plane.start()
        yield
        await plane.stop()

    app = FastAPI(
        title="Understudy control",
        version=plane.version,
        lifespan=lifespan,
        default_response_class=Json,
        responses=_problems(),
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(HeadAsGet)
    _add_errors(app, plane)
    _add_rollouts(app, plane)
    _add_documents(app, plane)
    _add_changes(app, plane)
    _add_data_plane(app, plane)
    _add_health(app, plane)
    add_page(app)
    add_api_page(app)
    return app


def _problem(status: int, detail: str, **place: Any) -> Response:
    problem = Problem(title=_TITLES.get(status, "Failed"), status=status, detail=detail, **place)
    headers = {"retry-after": "1"} if status == 503 else None
    return Response(problem.model_dump_json(exclude_none=True), status, headers, PROBLEM)


def _add_errors(app: FastAPI, plane: Plane) -> None:
    async def expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServingError)
        if isinstance(error, DocumentError):
            if not getattr(request.state, "dry_run", False):  # an editor tries while one types
                model = request.path_params.get("model", "")
                plane.rejected(str(error), model, _actor(request).name)
            faults = [
                Fault(file=fault.file, line=fault.line, column=fault.column, detail=fault.message)
                for fault in error.faults
            ]
            first, further = faults[0], f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            place = {"file": first.file, "line": first.line, "column": first.column}
            return _problem(error.status, first.detail + further, **place, faults=faults)
        return _problem(error.status, str(error))

    async def by_framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = _problem(error.status_code, str(error.detail))
        if error.status_code == 405:
            response.headers["allow"] = allowed(app, request.scope)
        return response

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return _problem(422, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("a request failed by a fault of ours", path=request.url.path, exc_info=error)
        return _problem(500, "a fault of ours; it was logged")

    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(ServingError, expected)
    app.add_exception_handler(HTTPException, by_framework)
    app.add_exception_handler(RequestValidationError, invalid)


def _view(entry: Entry, plane: Plane, now: float) -> dict[str, Any]:
    return rollout_view(entry, plane.door, plane.nodes, now, plane.attention.of(entry, now))


def _shown(entry: Entry, plane: Plane) -> Response:
    """A rollout as it stands, with its revision as ETag."""
    return Json(_view(entry, plane, time.monotonic()), headers={"etag": f'"{entry.revision}"'})


def _add_rollouts(app: FastAPI, plane: Plane) -> None:
    door = plane.door

    @app.get(
        "/v1/rollouts", summary="All rollouts", response_model=list[RolloutView], responses=_problems(503)
    )
    async def list_rollouts() -> Any:
        door.require_open()
        now = time.monotonic()
        return Json([_view(door.entries[model], plane, now) for model in sorted(door.entries)])

    @app.get(
        "/v1/needs",
        summary="What needs a person, of rollouts and of control itself; the most urgent first",
        response_model=list[NeedView],
    )
    async def list_needs() -> Any:
        return Json(plane.attention.all(time.monotonic()))

    @app.get(
        "/v1/rollouts/{model}",
        summary="One rollout; its ETag is its revision",
        response_model=RolloutView,
        responses=_problems(404, 503),
    )
    async def show(model: Model) -> Any:
        return _shown(door.get(model), plane)

    @app.get(
        "/v1/rollouts/{model}/history",
        summary="Who changed it, when and why; the latest first",
        response_model=list[RevisionView],
        responses=_problems(404, 503),
    )
    async def history(
        model: Model,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        before: Annotated[
            int | None, Query(ge=1, le=2**53, description="only older than this revision")
        ] = None,
    ) -> Any:
        revisions = await asyncio.to_thread(door.history, model, limit, before)
        if not revisions:
            door.get(model)
        return Json([revision_view(revision) for revision in revisions])

    @app.get(
        "/v1/rollouts/{model}/evidence",
        summary="Each guard: its e-values, the line, and what they say",
        response_model=EvidenceView,
        responses=_problems(404, 503),
    )
    async def evidence(model: Model) -> Any:
        entry = door.get(model)
        judgement = plane.examiner.judgements.get(model)
        return Json(
            {
                "model": model,
                "revision": entry.revision,
                "stage": entry.progress.stage,
                "alpha": entry.rollout.alpha,
                "judgement": None if judgement is None else as_json(judgement),
            }
        )

    @app.get(
        "/v1/rollouts/{model}/aa",
        summary="The A/A test that runs, or the last one with a report: false alarms, noise, tolerances",
        response_model=AAView,
        responses=_problems(404, 503),
    )
    async def show_aa(model: Model) -> Any:
        entry = door.get(model)
        if (seen := plane.examiner.aa_evidence(entry)) is not None:
            return Json(aa_view(model, seen, None))
        for row in await asyncio.to_thread(door.history, model, 1000, None):
            if row.event == "aa_ended" and row.evidence is not None:
                return Json(aa_view(model, row.evidence, row))
        raise NotFound(f"no A/A of {model!r} has ended with a report")

    @app.get(
        "/v1/rollouts/{model}/examples",
        summary="Comparisons that were kept, with both answers",
        response_model=ExamplesView,
        responses=_problems(404, 503),
    )
    async def examples(
        model: Model,
        output: Annotated[str | None, Query(max_length=1000, description="only of this output")] = None,
        order: Annotated[Order, Query(description="the farthest or the latest first")] = "distance",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Any:
        door.get(model)
        return Json(plane.gallery.view(model, output, order, limit))

    @app.get(
        "/v1/rollouts/{model}/series",
        summary="The last 15 minutes, a point a second: shares, rates, latencies, agreement, evidence",
        response_model=list[PointView],
        responses=_problems(404, 503),
    )
    async def series(
        model: Model,
        since: Annotated[
            float, Query(ge=0, le=1e12, allow_inf_nan=False, description="only later points (since 1970)")
        ] = 0.0,
    ) -> Response:
        door.get(model)
        return Response(plane.dashboard.series.json(model, since), media_type="application/json")


def _add_documents(app: FastAPI, plane: Plane) -> None:
    door = plane.door

    @app.put(
        "/v1/rollouts/{model}",
        summary="Put a whole document (YAML or JSON)",
        openapi_extra=_DOCUMENT,
        response_model=RolloutView | ProposalView,
        responses=_CHANGE,
    )
    async def put(
        model: Model,
        request: Request,
        if_match: IfMatch = None,
        dry_run: DryRun = False,  # noqa: FBT002
        reason: Reason = "",
    ) -> Any:
        request.state.dry_run = dry_run
        based_on = _revision(if_match)
        text = await request.body()
        rollout = await asyncio.to_thread(parse_one, model, text, "document")
        try:
            if dry_run:
                return Json(proposal_view(await door.propose(rollout, based_on)))
            await door.put([rollout], _actor(request), reason or "put", based_on)
        except Unservable as error:
            raise located(text, "document", error, model) from None
        return _shown(door.get(model), plane)

    @app.post(
        "/v1/rollouts",
        summary="Put every document of a rollout file (YAML or JSON), all or none of them",
        description="A refusal names every fault of the file, each with line and column. Rollouts that the"
        " file does not name stay as they are.",
        openapi_extra=_DOCUMENT,
        response_model=list[RolloutView] | list[ProposalView],
        responses=_CHANGE,
    )
    async def put_all(
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
                unservable = await door.faults(list(rollouts.values()))
                rest = [located(text, "document", error) for error in unservable.values()]
                raise all_of([*errors.values(), *rest])
            if dry_run:
                proposals = await door.propose_all(list(rollouts.values()), revisions)
            else:
                await door.put(list(rollouts.values()), _actor(request), reason or "put", revisions)
        except Unservable as error:
            raise located(text, "document", error) from None
        if dry_run:
            return Json([proposal_view(proposal) for proposal in proposals])
        now = time.monotonic()
        return Json([_view(door.get(model), plane, now) for model in rollouts])

    @app.delete(
        "/v1/rollouts/{model}", summary="Serve this name no longer", status_code=204, responses=_CHANGE
    )
    async def delete(
        model: Model,
        request: Request,
        if_match: IfMatch = None,
        reason: Reason = "",
    ) -> Response:
        await door.put([], _actor(request), reason or "deleted", _revision(if_match), delete=[model])
        return Response(status_code=204)


def _add_changes(app: FastAPI, plane: Plane) -> None:
    door = plane.door

    def action(name: str, summary: str, event: Callable[[str], Event]) -> None:
        async def act(
            model: Model, request: Request, why: Why | None = None, if_match: IfMatch = None
        ) -> Any:
            actor, given = _actor(request), why.reason if why is not None else ""
            happens = event(given or f"{name} by {actor.name}")
            seen = plane.examiner.aa_evidence(door.get(model)) if name == "abort" else None
            entry = await door.act(model, happens, actor, _revision(if_match), seen, reason=given)
            return _shown(entry, plane)

        path = f"/v1/rollouts/{{model}}/{name}"
        app.add_api_route(
            path,
            act,
            methods=["POST"],
            summary=summary,
            name=name,
            response_model=RolloutView,
            responses=_CHANGE,
        )

    action("promote", "Make the canary stable", Promote)
    action("abort", "Take the canary off, undo a promotion, or end an A/A test", Abort)
    action("pause", "Hold the rollout at its step", Pause)
    action("resume", "Let a paused rollout go on, or a rolled back one start again", lambda _: Resume())

    @app.post(
        "/v1/rollouts/{model}/aa",
        summary="Hold stable against itself for a while (A/A); nothing follows from it",
        description="Stable is its own canary: refused where the document names one, where stable is behind a"
        " URL, and while one runs. It ends by its time, its requests, an abort, an edit or a deletion; the"
        " document stays as it is.",
        response_model=RolloutView,
        responses=_CHANGE,
    )
    async def start_aa(
        model: Model, request: Request, wanted: WantedAA | None = None, if_match: IfMatch = None
    ) -> Any:
        actor, asked = _actor(request), wanted or WantedAA()
        event = StartAA(asked.weight, asked.mirror, asked.seconds, asked.requests, actor.name)
        return _shown(await door.start_aa(model, event, actor, _revision(if_match), asked.reason), plane)

    @app.post(
        "/v1/rollouts/{model}/undo",
        summary="Go back to the document of a revision",
        response_model=RolloutView | ProposalView,
        responses=_CHANGE,
    )
    async def undo(
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
        revision = await asyncio.to_thread(door.document_to_undo_to, model, to)
        rollout = parse_one(model, orjson.dumps(revision.document), f"revision {revision.revision}")
        if dry_run:
            return Json(proposal_view(await door.propose(rollout, _revision(if_match))))
        reason = f"back to revision {revision.revision}"
        if why is not None and why.reason:
            reason = f"{reason}: {why.reason}"
        await door.put([rollout], _actor(request), reason, _revision(if_match), bytes_of=revision.digests)
        return _shown(door.get(model), plane)


def _add_data_plane(app: FastAPI, plane: Plane) -> None:
    door, nodes = plane.door, plane.nodes

    @app.post(
        "/v1/sync",
        summary="The data plane's exchange: reports in, the newer snapshot out",
        response_model=Answer,
        responses=_problems(400, 413, 503),
    )
    async def sync(report: Report) -> Any:
        if not plane.leader.leads:
            raise Unavailable("another control leads")
        nothing_new = {"wire": WIRE, "revision": report.revision, "snapshot": None}
        if nodes.lacks(report):
            return Json({**nothing_new, "whole": True})
        plane.hear(report)
        snapshot, new = door.snapshot, plane.snapshots.is_new(report)
        # At revision 0 nothing was accepted yet: no reason for a router to drop what it serves.
        if snapshot.revision == 0 or (snapshot.revision == report.revision and not new):
            newer = await door.newer_than(snapshot.revision, report.wait)
            if newer is None:
                return Json(nothing_new)
            snapshot = newer
        told = plane.snapshots.wire(snapshot, report)
        return Json({"wire": WIRE, "revision": snapshot.revision, "snapshot": told})

    @app.get("/v1/nodes", summary="Every process of the data plane", response_model=list[NodeRow])
    async def list_nodes() -> Any:
        return Json(nodes.rows(time.monotonic()))

    @app.get(
        "/v1/load",
        summary="CPU and memory of each node's machine and processes",
        response_model=list[LoadRow],
    )
    async def load() -> Any:
        return Json(plane.dashboard.load.rows())

    @app.get("/v1/models", summary="The model repository", response_model=list[ModelView])
    async def list_models() -> Any:
        return Json(await asyncio.to_thread(plane.models))

    @app.get(
        "/v1/events",
        summary="Changes as they happen, and digests every second (server-sent events)",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **_problems(503)},
    )
    async def events(topic: Topics = ()) -> StreamingResponse:
        return StreamingResponse(
            plane.dashboard.feed.listen(topic),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )


def _add_health(app: FastAPI, plane: Plane) -> None:
    registry = CollectorRegistry()
    registry.register(plane.collector)

    @app.get(
        "/metrics",
        summary="Of all processes of the node",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
    )
    async def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await asyncio.to_thread(encode, registry), media_type=media_type)

    @app.get("/healthz", summary="Alive", response_model=Health)
    async def healthz() -> Any:
        return Json({"status": "ok"})

    @app.get(
        "/readyz",
        summary="This control leads and the rollout file is accepted",
        response_model=Health,
        responses=_problems(503),
    )
    async def readyz() -> Any:
        problem = plane.problem()
        return _problem(503, problem) if problem else Json({"status": "ready"})


_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


def _revision(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return ANY
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InvalidInput(f"If-Match: expected a revision in quotes, got {if_match[:40]!r}")
    return int(text)


def _actor(request: Request) -> Actor:
    return Actor(getattr(request.state, "actor", "local"), "api")
