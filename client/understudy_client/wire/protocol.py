"""Requests and answers of the Open Inference Protocol as bodies."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from understudy_client.errors import InvalidAnswer, InvalidData
from understudy_client.wire.tensors import (
    MAX_RANK,
    WIRE,
    Array,
    Tensor,
    from_bytes,
    from_json,
    to_bytes,
    to_json,
)

BINARY_BYTES = 1024
"""A tensor of more travels in binary where nothing else is asked for. Below, JSON costs a server little more
(docs/benchmarks/payloads.md), and can be read."""
JSON_LENGTH = "inference-header-content-length"
"""The binary extension's header: how many bytes of the body are JSON."""

_ONLY_BINARY = frozenset({"FP16", "BF16"})
"""The standard has no JSON for FP16, and Triton for neither; Understudy takes both."""


class Body(NamedTuple):
    """Of a request.

    Args:
        content: all of it.
        json_length: how many bytes of it are JSON; None where all are.
    """

    content: bytes
    json_length: int | None


class Decoded(NamedTuple):
    """An answer.

    Args:
        model_name: as the server has it.
        model_version: that answered.
        id: of the request.
        outputs: by name, in the order of the answer.
    """

    model_name: str
    model_version: str | None
    id: str | None
    outputs: dict[str, Array]


def write_request(
    tensors: Sequence[Tensor],
    *,
    outputs: Sequence[str] | None = None,
    binary: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Body:
    """The body of an inference request.

    Args:
        tensors: the inputs.
        outputs: which are wanted; None for all.
        binary: whether tensors travel in binary; None for the large ones, those that JSON has no numbers for,
            and all outputs.
        parameters: of the request.

    Raises:
        InvalidData: a parameter has no form in JSON, or bytes that are no text have to be JSON.
    """
    buffers: list[bytes | memoryview] = []
    items = [_written(tensor, buffers, binary=binary) for tensor in tensors]
    message: dict[str, Any] = {}
    asked = dict(parameters or {})
    if binary is not False:
        asked["binary_data_output"] = True
    if asked:
        message["parameters"] = asked
    message["inputs"] = items
    if outputs is not None:
        message["outputs"] = [{"name": name} for name in outputs]
    try:
        head = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidData(f"the request has no form in JSON: {error}") from None
    return Body(b"".join((head, *buffers)), len(head)) if buffers else Body(head, None)


def _written(tensor: Tensor, buffers: list[bytes | memoryview], *, binary: bool | None) -> dict[str, Any]:
    """The item of a tensor, whose bytes are appended where it travels in binary."""
    shape = list(tensor.array.shape)
    item: dict[str, Any] = {"name": tensor.name, "shape": shape, "datatype": tensor.datatype}
    if binary is None:
        binary = (
            tensor.datatype in _ONLY_BINARY
            or tensor.array.nbytes > BINARY_BYTES
            or (tensor.datatype == "BYTES" and any(isinstance(each, bytes) for each in tensor.array.flat))
            or not tensor.is_finite
        )
    if binary:
        data = to_bytes(tensor)
        buffers.append(data)
        item["parameters"] = {"binary_data_size": memoryview(data).nbytes}
    else:
        item["data"] = to_json(tensor)
    return item


def read_answer(body: bytes, json_length: str | None) -> Decoded:
    """Read the answer of any server of the protocol.

    Args:
        body: all of it.
        json_length: of its header `JSON_LENGTH`; None where it has none.

    Raises:
        InvalidAnswer: it is none, or its tensors contradict themselves; every byte is accounted for.
    """
    head, tail = body, None
    if json_length is not None:
        length = int(json_length) if json_length.isascii() and json_length.isdigit() else -1
        if not 0 <= length <= len(body):
            raise InvalidAnswer(f"{JSON_LENGTH} is {json_length[:20]!r}, the body has {len(body)} bytes")
        head, tail = body[:length], memoryview(body)[length:]
    message = parse(head)
    if not isinstance(message, dict) or not isinstance(message.get("outputs"), list):
        raise InvalidAnswer("the answer is JSON without 'outputs'")
    outputs: dict[str, Array] = {}
    for item in message["outputs"]:
        name, array, tail = _read(item, tail)
        if name in outputs:
            raise InvalidAnswer(f"output {name!r}: named twice")
        outputs[name] = array
    if tail:
        raise InvalidAnswer(f"{len(tail)} bytes of the answer belong to no output")
    version, request_id = message.get("model_version"), message.get("id")
    return Decoded(
        str(message.get("model_name") or ""),
        None if version is None else str(version),
        None if request_id is None else str(request_id),
        outputs,
    )


def _read(item: Any, tail: memoryview | None) -> tuple[str, Array, memoryview | None]:
    """One output, and what is left of the bytes."""
    if not isinstance(item, dict) or not isinstance(name := item.get("name"), str):
        raise InvalidAnswer("an output has no name")
    datatype, shape = item.get("datatype"), item.get("shape")
    if not isinstance(datatype, str) or datatype not in WIRE:
        raise InvalidAnswer(f"output {name!r}: the datatype {str(datatype)[:40]!r} is not of the protocol")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(map(_is_length, shape)):
        raise InvalidAnswer(f"output {name!r}: 'shape' is no list of at most {MAX_RANK} lengths")
    parameters = item.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return name, from_json(name, datatype, shape, item.get("data")), tail
    if tail is None or not _is_length(size) or size > len(tail):
        left = 0 if tail is None else len(tail)
        raise InvalidAnswer(f"output {name!r}: it has {str(size)[:20]} bytes, {left} are there")
    return name, from_bytes(name, datatype, shape, tail[:size]), tail[size:]


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def parse(text: bytes) -> Any:
    """The JSON of an answer.

    Raises:
        InvalidAnswer: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidAnswer(f"the answer is no JSON: {text[:60]!r}") from None
