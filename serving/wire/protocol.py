"""The Open Inference Protocol v2 on the wire: JSON and binary <-> requests and responses. Pure.

Law: what is decoded agrees with the model's signature in every name, datatype, rank and fixed dimension,
and every byte of the body is accounted for. What does not is an `InvalidInput` that names the place
(`inputs[0] 'features': ...`). Unknown members of the JSON are let through unread, as all other servers do; of
a duplicate key the last counts. JSON is read as `serving.wire.json_text` says. NaN and infinities have a form
in JSON both ways (`serving.wire.tensors`), and travel bit for bit in binary.

Source: kserve/open-inference-protocol; Triton's docs/protocol/extension_binary_data.md (binary and raw),
extension_parameters.md (reserved parameters), extension_classification.md (not offered).
"""

import math
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from serving.errors import BadGateway, InvalidInput, ServingError, Unsupported
from serving.wire.json_text import parse
from serving.wire.tensors import (
    Array,
    Signature,
    TensorSpec,
    count_elements,
    from_bytes,
    from_json,
    refuse_rank,
    shown,
    text_from_bytes,
    to_bytes,
    to_json,
    with_infinities,
)

Body = bytes | bytearray | memoryview
Parameters = dict[str, str | int | float | bool]

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
NONE_BINARY: frozenset[str] = frozenset()
_DIGITS = re.compile(r"[0-9]{1,18}")
_MAX_PIECES = 256
COPIED_BYTES = 16 * 1024
"""Up to here it costs less to copy a tensor than to handle a view of it."""
_NOT_OFFERED = {
    "classification": "classification is not offered; the output itself has the values",
    "shared_memory_region": "shared memory is not offered; send and get data in the body",
}


@dataclass(slots=True, eq=False)
class InferRequest:
    """A decoded request; not frozen only because that would triple the cost of making one.

    Attributes:
        id: the client's name for it, to be echoed.
        parameters: of the request, as they came.
        inputs: every input of the model, by name; an optional one only where it was given.
        outputs: the requested ones in the order wanted; None for all in the model's order.
        binary: the outputs that are wanted in binary.
        timeout_seconds: what the client gives it, from the moment of its arrival.
    """

    id: str | None
    parameters: Parameters
    inputs: dict[str, Array]
    outputs: tuple[str, ...] | None
    binary: frozenset[str]
    timeout_seconds: float | None


@dataclass(slots=True, eq=False)
class InferResponse:
    """A decoded answer; `outputs` by name, in the order of the answer."""

    model_name: str
    model_version: str | None
    id: str | None
    outputs: dict[str, Array]


# ---------------------------------------------------------------------- requests


def decode_request(body: Body, json_length: int | None, signature: Signature) -> InferRequest:
    """Read an inference request for a model.

    Args:
        body: JSON, then the binary tensors in the order of the inputs. Arrays may be views of it.
        json_length: bytes of JSON at its head (Inference-Header-Content-Length); None when all of it is
            JSON; 0 when the body is the one input as it is, without any JSON.
        signature: of the model.

    Raises:
        InvalidInput: the request is not one for this model; the text names the place.
        Unsupported: it asks for sequences, classification or shared memory.
    """
    if json_length == 0:
        return _decode_raw(body, signature)
    message, tail = _split(body, json_length)
    return decode_message(message, tail, signature)


def decode_message(
    message: dict[str, Any],
    tail: memoryview | None,
    signature: Signature,
    inputs: dict[str, Array] | None = None,
) -> InferRequest:
    """Read a request whose JSON is parsed: the object, what is behind it, and the inputs if they are known.

    Raises:
        InvalidInput, Unsupported: as `decode_request`.
    """
    request_id = _text(message, "id") if "id" in message else None
    parameters: Parameters = {}
    timeout_seconds = None
    if "parameters" in message:
        parameters = _parameters(message)
        timeout_seconds = _request_parameters(parameters)
    if inputs is None:
        inputs = _decode_inputs(message.get("inputs"), signature.input_by_name, tail)
    outputs, binary = None, NONE_BINARY
    if "outputs" in message or "binary_data_output" in parameters:
        outputs, binary = _requested_outputs(message.get("outputs"), parameters, signature)
    return InferRequest(request_id, parameters, inputs, outputs, binary, timeout_seconds)


def _split(body: Body, json_length: int | None) -> tuple[dict[str, Any], memoryview | None]:
    """The JSON object at the head, and the bytes behind it when there may be any."""
    tail = None
    head: Body = body
    if json_length is not None:
        if not 0 <= json_length <= len(body):
            raise InvalidInput(f"the JSON length {json_length} is not within the body of {len(body)} bytes")
        view = memoryview(body).toreadonly()
        head, tail = view[:json_length], view[json_length:]
    return parse_object(head), tail


