"""Requests and answers of gRPC as those of HTTP with binary tensors, and back.

Law: nothing is judged here that the protocol judges (`serving.wire.protocol`), and no number is changed: what
comes raw goes on as it is, values in fields become the bytes that they stand for. So a request is split,
mirrored, compared, recorded and refused in the same words, whichever door it came by.

Source: Triton's grpc_service.proto: `raw_input_contents` has the bytes of all inputs or of none, of BYTES
each element behind its length in four bytes, little-endian, which is how HTTP's binary extension has it too.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from google.protobuf.message import DecodeError

from serving.errors import InvalidInput
from serving.grpc.bounds import refuse_overfull
from serving.grpc.messages import message
from serving.wire.message import Reply
from serving.wire.protobuf import varint
from serving.wire.protocol import decode_response, parse_object, refuse_not_offered
from serving.wire.tensors import datatype_of, refuse_rank, shown, to_bytes

_REQUEST = message("ModelInferRequest")
_RESPONSE = message("ModelInferResponse")
_LENGTH = struct.Struct("<I")
_MAX_HEADS = 256
_MAX_HEAD_BYTES = 4096
_MODEL, _VERSION = b"\x0a", b"\x12"  # fields 1 and 2, with a length
_RAW_INPUT, _RAW_OUTPUT = b"\x3a", b"\x32"  # fields 7 and 6, with a length

_CONTENTS: dict[str, tuple[str, type[np.generic]]] = {
    "BOOL": ("bool_contents", np.bool_),
    "INT8": ("int_contents", np.int8),
    "INT16": ("int_contents", np.int16),
    "INT32": ("int_contents", np.int32),
    "INT64": ("int64_contents", np.int64),
    "UINT8": ("uint_contents", np.uint8),
    "UINT16": ("uint_contents", np.uint16),
    "UINT32": ("uint_contents", np.uint32),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
}
"""By datatype: the field that has its values, and what they are; of FP16 and BF16 there is none."""
_BYTES_CONTENTS = "bytes_contents"
_WIDE: dict[str, type[np.generic]] = {"int_contents": np.int32, "uint_contents": np.uint32}
"""Of a field that has the values of several datatypes."""

_OF_OUTPUTS = {"binary_data", "binary_data_output"}
"""What clients of HTTP say of outputs; here they are always raw, as the protocol leaves to the server."""
_SIZE = "binary_data_size"


class Asked(NamedTuple):
    """A request as HTTP would have brought it.

    Attributes:
        model: the public name.
        version: None where the client named none.
        id: the client's name for the request; empty without one.
        body: JSON, and the tensors behind it.
        json_length: bytes of JSON at its head.
    """

    model: str
    version: str | None
    id: str
    body: bytes
    json_length: int


class Requests:
    """Reads `ModelInferRequest`s; what clients repeat is read with care once.

    Remembered is all that stands before the raw tensors, with which protobuf's writers end the message: the
    same bytes before tensors of the same sizes say the same of them. What is not surely that is read anew.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}  # by the length of the message

    def read(self, data: bytes) -> Asked:
        """Read one.

        Raises:
            InvalidInput: it is none, or says two things of one tensor; the text names the place.
            TooLarge: it has more beside its raw tensors than is read.
            Unsupported: it asks for shared memory.
        """
        known = self._known.get(len(data))
        if known is not None and data.startswith(known.before):
            parts = [known.head]
            for mark, begin, end in known.tensors:
                if not data.startswith(mark, begin - len(mark)):
                    break
                parts.append(data[begin:end])
            else:
                return Asked(known.model, known.version, "", b"".join(parts), len(known.head))
        refuse_overfull(data)
        try:
            request = _REQUEST.FromString(data)
        except DecodeError:
            raise InvalidInput("the message is no ModelInferRequest") from None
        found = _asked(request)
        self._remember(data, request, found)
        return found

    def _remember(self, data: bytes, request: Any, found: Asked) -> None:
        """Keep what it says, if its tensors are raw and stand at its end, and its client gave it no name."""
        raw = request.raw_input_contents
        marks = [_RAW_INPUT + varint(len(tensor)) for tensor in raw]
        at = len(data) - sum(map(len, marks)) - sum(map(len, raw))
        if not raw or request.id or at > _MAX_HEAD_BYTES:
            return
        before, tensors = data[:at], []
        for mark, tensor in zip(marks, raw, strict=True):
            begin = at + len(mark)
            if not data.startswith(mark, at) or data[begin : begin + len(tensor)] != tensor:
                return
            at = begin + len(tensor)
            tensors.append((mark, begin, at))
        if not _is_whole(before):
            return
        if len(self._known) >= _MAX_HEADS:
            self._known.clear()
        head = found.body[: found.json_length]
        self._known[len(data)] = _Known(before, tuple(tensors), head, found.model, found.version)


