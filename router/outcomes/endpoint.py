"""`POST /v1/outcomes` on the public door of workers, as it is described there.

Like inference it is mostly answered before it comes here; what does come ends in the same handler. It passes
what every request there passes: connections, keys, rates, bodies.
"""

from typing import Any

from fastapi import FastAPI, Request

from router.outcomes.described import BODY, DESCRIPTION, OutcomesTaken
from router.wire.outcomes import PATH
from serving.http.app import ERRORS, Service, infer
from serving.wire.handler import Handler


def add_outcomes(app: FastAPI, service: Service, handler: Handler) -> None:
    """Add the endpoint.

    Args:
        app: of the public door.
        service: whose limits hold.
        handler: answers.
    """

    @app.post(
        PATH.decode(),
        summary="Tell outcomes: labels, conversions and amounts, by receipt or by user",
        description=DESCRIPTION,
        response_model=OutcomesTaken,
        response_model_exclude_unset=True,
        responses={status: ERRORS[status] for status in (400, 404, 413, 501, 503)},
        openapi_extra=BODY,
    )
    async def tell(request: Request) -> Any:
        return await infer(request, service, handler)
