"""Requests with binary tensors as such of JSON alone, for servers without Triton's extension. Pure.

Law: what a server with the extension reads of the one, a server of the protocol reads of the other. Asking
for binary outputs is left out with it: the answer is JSON, which says so itself.
"""

from typing import Any

import orjson

from serving.errors import Unsupported
from serving.wire.protocol import Body, decode_announced, parse_object
from serving.wire.tensors import FLOATS, Array, to_json, with_infinities

_ASKS = frozenset({"binary_data", "binary_data_size", "binary_data_output"})


def as_json(body: Body, json_length: int) -> bytes:
    """The request as JSON.

    Args:
        body: JSON, then the binary tensors.
        json_length: bytes of JSON at its head; 0 where it is the one input as it is.

    Raises:
        InvalidInput: it is no request.
        Unsupported: it holds what JSON cannot, or does not name its input.
    """
    if json_length == 0:
        raise Unsupported("the model's server takes no binary tensors: send the input with its name, in JSON")
    _, inputs = decode_announced(body, json_length)
    message = _plain(parse_object(memoryview(body)[:json_length]))
    if inputs:
        message["inputs"] = [
            {**_plain(item), "data": _data(array, item["datatype"])}
            for item, array in zip(message["inputs"], inputs.values(), strict=True)
        ]
    if isinstance(outputs := message.get("outputs"), list):
        message["outputs"] = [_plain(item) for item in outputs]
    return orjson.dumps(message)


def _plain(holder: Any) -> Any:
    """A request or a tensor, without what it says of binary data."""
    if not isinstance(holder, dict) or not isinstance(parameters := holder.get("parameters"), dict):
        return holder
    kept = {name: value for name, value in parameters.items() if name not in _ASKS}
    rest = {name: value for name, value in holder.items() if name != "parameters"}
    return rest | ({"parameters": kept} if kept else {})


def _data(array: Array, datatype: str) -> orjson.Fragment:
    try:
        text = orjson.dumps(to_json(array), option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, orjson.JSONEncodeError):
        raise Unsupported(
            "an input of BYTES is no UTF-8 text, and the model's server takes no binary tensors"
        ) from None
    return orjson.Fragment(with_infinities(text, array) if datatype in FLOATS else text)