def parse_object(text: Body) -> dict[str, Any]:
    """The JSON object that a request or a response is.

    Raises:
        InvalidInput: it is not valid JSON, or no object.
    """
    try:
        message = parse(text)
    except ValueError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from None
    if type(message) is not dict:
        raise InvalidInput(f"the body must be a JSON object, got {shown(message)}")
    return message


def _text(message: dict[str, Any], member: str) -> str | None:
    value = message.get(member)
    if value is None or type(value) is str:
        return value
    raise InvalidInput(f"{member!r} must be text, got {shown(value)}")


def _decode_inputs(items: object, specs: dict[str, TensorSpec], tail: memoryview | None) -> dict[str, Array]:
    if type(items) is not list:
        if items is not None or not all(spec.optional for spec in specs.values()):
            raise InvalidInput(f"'inputs' must be a list, got {shown(items)}")
        items = []
    inputs: dict[str, Array] = {}
    for item in items:
        try:
            spec = _look_up(item, specs, inputs)
            inputs[spec.name], tail = _decode_tensor(item, spec, tail)
        except (InvalidInput, Unsupported) as error:
            raise type(error)(f"inputs[{len(inputs)}] {error}") from None
    if len(inputs) != len(specs):
        lacking = [spec for spec in specs.values() if not (spec.optional or spec.name in inputs)]
        if lacking:
            raise InvalidInput(f"'inputs' lacks {', '.join(shown(spec.name) for spec in lacking)}")
    _expect_end(tail)
    return inputs


def _look_up(item: object, specs: dict[str, TensorSpec], taken: Container[str]) -> TensorSpec:
    """What the model says of the tensor that an item names."""
    if type(item) is not dict:
        raise InvalidInput(f"must be an object, got {shown(item)}")
    name = item.get("name")
    spec = specs.get(name) if type(name) is str else None
    if spec is None:
        known = ", ".join(specs) or "none"
        raise InvalidInput(f"{shown(name)}: the model has none of that name; known: {known}")
    if name in taken:
        raise InvalidInput(f"{shown(name)}: named twice")
    return spec


def _decode_tensor(
    item: dict[str, Any], spec: TensorSpec, tail: memoryview | None, *, any_bytes: bool = False
) -> tuple[Array, memoryview | None]:
    """The array of one tensor, from its JSON or from the head of `tail`, and what is left of `tail`."""
    if item.get("datatype") != spec.datatype:
        got = shown(item.get("datatype"))
        raise InvalidInput(f"{shown(spec.name)}: datatype {got}, the model takes {spec.datatype}")
    shape: Any = item.get("shape")
    count = count_elements(shape, spec)
    size = None
    if "parameters" in item:
        parameters = _parameters(item)
        size = parameters.get("binary_data_size")
        refuse_not_offered(parameters, shown(spec.name))
    data = item.get("data")
    if size is None:
        if data is None:
            raise InvalidInput(f"{shown(spec.name)}: neither 'data' nor 'binary_data_size' is given")
        return from_json(data, spec, shape, count), tail
    name = shown(spec.name)
    if data is not None:
        raise InvalidInput(f"{name}: both 'data' and 'binary_data_size' are given")
    if tail is None:
        raise InvalidInput(f"{name}: 'binary_data_size' without the header Inference-Header-Content-Length")
    if type(size) is not int or not 0 <= size <= len(tail):
        raise InvalidInput(f"{name}: 'binary_data_size' is {shown(size)}, {len(tail)} bytes are left")
    return from_bytes(tail[:size], spec, shape, count, any_bytes=any_bytes), tail[size:]


def _expect_end(tail: memoryview | None) -> None:
    if tail:
        raise InvalidInput(f"{len(tail)} bytes of the body belong to no tensor")


def _parameters(holder: dict[str, Any]) -> Parameters:
    parameters = holder["parameters"]
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise InvalidInput(f"'parameters' must be an object, got {shown(parameters)}")
    for name, value in parameters.items():
        if value is None:
            given = {key: each for key, each in parameters.items() if each is not None}
            return _parameters({"parameters": given})
        if not isinstance(value, str | int | float):
            raise InvalidInput(
                f"parameter {shown(name)} must be text, a number or a boolean, got {shown(value)}"
            )
    return parameters


def _request_parameters(parameters: Parameters) -> float | None:
    """Check the reserved parameters, and give the timeout in seconds."""
    for name, value in parameters.items():
        if value and name.startswith("sequence_"):  # 0, "" and false are no sequence, as Triton has it
            raise Unsupported(f"parameter {shown(name)}: stateful models are not served")
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is str and _DIGITS.fullmatch(timeout):
        timeout = int(timeout)
    if type(timeout) is not int or timeout < 0:
        raise InvalidInput(f"parameter 'timeout' must be microseconds, 0 for none, got {shown(timeout)}")
    return timeout / 1e6 or None


