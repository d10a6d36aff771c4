"""The Open Inference Protocol v2 over HTTP: FastAPI describes and serves every endpoint.

The application asks a `Service` for everything; the inference server and the router are two of them.
Inference on a known path does not come here (`serving.http.connection`), but what does come ends in the same
handler.
Source: kserve/open-inference-protocol, and Triton's protocol extensions.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Annotated, Any, Protocol

import orjson
from fastapi import FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from serving.admission.gate import peer
from serving.clock import clock
from serving.errors import InvalidInput, NotFound, ServingError, TooLarge, fault_in_words
from serving.http.codings import answer
from serving.http.endpoint import Limits, ModelsEndpoint
from serving.http.methods import HeadAsGet, allowed
from serving.http.replies import content_headers, error_reply, too_large
from serving.wire.handler import Handler
from serving.wire.message import Call, Reply
from serving.wire.request_id import MAX_BYTES, REQUEST_ID

EXTENSIONS = ["binary_tensor_data", "statistics", "model_configuration", "model_repository"]


class Service(ModelsEndpoint, Protocol):
    """What answers behind the protocol."""

    name: str
    version: str

    def ready(self) -> bool:
        """Whether inference requests will be answered."""

    def metadata(self, model: str, version: str | None) -> dict[str, Any]:
        """The model's OIP metadata; `NotFound` for an unknown one."""

    def model_ready(self, model: str, version: str | None) -> bool:
        """Whether the model is loaded and warm; `NotFound` for an unknown one."""

    def config(self, model: str, version: str | None) -> dict[str, Any]:
        """The model configuration extension's answer."""

    def statistics(self, model: str | None, version: str | None) -> list[dict[str, Any]]:
        """The statistics extension's `model_stats`."""

    async def index(self, *, ready_only: bool) -> list[dict[str, str]]:
        """The repository index: name, version, state, reason."""

    async def load(self, model: str) -> None:
        """Load a model of the repository."""

    async def unload(self, model: str) -> None:
        """Unload a model."""

    async def start(self) -> None:
        """Begin to serve; called once, on the event loop."""

    async def stop(self) -> None:
        """Finish what is under way and release everything."""


class _Application(FastAPI):
    """What `ERRORS` refer to is added to the description: a model for each would cost every start 15 ms."""

    def openapi(self) -> dict[str, Any]:
        """As the base class."""
        document = super().openapi()
        document["components"]["schemas"]["Error"] = _ERROR
        return document


class _Json(JSONResponse):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


Model = Annotated[str, Path(description="The public name of the model", max_length=128)]
Version = Annotated[str, Path(description="A version of the model", max_length=10)]

