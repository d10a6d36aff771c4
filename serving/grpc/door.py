"""The Open Inference Protocol over gRPC: each method of the service, asked of a `Service`.

Source: kserve/open-inference-protocol, and Triton's extensions of it that its clients use.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

from serving.admission.bodies import SMALL_BODY_BYTES
from serving.errors import InvalidInput, TooLarge, TooMany, Unsupported
from serving.grpc.calls import Calls, Failed, headers_of, metadata_of
from serving.grpc.messages import SERVICE, message, methods
from serving.grpc.statuses import code_of
from serving.grpc.transcoding import with_parameters
from serving.http.app import EXTENSIONS, Service, refuse_parameters
from serving.http.replies import error_reply
from serving.wire.protobuf import varint
from serving.wire.request_id import REQUEST_ID, request_id

Context = Any
"""A `grpc.aio.ServicerContext`, of which gRPC has no types."""
Ask = Callable[[Any], Awaitable[Mapping[str, Any]]]

_OPEN = {"ServerLive", "ServerReady"}
"""What a load balancer asks, without a key and at any rate."""
STREAM_RETRY_SECONDS = 1
_STREAMED_RESPONSE = b"\x12"  # field 2, with a length


class Door(grpc.GenericRpcHandler):  # type: ignore[misc]
    """All that clients may call.

    Args:
        service: is asked.
        max_streams: that clients may hold at a time; the others are turned away.

    Attributes:
        streams: that clients hold now.
    """

    def __init__(self, service: Service, max_streams: int) -> None:
        self._service = service
        self._max_streams = max_streams
        self.streams = 0
        self._calls = Calls(service)
        self._streamed_error = message("ModelStreamInferResponse")
        self._rpcs = {
            f"/{SERVICE}/ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            f"/{SERVICE}/ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        asks = self._asks()
        for method in methods():
            if method.name in asks:
                self._rpcs[f"/{SERVICE}/{method.name}"] = self._asking(method, asks[method.name])

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """As the base class; of the protocol's service each method has an answer."""
        known = self._rpcs.get(details.method)
        if known is None and details.method.startswith(f"/{SERVICE}/"):
            return grpc.unary_unary_rpc_method_handler(_not_offered(details.method))
        return known

    # ------------------------------------------------------------------ inference

    async def _infer(self, data: bytes, context: Context) -> bytes:
        headers = headers_of(context.invocation_metadata())
        echo = _echo(headers)
        try:
            response, lines = await self._calls.answer(data, headers, context.peer, context.time_remaining)
        except Failed as failure:
            return _failed(context, failure, echo)
        if lines or echo:
            context.set_trailing_metadata((*metadata_of(lines), *echo))
        return response

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """An answer to each request of a stream, in their order; one that fails ends nothing but itself."""
        if self.streams >= self._max_streams:
            words = f"{self.streams} streams are open here, the most; connect anew, or ask without a stream"
            _failed(context, Failed(error_reply(TooMany(words, STREAM_RETRY_SECONDS))))
            return
        self.streams += 1
        try:
            async for answer in self._answers(requests, context):
                yield answer
        finally:
            self.streams -= 1

    async def _answers(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        shared = headers_of(context.invocation_metadata())
        async for data in requests:
            try:
                response, lines = await self._calls.answer(
                    data, dict(shared), context.peer, context.time_remaining
                )
            except Failed as failure:
                if failure.reply.status == 401:
                    _failed(context, failure)
                    return
                yield self._said_of(failure)
            else:
                if lines:  # a stream has no metadata of one answer
                    response = with_parameters(response, dict(metadata_of(lines)))
                yield _STREAMED_RESPONSE + varint(len(response)) + response

    def _said_of(self, failure: Failed) -> bytes:
        """As Triton's: beside the words a response that names its request."""
        response = self._streamed_error(error_message=str(failure))
        response.infer_response.id = failure.id
        data: bytes = response.SerializeToString()
        return data

    # ------------------------------------------------------------------ questions

    def _asks(self) -> dict[str, Ask]:
        service = self._service

        async def server_live(_: Any) -> Mapping[str, Any]:
            return {"live": True}

        async def server_ready(_: Any) -> Mapping[str, Any]:
            return {"ready": not service.draining and service.ready()}

        async def model_ready(request: Any) -> Mapping[str, Any]:
            return {"ready": service.model_ready(request.name, request.version or None)}

        async def server_metadata(_: Any) -> Mapping[str, Any]:
            extensions = [name for name in EXTENSIONS if name != "binary_tensor_data"]
            return {"name": service.name, "version": service.version, "extensions": extensions}

        async def model_metadata(request: Any) -> Mapping[str, Any]:
            return service.metadata(request.name, request.version or None)

        async def model_config(request: Any) -> Mapping[str, Any]:
            return {"config": service.config(request.name, request.version or None)}

        async def model_statistics(request: Any) -> Mapping[str, Any]:
            return {"model_stats": service.statistics(request.name or None, request.version or None)}

        async def repository_index(request: Any) -> Mapping[str, Any]:
            return {"models": await service.index(ready_only=request.ready)}

        async def model_load(request: Any) -> Mapping[str, Any]:
            refuse_parameters(request.parameters)
            await service.load(request.model_name)
            return {}

        async def model_unload(request: Any) -> Mapping[str, Any]:
            refuse_parameters(request.parameters, "unload_dependents")
            await service.unload(request.model_name)
            return {}

        return {
            "ServerLive": server_live,
            "ServerReady": server_ready,
            "ModelReady": model_ready,
            "ServerMetadata": server_metadata,
            "ModelMetadata": model_metadata,
            "ModelConfig": model_config,
            "ModelStatistics": model_statistics,
            "RepositoryIndex": repository_index,
            "RepositoryModelLoad": model_load,
            "RepositoryModelUnload": model_unload,
        }

    def _asking(self, method: Any, ask: Ask) -> grpc.RpcMethodHandler:
        """A method that the service is asked, and answered by a message made of what it says."""
        request_type, response_type = message(method.input_type.name), message(method.output_type.name)

        async def answer(data: bytes, context: Context) -> bytes:
            headers = headers_of(context.invocation_metadata())
            refusal = None if method.name in _OPEN else self._calls.refusal(headers, context.peer)
            if refusal is not None:
                return _failed(context, Failed(error_reply(refusal)))
            try:
                said = await ask(_read(request_type, data))
                written: bytes = ParseDict(said, response_type(), True).SerializeToString()
            except Exception as error:  # noqa: BLE001  (the one place where errors become answers)
                return _failed(context, Failed(error_reply(error)))
            return written

        return grpc.unary_unary_rpc_method_handler(answer)


def _read(kind: Any, data: bytes) -> Any:
    if len(data) > SMALL_BODY_BYTES:
        raise TooLarge(
            f"the message has {len(data)} bytes, {SMALL_BODY_BYTES} is the most of a {kind.DESCRIPTOR.name}"
        )
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidInput(f"the message is no {kind.DESCRIPTOR.name}") from None


def _not_offered(path: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
    name = path.rpartition("/")[2]

    async def answer(_: bytes, context: Context) -> bytes:
        return _failed(context, Failed(error_reply(Unsupported(f"{name} is not offered here"))))

    return answer


def _echo(headers: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """The client's name for its request, to be given back with the answer."""
    taken = request_id(headers)
    return ((REQUEST_ID.decode(), taken.decode("latin-1")),) if taken else ()


def _failed(context: Context, failure: Failed, echo: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Say that a call has failed: its code, its words, and what HTTP says in headers.

    Not by the context's `abort`: what that raises is held by the call whose frames it holds, so that a
    refused message would stay in memory until garbage is collected.

    Returns:
        What its handler is to return.
    """
    context.set_code(code_of(failure.reply.status))
    context.set_details(str(failure))
    context.set_trailing_metadata((*metadata_of(failure.reply.headers), *echo))
    return b""
