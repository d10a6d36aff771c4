"""Wires: how a model's requests are read from bytes and its answers written to them. Pure.

Law: behind a codec there are arrays and no bytes, so calls of different wires share a run and are counted
alike. A call says on which wire it came (`serving.wire.message.Call`); its answer leaves on the same one.

The Open Inference Protocol over HTTP is one wire, not two: a request may have some tensors in JSON and some
in binary, and says of each output by itself in which of the two it wants it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from serving.wire.message import OIP_HTTP
from serving.wire.protocol import (
    Body,
    InferRequest,
    InferResponse,
    ResponseEncoder,
    decode_announced,
    decode_response,
)
from serving.wire.remembered_json import RequestDecoder
from serving.wire.tensors import Array, Signature


class Codec(Protocol):
    """Reads requests to one model from one wire and writes its answers; may remember what clients repeat."""

    @property
    def decode(self) -> Callable[[Body, int | None], InferRequest]:
        """Reads a request, of a body and the bytes of it that are JSON (`Call.json_length`).

        It raises `InvalidInput` or `Unsupported` for what is no request to this model.
        """

    @property
    def encode(self) -> Callable[[InferRequest, Sequence[Array]], tuple[bytes, int | None]]:
        """Writes the answer to a request: its body, and how many bytes of it are JSON (`Reply.json_length`).

        Of arrays in the order of the request's outputs, or of the model's where it names none. It raises
        `ServingError` where they are not what the signature says.
        """


class _OipHttp:
    """JSON, with or without tensors in binary behind it."""

    __slots__ = ("decode", "encode")

    def __init__(self, name: str, version: str, signature: Signature) -> None:
        self.decode = RequestDecoder(signature).decode
        self.encode = ResponseEncoder(name, version, signature).encode


class Wire(NamedTuple):
    """One wire.

    Attributes:
        number: in frames between processes (`router.mirror.frame`); never another one's.
        codec: makes that of a model, of its name, version and signature.
        decode_response: reads the answer of any server, of its body and the bytes of it that are JSON; raises
            `BadGateway` for what is none.
        decode_request: reads a request to a model that is not known, of its body and the bytes of it that are
            JSON: its id and inputs; raises `ServingError`. None for a wire that cannot.
    """

    number: int
    codec: Callable[[str, str, Signature], Codec]
    decode_response: Callable[[Body, int | None], InferResponse]
    decode_request: Callable[[Body, int | None], tuple[str | None, dict[str, Array]]] | None = None


WIRES: dict[str, Wire] = {OIP_HTTP: Wire(0, _OipHttp, decode_response, decode_announced)}


def codecs(name: str, version: str, signature: Signature) -> dict[str, Codec]:
    """A model's codec of each wire."""
    return {wire: kind.codec(name, version, signature) for wire, kind in WIRES.items()}
