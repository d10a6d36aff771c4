"""The admin door: FastAPI over the one writer through which rollouts change.

Every change takes `If-Match` with the revision that it is based on (412 when stale); `*` or none does not
check. Errors are problem details (RFC 9457), with file, line and column where a document is at fault. Each
module beside this one has the endpoints of one subject; what they share is in `requests` and `problems`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from control.api import (
    approval_links,
    approvals,
    changes,
    data_plane,
    documents,
    health,
    hooks,
    outcomes,
    reading,
)
from control.api.api_page import add_api_page
from control.api.problems import add_errors, problems
from control.api.requests import Json
from control.dashboard.door import add_page
from control.plane import Plane
from serving.http.methods import HeadAsGet


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
        responses=problems(),
        docs_url=None,
        redoc_url=None,
    )
    app.state.plane = plane
    app.state.registry = CollectorRegistry()
    for collector in plane.collectors:
        app.state.registry.register(collector)
    app.add_middleware(HeadAsGet)
    add_errors(app, plane)
    for subject in (
        reading,
        documents,
        changes,
        approvals,
        approval_links,
        data_plane,
        outcomes,
        hooks,
        health,
    ):
        app.include_router(subject.router)
    add_page(app)
    add_api_page(app)
    return app
