"""What a rollout keeps back, taken out of bodies before they leave the worker. Pure.

Law: of a tensor that is redacted no byte is in what comes out, whatever form it came in; what cannot be read
is left out whole. What is kept is the client's id and of each tensor its name, datatype, shape and values;
further members and parameters of the JSON, in which a value may stand again, are not.
"""

import json
from collections.abc import Collection, Container, Mapping
from typing import Any

import orjson

from serving.errors import ServingError
from serving.wire.json_text import parse
from serving.wire.message import JSON_LENGTH_HEADER, OIP_HTTP, Call, Reply

_TENSOR = ("name", "datatype", "shape", "data")
_SIZE = "binary_data_size"


def redacted(
    call: Call, outcome: Reply | BaseException, names: Collection[str], *, inputs: bool
) -> tuple[Call, Reply | BaseException]:
    """A call and its end without what is kept back.

    A request that was not answered is left out whole but for its id: nobody has checked that its inputs have
    the names that they should have. An error keeps its kind only, since its text may quote a value.

    Args:
        call: what was asked.
        outcome: the answer, or the failure.
        names: inputs and outputs that are redacted.
        inputs: whether any inputs are recorded; where all are, there are names.
    """
    if type(outcome) is not Reply:
        return _with_body(call, *_id_alone(call)), _kind_alone(outcome)
    if not names:  # only inputs are kept back, and the answer has the id too
        return _with_body(call, b"", None), outcome
    request = _kept(call.wire, call.body, call.headers, "inputs", names) if inputs else _id_alone(call)
    head = {} if outcome.json_length is None else {JSON_LENGTH_HEADER: b"%d" % outcome.json_length}
    body, length = _kept(call.wire, outcome.body, head, "outputs", names)
    return _with_body(call, *request), Reply(outcome.status, body, length, shared=outcome.shared)


def _kind_alone(failure: BaseException) -> BaseException:
    if not isinstance(failure, ServingError):
        return failure
    told = ServingError("the text is kept back, as is what it may quote")
    told.kind = failure.kind
    return told


def _with_body(call: Call, body: bytes, json_length: int | None) -> Call:
    headers = {name: value for name, value in call.headers.items() if name != JSON_LENGTH_HEADER}
    if json_length is not None:
        headers[JSON_LENGTH_HEADER] = b"%d" % json_length
    return Call(headers, body, call.arrived, wire=call.wire)


def _id_alone(call: Call) -> tuple[bytes, None]:
    found = _read(call.wire, call.body, call.headers)
    return orjson.dumps(_named(found[0])) if found is not None else b"", None


def _named(message: Mapping[str, Any]) -> dict[str, Any]:
    id_ = message.get("id")
    return {"id": id_} if type(id_) is str else {}


def _read(wire: str, body: bytes, headers: Mapping[bytes, bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The JSON object of a body and the bytes behind it; None where it is none."""
    text = headers.get(JSON_LENGTH_HEADER)
    length = len(body) if text is None else int(text) if text.isdigit() and len(text) <= 12 else -1
    if wire != OIP_HTTP or not 0 < length <= len(body):
        return None
    try:
        message = parse(body[:length])
    except ValueError:
        return None
    return (message, body[length:]) if type(message) is dict else None


def _kept(
    wire: str, body: bytes, headers: Mapping[bytes, bytes], side: str, names: Container[str]
) -> tuple[bytes, int | None]:
    """The tensors of a body that are not redacted, as a body; empty for one that cannot be read."""
    found = _read(wire, body, headers)
    if found is None:
        return b"", None
    message, tail = found
    kept, buffers = [], []
    items = message.get(side)
    for item in items if type(items) is list else ():
        if type(item) is not dict:
            return b"", None
        parameters = item.get("parameters")
        size = parameters.get(_SIZE) if type(parameters) is dict else None
        size = size if type(size) is int and 0 <= size <= len(tail) else None
        data, tail = (tail[:size], tail[size:]) if size is not None else (b"", tail)
        if type(item.get("name")) is not str or item["name"] in names:
            continue
        tensor = {member: item[member] for member in _TENSOR if member in item}
        kept.append(tensor if size is None else {**tensor, "parameters": {_SIZE: size}})
        buffers.append(data)
    text = _written({**_named(message), side: kept})
    behind = b"".join(buffers)
    return text + behind, len(text) if behind else None


def _written(message: dict[str, Any]) -> bytes:
    """As JSON that `parse` reads back, numbers that are not finite included."""
    try:
        text = orjson.dumps(message)
    except TypeError:  # of a number beyond 64 bits
        text = b"null"
    return json.dumps(message).encode() if b"null" in text else text