def refuse_not_offered(options: Parameters, place: str) -> None:
    """Refuse what a tensor may ask for by the protocol's extensions, and nobody offers here.

    Raises:
        Unsupported: it is among the options.
    """
    for option, reason in _NOT_OFFERED.items():
        if option in options:
            raise Unsupported(f"{place}: {option!r}: {reason}")


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise InvalidInput(f"parameter {name!r} must be a boolean, got {shown(value)}")
    return value


def _requested_outputs(
    items: object, parameters: Parameters, signature: Signature
) -> tuple[tuple[str, ...] | None, frozenset[str]]:
    """The names wanted, None for all, and those of them wanted in binary."""
    default = _flag(parameters, "binary_data_output", default=False)
    if items is None or items == []:
        return None, frozenset(signature.output_by_name) if default else NONE_BINARY
    if type(items) is not list:
        raise InvalidInput(f"'outputs' must be a list, got {shown(items)}")
    binary: dict[str, bool] = {}
    for item in items:
        place = f"outputs[{len(binary)}]"
        try:
            name = _look_up(item, signature.output_by_name, binary).name
            options = _parameters(item) if "parameters" in item else {}
            binary[name] = _flag(options, "binary_data", default=default)
        except InvalidInput as error:
            raise InvalidInput(f"{place} {error}") from None
        if options:
            refuse_not_offered(options, f"{place} {shown(name)}")
    return tuple(binary), frozenset(name for name, wanted in binary.items() if wanted)


def decode_announced(body: Body, json_length: int | None) -> tuple[str | None, dict[str, Array]]:
    """Read a request to a model that is not known here: each input is what the request says of it.

    Args:
        body: as of `decode_request`.
        json_length: likewise.

    Returns:
        The client's name for it, and the inputs by name.

    Raises:
        InvalidInput: it is none, or says nothing of its inputs, as a body without JSON.
        Unsupported: an input is of no datatype of the protocol.
    """
    if json_length == 0:
        raise InvalidInput("a body without JSON does not name its input")
    message, tail = _split(body, json_length)
    inputs = message.get("inputs")
    return _text(message, "id"), {} if inputs is None else _decode_outputs(inputs, tail)


def _decode_raw(body: Body, signature: Signature) -> InferRequest:
    """A body without JSON: the one input that is needed, of batch 1.

    One other variable dimension follows from the size.
    A BYTES input takes the whole body as its one element, without a length in front.
    """
    needed = [spec for spec in signature.inputs if not spec.optional]
    if len(needed) != 1:
        raise InvalidInput(f"a body without JSON is for models of one input, not {len(needed)}")
    [spec] = needed
    if spec.shape is None:
        raise InvalidInput(f"{shown(spec.name)}: a body without JSON has no shape, and the model takes any")
    view = memoryview(body).toreadonly()
    shape = [1 if axis == 0 and length == -1 else length for axis, length in enumerate(spec.shape)]
    if spec.datatype == "BYTES":
        shape = [abs(length) for length in shape]
        array = from_json([text_from_bytes(view, spec)], spec, shape, count_elements(shape, spec))
    else:
        if -1 in shape:
            known = math.prod(length for length in shape if length != -1) * spec.dtype.itemsize
            shape[shape.index(-1)] = len(view) // known if known else 0
        array = from_bytes(view, spec, shape, count_elements(shape, spec))
    return InferRequest(None, {}, {spec.name: array}, None, frozenset(signature.output_by_name), None)


# ---------------------------------------------------------------------- responses


class _Output:
    """One output, and what was written of it in each shape: its JSON up to the data or the last brace."""

    __slots__ = ("binary", "dtype", "is_float", "json", "name", "spec", "to_json")

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.dtype = spec.dtype
        self.is_float = spec.datatype.startswith(("FP", "BF"))
        # what tensors.to_json does with numbers, and does for every output of every answer
        self.to_json: Callable[[Array], object] = to_json if spec.dtype.kind in "OV" else np.ndarray.ravel
        self.json: dict[tuple[int, ...], bytes] = {}
        self.binary: dict[tuple[int, ...], bytes] = {}

    def write_json(self, shape: tuple[int, ...]) -> bytes:
        """For data in JSON."""
        return _keep(self.json, shape, self._describe(shape) + b',"data":')

    def write_binary(self, shape: tuple[int, ...], data: bytes | memoryview) -> bytes:
        """For data in binary. Its size follows from the shape, except for that of texts."""
        piece = self._describe(shape, parameters={"binary_data_size": memoryview(data).nbytes})
        return piece if self.dtype.hasobject else _keep(self.binary, shape, piece)

    def _describe(self, shape: tuple[int, ...], **members: object) -> bytes:
        item = {"name": self.name, "datatype": self.spec.datatype, "shape": shape, **members}
        return orjson.dumps(item)[:-1]


