"""KServe's V1 protocol on a public door: `POST /v1/models/{model}:predict`, for clients that speak no V2.

What is asked becomes a request of V2 (`serving.wire.instances`) for the same handler: it is drawn, forced,
mirrored, counted, recorded and refused as any other.
"""

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any

from fastapi import FastAPI, Request

from serving.errors import ServingError
from serving.http.app import ERRORS, Model, Service, handler_of, infer, ready_reply
from serving.wire.handler import Handler, each
from serving.wire.instances import read_instances, write_predictions
from serving.wire.message import JSON_LENGTH_HEADER, Call, Outcome, Reply
from serving.wire.tensors import Signature, spec_from_json

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["instances"],
                    "properties": {"instances": {"type": "array", "minItems": 1, "items": {}}},
                },
                "example": {"instances": [[5.1, 3.5, 1.4, 0.2]]},
            }
        },
    }
}


class Predicting:
    """A handler of V1 in front of one of V2.

    Args:
        inner: answers.
        signature: gives that of the model, or says why there is none.
    """

    joins = False

    def __init__(self, inner: Handler, signature: Callable[[], Signature]) -> None:
        self._inner = inner
        self._signature = signature

    def one(self, call: Call) -> Awaitable[Reply]:
        """As `Handler`."""
        return self._answer(call)

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `Handler`."""
        return each(self.one, calls)

    def refused(self, call: Call, failure: Exception) -> None:
        """As `Handler`."""
        self._inner.refused(call, failure)

    async def _answer(self, call: Call) -> Reply:
        try:
            asked = read_instances(call.body, self._signature())
        except ServingError as error:
            call.body = b""  # what came is none of V2
            self._inner.refused(call, error)
            raise
        call.headers = {**call.headers, JSON_LENGTH_HEADER: b"%d" % asked.json_length}
        call.body = asked.body
        outcome = self._inner.one(call)
        reply = await outcome if isawaitable(outcome) else outcome
        if reply.status != 200:
            return reply
        body = write_predictions(reply.body, reply.json_length, asked.rows)
        return Reply(200, body, None, reply.headers, reply.compute_seconds, reply.shared)


def add_predict(app: FastAPI, service: Service) -> None:
    """Add the endpoints of V1.

    Args:
        app: of the public door.
        service: answers.
    """

    @app.get("/v1/models", summary="Names of all models (V1)")
    async def models() -> Any:
        return {"models": sorted({row["name"] for row in service.index(ready_only=False)})}

    @app.get("/v1/models/{model}", summary="Model ready (V1)", responses=ERRORS)
    async def ready(model: Model) -> Any:
        return ready_reply(service, model, None)

    @app.post("/v1/models/{model}:predict", summary="Inference (V1)", responses=ERRORS, openapi_extra=_BODY)
    async def predict(model: Model, request: Request) -> Any:
        handler = Predicting(handler_of(service, model, None), lambda: _signature(service, model))
        return await infer(request, service, handler)


def _signature(service: Service, model: str) -> Signature:
    metadata = service.metadata(model, None)
    inputs, outputs = (tuple(map(spec_from_json, metadata[side])) for side in ("inputs", "outputs"))
    return Signature(inputs, outputs)
