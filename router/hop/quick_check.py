"""Whether another server's answer can be used, told quickly where it is plain.

Law: a yes here is a yes of `serving.wire.protocol.decode_response`, which decides wherever this says no.
Nothing is built: of the usual answer, JSON numbers in flat lists, it is enough that they can be packed.
"""

import struct
from collections.abc import Container
from typing import Any

import orjson

from serving.wire.tensors import packer


def is_plainly_good(body: bytes, names: Container[str]) -> bool:
    """Whether this is a JSON answer in which all can be read; False when that is for the decoder to say.

    Args:
        body: all JSON.
        names: of the outputs that the model is known to give.
    """
    try:
        message = orjson.loads(body)
        for member in ("model_name", "model_version", "id"):
            if not isinstance(message.get(member, ""), str):
                return False
        outputs = message["outputs"]
        if type(outputs) is not list:
            return False
        taken: set[str] = set()
        for output in outputs:
            name = output["name"]
            if name in taken or name not in names or not _is_packable(output):
                return False
            taken.add(name)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error):
        return False
    return True


def _is_packable(output: dict[str, Any]) -> bool:
    """Raises what the data raises."""
    shape, data = output["shape"], output["data"]
    if type(shape) is not list or not 0 < len(shape) <= 8 or type(data) is not list or "parameters" in output:
        return False
    count = 1
    for length in shape:
        if type(length) is not int or length <= 0:
            return False
        count *= length
    if count != len(data):
        return False
    pack = packer(output["datatype"], count)
    if pack is None:
        return False
    pack(*data)
    return True