def _is_whole(before: bytes) -> bool:
    """Whether it is a message by itself, without raw tensors: then those behind it are the tensors."""
    try:
        return not _REQUEST.FromString(before).raw_input_contents
    except DecodeError:
        return False


class _Known(NamedTuple):
    """A message without its raw tensors: what stands before them, where they are, what HTTP says of it."""

    before: bytes
    tensors: tuple[tuple[bytes, int, int], ...]
    head: bytes
    model: str
    version: str | None


def _asked(request: Any) -> Asked:
    inputs, tail = _inputs(request)
    parameters = _parameters(request.parameters) if request.parameters else {}
    head: dict[str, Any] = {"inputs": inputs, "parameters": {**parameters, "binary_data_output": True}}
    if request.id:
        head["id"] = request.id
    if request.outputs:
        head["outputs"] = [_output(output) for output in request.outputs]
    text = orjson.dumps(head)
    body = b"".join((text, *tail))
    return Asked(request.model_name, request.model_version or None, request.id, body, len(text))


def _inputs(request: Any) -> tuple[list[dict[str, Any]], list[bytes]]:
    """What JSON says of each input, and the bytes of each."""
    items: list[dict[str, Any]] = []
    tensors = request.inputs
    raw: Iterable[bytes] = request.raw_input_contents
    tail = list(raw)
    for index, tensor in enumerate(tensors):
        place = f"inputs[{index}] {shown(tensor.name)}"
        given = _parameters(tensor.parameters) if tensor.parameters else {}
        refuse_not_offered(given, place)
        if not request.raw_input_contents:
            tail.append(_typed(tensor, place))
        elif tensor.HasField("contents"):
            raise InvalidInput(f"{place}: 'contents' beside 'raw_input_contents'; send one of the two")
        shape = list(tensor.shape)
        items.append({"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "parameters": given})
    if len(tail) != len(items):
        raise InvalidInput(
            f"'raw_input_contents' has the bytes of {len(tail)} inputs, 'inputs' names {len(items)}"
        )
    for index, (item, data) in enumerate(zip(items, tail, strict=True)):
        said = item["parameters"].setdefault(_SIZE, len(data))
        if said != len(data):  # KServe's client says it here too
            place = f"inputs[{index}] {shown(item['name'])}"
            raise InvalidInput(f"{place}: {_SIZE!r} is {shown(said)}, its bytes are {len(data)}")
    return items, tail


def _typed(tensor: Any, place: str) -> bytes:
    """The bytes of an input whose values are in a field."""
    datatype, contents = tensor.datatype, tensor.contents
    known = _CONTENTS.get(datatype)
    if known is None and datatype != "BYTES":
        raise InvalidInput(f"{place}: {shown(datatype)} has no field in 'contents'; send it raw")
    field = _BYTES_CONTENTS if known is None else known[0]
    others = [each.name for each, _ in contents.ListFields() if each.name != field]
    if others:
        raise InvalidInput(f"{place}: {datatype} has its values in {field!r}, not in {others[0]!r}")
    values = getattr(contents, field)
    shape = tensor.shape
    refuse_rank(place, len(shape))
    if all(length >= 0 for length in shape) and math.prod(shape) != len(values):
        raise InvalidInput(
            f"{place}: {field!r} has {len(values)} elements, the shape {list(shape)} has {math.prod(shape)}"
        )
    if known is None:
        return _lined_up(values)
    array = np.fromiter(values, _WIDE.get(field, known[1]), len(values))  # one by one: np.array lists them
    if field in _WIDE and array.size:
        bounds = np.iinfo(known[1])  # type: ignore[type-var]
        for value in (array.min(), array.max()):
            if not bounds.min <= value <= bounds.max:
                raise InvalidInput(f"{place}: {value} is no {datatype}")
    return array.astype(known[1], copy=False).tobytes()


def _lined_up(values: Iterable[bytes]) -> bytes:
    """Each behind its length; one by one, as the objects of a million would be many times their bytes."""
    line = bytearray()
    for value in values:
        line += _LENGTH.pack(len(value))
        line += value
    return bytes(line)


def _output(output: Any) -> dict[str, Any]:
    given = output.parameters
    return {"name": output.name, "parameters": _parameters(given)} if given else {"name": output.name}


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them; one without a value is null."""
    found = {}
    for name, value in parameters.items():
        if name in _OF_OUTPUTS:
            continue
        choice = value.WhichOneof("parameter_choice")
        found[name] = None if choice is None else getattr(value, choice)
    return found


def named(data: bytes) -> tuple[str, str | None] | None:
    """The model and version that a message begins with, as protobuf's writers begin it; None of any other.

    For messages that are refused unread.
    """
    found = []
    for tag in (_MODEL, _VERSION):
        if data[:1] == tag and len(data) > 1 and data[1] < 0x80:  # a name of at most 127 bytes
            found.append(data[2 : 2 + data[1]].decode("utf-8", "replace"))
            data = data[2 + data[1] :]
        elif tag == _MODEL:
            return None
    return found[0], found[1] if len(found) > 1 else None


class Answers:
    """Writes answers of HTTP as `ModelInferResponse`s; what is said of tensors again and again is kept."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, tuple[tuple[bytes, int], ...]]] = {}

    def write(self, reply: Reply) -> bytes:
        """The message of an answer with status 200.

        Raises:
            BadGateway: it is none of the protocol.
        """
        length = reply.json_length
        if length is None:
            return _whole(reply)
        body = reply.body
        head = body[:length]
        known = self._known.get(head)
        if known is None:
            known = self._learn(head, reply)
            if known is None:
                return _whole(reply)
        prefix, tensors = known
        parts = [prefix]
        at = length
        for tag, size in tensors:
            parts += (tag, body[at : at + size])
            at += size
        return b"".join(parts)

    def _learn(self, head: bytes, reply: Reply) -> tuple[bytes, tuple[tuple[bytes, int], ...]] | None:
        """All but the bytes of an answer whose outputs are all binary; None where some are not."""
        decode_response(reply.body, reply.json_length)  # raises where the head is not true of what follows
        said = parse_object(head)
        sizes: list[int] = []
        for item in said["outputs"]:
            size = (item.get("parameters") or {}).get(_SIZE)
            if size is None:
                return None
            sizes.append(size)
        message_ = _about(said.get("model_name"), said.get("model_version"), said.get("id"))
        for item in said["outputs"]:
            message_.outputs.add(name=item["name"], datatype=item["datatype"], shape=item["shape"])
        found = message_.SerializeToString(), tuple((_RAW_OUTPUT + varint(size), size) for size in sizes)
        if len(head) <= _MAX_HEAD_BYTES and "id" not in said:
            if len(self._known) >= _MAX_HEADS:
                self._known.clear()
            self._known[head] = found
        return found


def _about(model: str | None, version: str | None, id_: str | None) -> Any:
    return _RESPONSE(model_name=model or "", model_version=version or "", id=id_ or "")


def _whole(reply: Reply) -> bytes:
    """An answer of which some tensors are in JSON."""
    response = decode_response(reply.body, reply.json_length)
    message_ = _about(response.model_name, response.model_version, response.id)
    for name, array in response.outputs.items():
        message_.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        message_.raw_output_contents.append(bytes(to_bytes(array)))
    data: bytes = message_.SerializeToString()
    return data


def with_parameters(response: bytes, parameters: Mapping[str, str]) -> bytes:
    """A response with more parameters: in protobuf two messages one behind the other are one of both."""
    added = _RESPONSE()
    for name, value in parameters.items():
        added.parameters[name].string_param = value
    data: bytes = response + added.SerializeToString()
    return data
