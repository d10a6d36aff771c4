"""The candidate of a sandbox, run for the comparer: a model in this process, or one behind a URL."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from router.mirror.frame import Frame
from router.mirror.mirrored import Tensors
from router.targets.targets import RemoteTarget
from serving.clock import clock
from serving.errors import ServingError, Unavailable
from serving.models.served_model import ServedModel
from serving.wire.codec import WIRES
from serving.wire.message import JSON_LENGTH_HEADER, Call
from serving.wire.protocol import InferRequest
from serving.wire.tensors import Array, Signature
from serving.wire.trace_context import TRACEPARENT


class LocalRunner:
    """A model in this process.

    Args:
        served: the model, as soon as it is loaded.
    """

    def __init__(self, served: Callable[[], ServedModel | None]) -> None:
        self._served = served

    @property
    def ready(self) -> bool:
        """As `Runner`."""
        return self._served() is not None

    async def run(self, frame: Frame, timeout_seconds: float) -> Tensors:
        """As `Runner`."""
        model = self._served()
        if model is None:
            raise Unavailable("the candidate is not loaded any more")
        request = model.decode(frame.request, frame.request_json, frame.wire)
        return _named(model, (await model.run(request, clock(), timeout_seconds)).outputs)

    def run_together(self, frames: Sequence[Frame]) -> list[Tensors | None]:
        """The outputs of requests that can share a run; None for one that is to be run by itself."""
        ran: list[Tensors | None] = [None] * len(frames)
        model = self._served()
        if model is None:
            return ran
        requests: dict[int, InferRequest] = {}
        for place, frame in enumerate(frames):
            with suppress(ServingError):  # told when it is run by itself
                requests[place] = model.decode(frame.request, frame.request_json, frame.wire)
        for place, outputs in zip(requests, model.run_together(list(requests.values())), strict=True):
            ran[place] = None if outputs is None else _named(model, outputs)
        return ran

    def inputs(self, frame: Frame) -> Tensors | None:
        """As `Runner`."""
        model = self._served()
        return None if model is None else _inputs(frame, model.signature)


class RemoteRunner:
    """A model behind a URL.

    Args:
        target: where it is.
    """

    ready = True

    def __init__(self, target: RemoteTarget) -> None:
        self._target = target

    async def run(self, frame: Frame, timeout_seconds: float) -> Tensors:
        """As `Runner`."""
        headers: dict[bytes, bytes] = {}
        if frame.request_json is not None:
            headers[JSON_LENGTH_HEADER] = str(frame.request_json).encode()
        if frame.trace:
            headers[TRACEPARENT] = frame.trace
        call = Call(headers, frame.request, clock(), timeout_seconds, frame.wire)
        reply = await self._target.one(call)
        return WIRES[frame.wire].decode_response(reply.body, reply.json_length).outputs

    def inputs(self, frame: Frame) -> Tensors | None:
        """As `Runner`."""
        signature = self._target.signature
        return None if signature is None else _inputs(frame, signature)


def _named(model: ServedModel, outputs: list[Array]) -> Tensors:
    return dict(zip((spec.name for spec in model.signature.outputs), outputs, strict=True))


def _inputs(frame: Frame, signature: Signature) -> Tensors | None:
    try:
        codec = WIRES[frame.wire].codec("", "", signature)
        return codec.decode(frame.request, frame.request_json).inputs
    except ServingError:  # another server may take what its metadata does not say
        return None
