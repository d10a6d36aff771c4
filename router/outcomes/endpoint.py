"""`POST /v1/outcomes` on the public door of workers.

It passes what every request there passes: connections, keys, rates, bodies. What takes outcomes is made, and
imported, with the first request, or where some are on disk: a worker to which none are told pays nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

from router.outcomes.described import BODY, DESCRIPTION, OutcomesTaken
from router.wire.outcomes import MAX_BODY_BYTES
from serving.admission.gate import peer
from serving.http.app import ERRORS, read_body
from serving.http.codings import inflated
from serving.http.endpoint import Limits

if TYPE_CHECKING:
    from router.outcomes.door import OutcomesDoor

PATH = "/v1/outcomes"


def add_outcomes(app: FastAPI, limits: Limits, opened: "Callable[[], OutcomesDoor]") -> None:
    """Add the endpoint.

    Args:
        app: of the public door.
        limits: of its bodies.
        opened: gives what takes outcomes.
    """
    bounds = Limits(min(limits.body_bytes, MAX_BODY_BYTES), bodies=limits.bodies)

    @app.post(
        PATH,
        summary="Tell outcomes: labels, conversions and amounts, by receipt or by user",
        description=DESCRIPTION,
        response_model=OutcomesTaken,
        response_model_exclude_unset=True,
        responses={status: ERRORS[status] for status in (400, 413, 501, 503)},
        openapi_extra=BODY,
    )
    async def tell(request: Request) -> Any:
        headers = dict(request.headers.raw)
        body = await read_body(request, bounds)
        async with inflated(headers, body, bounds, peer(request.scope["client"])) as plain:
            taken = await opened().take(plain)
        return {
            "accepted": taken.accepted,
            "left_out": taken.left_out,
            "examples": [example._asdict() for example in taken.examples],
        }


def left_behind(folder: Path) -> bool:
    """Whether outcomes wait on disk."""
    return any(folder.glob("*"))
