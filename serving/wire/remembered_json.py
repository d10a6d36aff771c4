"""Decoding the requests of one model: what a client repeats is read with care once. Pure.

Law: `RequestDecoder.decode` gives what `serving.wire.protocol.decode_request` gives, for every body. That one
knows the protocol; whatever is not surely the same as before goes there, and so does every fault.

Two kinds of request are remembered by their JSON, a bounded number of each:

- All tensors in binary: the same JSON before as many bytes says the same of them, and only the bytes are
  new. Any bytes are numbers; BOOL and BYTES have to be looked at.
- One tensor, in JSON, flat: what stands before and behind its data is a frame. Text between the same two
  pieces of JSON which, in brackets, is a list of numbers can only be the data of the same request.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson

from serving.wire.protocol import COPIED_BYTES, Body, InferRequest, decode_request
from serving.wire.tensors import Array, Signature, packer, settled

MAX_TEXTS = 256
MAX_TEXT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Binary:
    """The JSON of a binary request: all it says, and where behind it its tensors lie."""

    said: InferRequest
    tensors: tuple[tuple[str, np.dtype[np.generic], tuple[int, ...], int, int], ...]
    tail_bytes: int


@dataclass(frozen=True, slots=True)
class _Frame:
    """A JSON request without its numbers: what follows them, all else it says, and what packs them."""

    suffix: bytes
    said: InferRequest
    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    pack: Callable[..., bytes]


class RequestDecoder:
    """Reads the inference requests of one model."""

    __slots__ = ("_binaries", "_frames", "_last_prefix", "_signature")

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._binaries: dict[bytes, _Binary] = {}
        self._frames: dict[bytes, _Frame] = {}
        self._last_prefix = b""

    def decode(self, body: Body, json_length: int | None) -> InferRequest:
        """Read one request; arguments, value and errors are those of `decode_request`."""
        if json_length is not None:
            return self._decode_binary(body, json_length)
        if type(body) is not bytes:
            return decode_request(body, None, self._signature)
        prefix = body[: body.find(b"[", body.find(b'"data"')) + 1]
        frame = self._frames.get(prefix)
        if frame is not None and body.endswith(frame.suffix):
            try:
                numbers = orjson.loads(body[len(prefix) - 1 : len(body) - len(frame.suffix) + 1])
                array: Array = np.ndarray(frame.shape, frame.dtype, frame.pack(*numbers))
            except (orjson.JSONDecodeError, struct.error, OverflowError, TypeError):
                return decode_request(body, None, self._signature)
            return _filled(frame.said, {frame.name: array})
        request = decode_request(body, None, self._signature)
        if prefix == self._last_prefix:
            self._learn_frame(body, prefix, request)
        elif len(prefix) <= MAX_TEXT_BYTES:
            self._last_prefix = prefix
        return request

    def _learn_frame(self, body: bytes, prefix: bytes, request: InferRequest) -> None:
        """Remember what stands around the data, if taking out what is between takes out the data alone."""
        suffix = body[body.find(b"]", len(prefix)) :]
        if len(request.inputs) != 1:
            return
        [(name, array)] = request.inputs.items()
        pack = packer(self._signature.input_by_name[name].datatype, array.size)
        if pack is None or not array.size or len(suffix) > MAX_TEXT_BYTES:
            return
        try:
            hollow, whole = orjson.loads(prefix + suffix), orjson.loads(body)
        except orjson.JSONDecodeError:  # or it has NaN in it
            return
        whole["inputs"][0]["data"] = []
        if hollow == whole:
            if len(self._frames) >= MAX_TEXTS:
                self._frames.clear()
            said = _filled(request, {})
            self._frames[prefix] = _Frame(suffix, said, name, array.dtype, array.shape, pack)

    def _decode_binary(self, body: Body, json_length: int) -> InferRequest:
        if type(body) is not bytes:  # it came in pieces, so it is large, and its JSON next to nothing
            return decode_request(body, json_length, self._signature)
        text = body[:json_length]
        known = self._binaries.get(text)
        if known is None or len(text) != json_length or len(body) != json_length + known.tail_bytes:
            request = decode_request(body, json_length, self._signature)
            if 0 < json_length <= MAX_TEXT_BYTES:
                self._learn_binary(text, request, len(body) - json_length)
            return request
        arrays: dict[str, Array] = {}
        if len(body) <= COPIED_BYTES:
            for name, dtype, shape, begin, end in known.tensors:
                arrays[name] = np.ndarray(shape, dtype, body[json_length + begin : json_length + end])
        else:
            for name, dtype, shape, begin, _ in known.tensors:
                arrays[name] = settled(np.ndarray(shape, dtype, body, json_length + begin))
        return _filled(known.said, arrays)

    def _learn_binary(self, text: bytes, request: InferRequest, tail_bytes: int) -> None:
        tensors = []
        offset = 0
        for name, array in request.inputs.items():  # in the order of the JSON, and so of the tail
            if packer(self._signature.input_by_name[name].datatype, 0) is None or not array.size:
                return
            tensors.append((name, array.dtype, array.shape, offset, offset + array.nbytes))
            offset += array.nbytes
        if offset != tail_bytes:  # some are in the JSON
            return
        if len(self._binaries) >= MAX_TEXTS:
            self._binaries.clear()
        self._binaries[text] = _Binary(_filled(request, {}), tuple(tensors), tail_bytes)


def _filled(said: InferRequest, inputs: dict[str, Array]) -> InferRequest:
    """A request that says the same of other inputs."""
    return InferRequest(said.id, said.parameters, inputs, said.outputs, said.binary, said.timeout_seconds)