_ERROR = {
    "type": "object",
    "description": "Why a request was not answered",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "In words"}},
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for status, text in {
        400: "The request is not valid",
        404: "Unknown model or version",
        413: "The body is too large",
        500: "The model failed",
        501: "Not offered here",
        503: "Not ready, or overloaded",
        504: "The deadline passed",
    }.items()
}
_OBJECT_BODY = {
    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
}
_INFER = {
    "parameters": [
        {
            "name": REQUEST_ID.decode(),
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": MAX_BYTES},
            "description": "What you call the request; comes back with the answer if it is printable ASCII",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "required": ["inputs"]}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


def create_app(service: Service) -> FastAPI:
    """The ASGI application of a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        await service.start()
        yield
        await service.stop()

    app = _Application(
        title="Understudy: Open Inference Protocol v2",
        version=service.version,
        lifespan=lifespan,
        default_response_class=_Json,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(HeadAsGet)
    _add_errors(app)
    _add_server(app, service)
    _add_all_statistics(app, service)
    _add_models(app, service)
    _add_inference(app, service)
    _add_repository(app, service)
    return app


def respond(reply: Reply) -> Response:
    """An answer as Starlette sends it."""
    response = Response(reply.body, reply.status)
    for line in (content_headers(reply) + reply.headers).split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        response.raw_headers.append((name, value))
    return response


def _add_errors(app: FastAPI) -> None:
    async def expected(_: Request, error: Exception) -> Response:
        return respond(error_reply(error))

    async def unknown_route(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        detail = error.detail if isinstance(error, HTTPException) else "the request is not valid"
        headers = {"allow": allowed(app, request.scope)} if status == 405 else getattr(error, "headers", None)
        return _Json({"error": detail}, status, headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return respond(error_reply(InvalidInput(fault_in_words(error.errors()[0]))))

    app.add_exception_handler(ServingError, expected)
    app.add_exception_handler(Exception, expected)
    app.add_exception_handler(HTTPException, unknown_route)
    app.add_exception_handler(RequestValidationError, invalid)


def _add_server(app: FastAPI, service: Service) -> None:
    @app.get("/v2", summary="Server metadata")
    @app.get("/v2/", include_in_schema=False)
    async def server() -> Any:
        return _Json({"name": service.name, "version": service.version, "extensions": EXTENSIONS})

    @app.get("/v2/health/live", summary="Server live")
    async def live() -> Any:
        return _Json({"live": True})

    @app.get("/v2/health/ready", summary="Server ready", responses={503: ERRORS[503]})
    async def ready() -> Any:
        if service.draining or not service.ready():
            return _Json({"ready": False, "error": "not ready"}, 503, {"retry-after": "1"})
        return _Json({"ready": True})


def _add_both(
    app: FastAPI, path: str, function: Callable[..., Awaitable[Any]], method: str, **options: Any
) -> None:
    """Add an endpoint of a model, once without and once with a version."""

    async def unversioned(model: Model, request: Request) -> Any:
        return await function(request, model, None)

    async def versioned(model: Model, version: Version, request: Request) -> Any:
        return await function(request, model, version)

    name = function.__name__.strip("_")
    for prefix, endpoint in (
        ("/v2/models/{model}", unversioned),
        ("/v2/models/{model}/versions/{version}", versioned),
    ):
        app.add_api_route(
            prefix + path,
            endpoint,
            methods=[method],
            name=f"{name}_{endpoint.__name__}",
            responses=ERRORS,
            **options,
        )


def _add_models(app: FastAPI, service: Service) -> None:
    async def _metadata(_: Request, model: str, version: str | None) -> Any:
        return _Json(service.metadata(model, version))

    async def _ready(_: Request, model: str, version: str | None) -> Any:
        return ready_reply(service, model, version)

    async def _config(_: Request, model: str, version: str | None) -> Any:
        return _Json(service.config(model, version))

    async def _statistics(_: Request, model: str, version: str | None) -> Any:
        return _Json({"model_stats": service.statistics(model, version)})

    _add_both(app, "", _metadata, "GET", summary="Model metadata")
    _add_both(app, "/ready", _ready, "GET", summary="Model ready")
    _add_both(app, "/config", _config, "GET", summary="Model configuration")
    _add_both(app, "/stats", _statistics, "GET", summary="Model statistics")


def ready_reply(service: Service, model: str, version: str | None) -> Response:
    """Whether a model answers; `NotFound` for an unknown one."""
    if not service.model_ready(model, version):
        return _Json({"name": model, "ready": False, "error": "not ready"}, 503, {"retry-after": "1"})
    return _Json({"name": model, "ready": True})


def _add_inference(app: FastAPI, service: Service) -> None:
    async def _infer(request: Request, model: str, version: str | None) -> Any:
        return await infer(request, service, handler_at(infer_path(model, version), service, model, version))

    _add_both(app, "/infer", _infer, "POST", summary="Inference", openapi_extra=_INFER)


def handler_at(path: bytes, service: Service, model: str, version: str | None) -> Handler:
    """Who answers the inference requests of a model at a path.

    Raises:
        NotFound: nobody does.
    """
    handler = service.paths.get(path)
    if handler is None:
        service.metadata(model, version)  # names what is unknown
        raise NotFound(f"model {model!r} is not served")
    return handler


async def infer(request: Request, service: Service, handler: Handler) -> Response:
    """What a handler answers to an inference request."""
    headers = dict(request.headers.raw)
    try:
        body = await read_body(request, service.limits)
    except TooLarge as error:
        handler.refused(Call(headers, b"", clock()), error)
        raise
    call = Call(headers, body, clock())
    client = peer(request.scope["client"])
    try:
        outcome: Reply | Awaitable[Reply] = answer(handler, call, service.limits, client)
        reply = await outcome if isawaitable(outcome) else outcome
    except Exception as error:  # noqa: BLE001  (as on the short path)
        reply = error_reply(error, call.error_headers)
    return respond(reply)


def _add_all_statistics(app: FastAPI, service: Service) -> None:
    """Before the endpoints of models, as in Triton.

    So the metadata of a model that is called `stats` is at `/v2/models/stats/versions/<version>`; all else of
    such a model is where it is of any other.
    """

    @app.get("/v2/models/stats", summary="Statistics of all models")
    async def all_statistics() -> Any:
        return _Json({"model_stats": service.statistics(None, None)})


def _add_repository(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v2/repository/index", summary="Repository index", responses=ERRORS, openapi_extra=_OBJECT_BODY
    )
    async def index(request: Request) -> Any:
        ready = (await _object(request, service.limits)).get("ready", False)
        if not isinstance(ready, bool):
            raise InvalidInput("'ready' is not a boolean")
        return _Json(await service.index(ready_only=ready))

    @app.post(
        "/v2/repository/models/{model}/load",
        summary="Load a model",
        responses=ERRORS,
        openapi_extra=_OBJECT_BODY,
    )
    async def load(model: Model, request: Request) -> Any:
        refuse_parameters(_parameters(await _object(request, service.limits)))
        await service.load(model)
        return _Json({})

    @app.post(
        "/v2/repository/models/{model}/unload",
        summary="Unload a model",
        responses=ERRORS,
        openapi_extra=_OBJECT_BODY,
    )
    async def unload(model: Model, request: Request) -> Any:
        refuse_parameters(_parameters(await _object(request, service.limits)), "unload_dependents")
        await service.unload(model)
        return _Json({})


def _parameters(content: dict[str, Any]) -> dict[str, Any]:
    parameters = content.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInput("'parameters' is not an object")
    return parameters


def refuse_parameters(parameters: Iterable[str], *harmless: str) -> None:
    """Refuse what a client would have the repository do otherwise.

    Args:
        parameters: their names.
        harmless: those that change nothing here.

    Raises:
        InvalidInput: there is another one.
    """
    for name in parameters:
        if name not in harmless:
            raise InvalidInput(
                f"parameter {name!r} is not supported: models come from the repository as they are"
            )


def infer_path(model: str, version: str | None) -> bytes:
    """The path under which `Service.paths` holds the handler of a model."""
    middle = f"/versions/{version}" if version is not None else ""
    return f"/v2/models/{model}{middle}/infer".encode()


async def _object(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object of a request; an empty one without a body."""
    body = await read_body(request, limits)
    try:
        content = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidInput("the body is not a JSON object")
    return content


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body of a request, as it came.

    Raises:
        TooLarge: it has more than the limit.
        InvalidInput: the client left before it was whole.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limits.body_bytes:
                raise too_large(limits)
    except ClientDisconnect:
        raise InvalidInput("the client left before its request was complete") from None
    return bytes(body)
