"""Errors as problem details (RFC 9457), and how endpoints say which they give."""

from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from control.api.requests import actor_of
from control.api.security import LINKS
from control.plane import Plane
from control.store.leader import NotLeading
from control.views.schemas import Fault, Problem
from serving.document import DocumentError
from serving.errors import ServingError, fault_in_words
from serving.http.methods import allowed

log = structlog.get_logger()

PROBLEM = "application/problem+json"
_TITLES = {
    400: "Not valid", 401: "Not authenticated", 403: "Not allowed", 404: "Not found",
    409: "Does not apply now", 410: "Expired", 412: "Stale revision", 413: "Too large", 421: "Wrong host",
    422: "Not valid", 503: "Not available",
}  # fmt: skip
_PROBLEM_CONTENT = {PROBLEM: {"schema": Problem.model_json_schema()}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an endpoint, for the OpenAPI document."""
    return {
        status: {"description": _TITLES[status], "content": _PROBLEM_CONTENT}
        for status in (401, 403, 421, 422, *statuses)
    }


CHANGE = problems(400, 404, 409, 412, 413, 503)
"""Of every endpoint that changes a rollout."""


def problem(status: int, detail: str, **place: Any) -> Response:
    """An error as it is told."""
    said = Problem(title=_TITLES.get(status, "Failed"), status=status, detail=detail, **place)
    headers = {"retry-after": "1"} if status == 503 else None
    return Response(said.model_dump_json(exclude_none=True), status, headers, PROBLEM)


def _told(path: str) -> str:
    """A path for the log, without the token of a link."""
    return f"{LINKS}..." if path.startswith(LINKS) else path


def add_errors(app: FastAPI, plane: Plane) -> None:
    """Every failure becomes a problem; a document that is refused is told to the plane."""

    async def expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, ServingError)
        if isinstance(error, DocumentError):
            if not getattr(request.state, "dry_run", False):  # an editor tries while one types
                model = request.path_params.get("model", "")
                plane.rejected(str(error), model, actor_of(request).name)
            faults = [
                Fault(file=fault.file, line=fault.line, column=fault.column, detail=fault.message)
                for fault in error.faults
            ]
            first, further = faults[0], f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            place = {"file": first.file, "line": first.line, "column": first.column}
            return problem(error.status, first.detail + further, **place, faults=faults)
        response = problem(error.status, str(error))
        if isinstance(error, NotLeading):
            response.headers["connection"] = "close"
        return response

    async def by_framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = problem(error.status_code, str(error.detail))
        if error.status_code == 405:
            response.headers["allow"] = allowed(app, request.scope)
        return response

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(422, fault_in_words(error.errors()[0]))

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("a request failed by a fault of ours", path=_told(request.url.path), exc_info=error)
        return problem(500, "a fault of ours; it was logged")

    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(ServingError, expected)
    app.add_exception_handler(HTTPException, by_framework)
    app.add_exception_handler(RequestValidationError, invalid)
