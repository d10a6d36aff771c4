"""KServe's V1 protocol on a public door: `POST /v1/models/{model}:predict`, for clients that speak no V2.

As of V2, what is asked at a known path is answered before it comes here (`serving.wire.predicting`).
"""

from typing import Any

from fastapi import FastAPI, Request

from serving.http.app import ERRORS, Model, Service, handler_at, infer, ready_reply
from serving.wire.predicting import predict_path

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


def add_predict(app: FastAPI, service: Service) -> None:
    """Add the endpoints of V1.

    Args:
        app: of the public door.
        service: answers.
    """

    @app.get("/v1/models", summary="Names of all models (V1)")
    async def models() -> Any:
        rows = await service.index(ready_only=False)
        return {"models": sorted({row["name"] for row in rows})}

    @app.get("/v1/models/{model}", summary="Model ready (V1)", responses=ERRORS)
    async def ready(model: Model) -> Any:
        return ready_reply(service, model, None)

    @app.post("/v1/models/{model}:predict", summary="Inference (V1)", responses=ERRORS, openapi_extra=_BODY)
    async def predict(model: Model, request: Request) -> Any:
        return await infer(request, service, handler_at(predict_path(model), service, model, None))