def _keep(pieces: dict[tuple[int, ...], bytes], shape: tuple[int, ...], piece: bytes) -> bytes:
    if len(pieces) >= _MAX_PIECES:
        pieces.clear()
    pieces[shape] = piece
    return piece


class ResponseEncoder:
    """Writes the responses of one model.

    What is said of an output before its data follows from its name and shape: it is written once and kept.
    """

    __slots__ = ("_begin", "_by_name", "_outputs")

    def __init__(self, model_name: str, model_version: str, signature: Signature) -> None:
        self._begin = orjson.dumps({"model_name": model_name, "model_version": model_version})[:-1]
        self._outputs = [_Output(spec) for spec in signature.outputs]
        self._by_name = {output.name: output for output in self._outputs}

    def encode(self, request: InferRequest, arrays: Sequence[Array]) -> tuple[bytes, int | None]:
        """The body of a response, and how many bytes of it are JSON (None: all of it).

        Args:
            request: what is answered; its `outputs` and `binary` were decoded against this signature.
            arrays: in the order of `request.outputs`, or of the model when that is None; any layout.

        Raises:
            ServingError: they are not as many, or not of the datatypes, as the signature says.
        """
        names = request.outputs
        outputs = self._outputs if names is None else [self._by_name[name] for name in names]
        if len(arrays) != len(outputs):
            raise ServingError(f"the model gave {len(arrays)} outputs, {len(outputs)} were expected")
        parts = [self._begin] if request.id is None else [self._begin, b',"id":', orjson.dumps(request.id)]
        before = b',"outputs":['
        binary = request.binary
        buffers: list[bytes | memoryview] = []
        for output, array in zip(outputs, arrays):  # noqa: B905  (as many, see above)
            if array.dtype is not output.dtype and array.dtype != output.dtype:
                raise ServingError(
                    f"output {output.name!r} is {array.dtype}, the model declares {output.spec.datatype}"
                )
            shape = array.shape
            if binary and output.name in binary:
                small = array.nbytes <= COPIED_BYTES and not output.dtype.hasobject
                buffer = array.tobytes() if small else to_bytes(array)
                buffers.append(buffer)
                parts += (before, output.binary.get(shape) or output.write_binary(shape, buffer))
            else:
                data = orjson.dumps(output.to_json(array), None, _NUMPY)
                if output.is_float and b"l" in data:  # of a null: not all of them are finite
                    data = with_infinities(data, array)
                parts += (before, output.json.get(shape) or output.write_json(shape), data)
            before = b"},"
        parts.append(b"}]}")
        head = b"".join(parts)
        return (b"".join((head, *buffers)), len(head)) if buffers else (head, None)


def encode_error(message: str) -> bytes:
    """The body of any answer that is not a success."""
    return orjson.dumps({"error": message})


def decode_response(body: Body, json_length: int | None) -> InferResponse:
    """Read the answer of any server of the protocol; null is NaN where floats belong.

    Args:
        body: JSON, then the binary tensors in the order of the outputs. Arrays may be views of it.
        json_length: bytes of JSON at its head; None when all of it is JSON.

    Raises:
        BadGateway: it is no such answer, or its tensors contradict themselves.
    """
    try:
        message, tail = _split(body, json_length)
        return InferResponse(
            _text(message, "model_name") or "",
            _text(message, "model_version"),
            _text(message, "id"),
            _decode_outputs(message.get("outputs"), tail),
        )
    except (InvalidInput, Unsupported) as error:
        raise BadGateway(f"not a valid response: {error}") from None


def _decode_outputs(items: object, tail: memoryview | None) -> dict[str, Array]:
    if type(items) is not list:
        raise InvalidInput(f"'outputs' must be a list, got {shown(items)}")
    outputs: dict[str, Array] = {}
    for item in items:
        try:
            spec = _announced(item, outputs)
            outputs[spec.name], tail = _decode_tensor(item, spec, tail, any_bytes=True)
        except (InvalidInput, Unsupported) as error:
            raise InvalidInput(f"outputs[{len(outputs)}] {error}") from None
    _expect_end(tail)
    return outputs


def _announced(item: object, taken: Container[str]) -> TensorSpec:
    """What a tensor says of itself, with every dimension variable."""
    if type(item) is not dict:
        raise InvalidInput(f"must be an object, got {shown(item)}")
    name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
    if type(name) is not str or type(datatype) is not str or type(shape) is not list:
        raise InvalidInput("needs a 'name', a 'datatype' and a 'shape'")
    refuse_rank(shown(name), len(shape))
    if name in taken:
        raise InvalidInput(f"{shown(name)}: named twice")
    return TensorSpec(name, datatype, (-1,) * len(shape))
