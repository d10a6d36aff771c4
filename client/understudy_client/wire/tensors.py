"""Tensors as they travel: arrays <-> JSON values and bytes of the Open Inference Protocol.

Law: what is read back is what was written, bit for bit in binary and number for number in JSON. JSON has no
numbers that are not finite; floats write them as null (NaN), "Infinity" and "-Infinity", and read these and
"NaN". Arrays that come back are copies: writable, aligned, and not a hold on the whole body.

Source: kserve/open-inference-protocol; Triton's docs/protocol/extension_binary_data.md for the bytes.
"""

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from understudy_client.errors import InvalidAnswer, InvalidData
from understudy_client.wire.bf16 import widened

Array = npt.NDArray[Any]

WIRE: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}
"""Datatype of the protocol -> that in which its bytes travel. BF16 are bits, BYTES are `str` or `bytes`."""
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
MAX_RANK = 32
"""Dimensions of an output that is read."""

_NOT_FINITE = {None: math.nan, "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Tensor(NamedTuple):
    """A named array as it travels.

    Args:
        name: of the input or output.
        datatype: a key of `WIRE`.
        array: of the datatype that `WIRE` has for it.
    """

    name: str
    datatype: str
    array: Array

    @property
    def is_finite(self) -> bool:
        """Whether JSON has numbers for all of it."""
        return self.datatype not in FLOATS or bool(np.isfinite(_numbers(self)).all())


def _numbers(tensor: Tensor) -> Array:
    return widened(tensor.array) if tensor.datatype == "BF16" else tensor.array


# ---------------------------------------------------------------------- to the server


def to_json(tensor: Tensor) -> list[Any]:
    """The flat, row-major `data` of a tensor.

    Raises:
        InvalidData: an element of BYTES is not UTF-8, which travels in binary only.
    """
    flat = _numbers(tensor).ravel()
    if tensor.datatype == "BYTES":
        return [_text(tensor.name, at, element) for at, element in enumerate(flat.tolist())]
    data: list[Any] = flat.tolist()
    if tensor.datatype in FLOATS:
        for at in np.flatnonzero(~np.isfinite(flat)).tolist():
            data[at] = None if math.isnan(data[at]) else "Infinity" if data[at] > 0 else "-Infinity"
    return data


def _text(name: str, at: int, element: str | bytes) -> str:
    if isinstance(element, str):
        return element
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise InvalidData(
            f"{name!r}: element {at} is not UTF-8: bytes travel with binary=True only"
        ) from None


def to_bytes(tensor: Tensor) -> bytes | memoryview:
    """The bytes of a tensor: little-endian, row-major; of BYTES a 4-byte length and the bytes each.

    A view keeps the shape of the array: its size is `nbytes`, not `len`.
    """
    if tensor.datatype != "BYTES":
        return np.ascontiguousarray(tensor.array).data
    parts: list[bytes] = []
    for element in tensor.array.ravel().tolist():
        encoded = element if isinstance(element, bytes) else element.encode()
        parts += (struct.pack("<I", len(encoded)), encoded)
    return b"".join(parts)


# ---------------------------------------------------------------------- from the server


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> Array:
    """The array of a JSON tensor; FP32 for BF16.

    Raises:
        InvalidAnswer: the data does not agree with shape or datatype.
    """
    if not isinstance(data, list):
        raise InvalidAnswer(f"output {name!r}: 'data' is no list")
    for _ in range(MAX_RANK):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(row, list) for row in data):
            raise InvalidAnswer(f"output {name!r}: 'data' is a list of lists and of values")
        data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise InvalidAnswer(f"output {name!r}: {len(data)} elements for the shape {list(shape)}")
    try:
        return _elements(datatype, data).reshape(tuple(shape))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidAnswer(f"output {name!r}: 'data' is not {datatype}: {error}") from None


def _elements(datatype: str, data: list[Any]) -> Array:
    if datatype == "BYTES":
        if not all(isinstance(element, str) for element in data):
            raise TypeError("not every element is text")
        return _objects(data)
    if datatype in FLOATS:
        numbers = np.array([_float(element) for element in data], np.float64)
        with np.errstate(over="ignore"):
            return numbers.astype(WIRE["FP32" if datatype == "BF16" else datatype])
    kinds = {bool, int} if datatype == "BOOL" else {int}
    if not {type(element) for element in data} <= kinds:
        raise TypeError("not every element is " + ("true or false" if datatype == "BOOL" else "an integer"))
    dtype = WIRE[datatype]
    least, most = (0, 1) if datatype == "BOOL" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if data and not (least <= min(data) and max(data) <= most):
        raise ValueError("a value is out of range")
    return np.array(data, dtype)


def _float(element: Any) -> float:
    if element is None or isinstance(element, str):
        if element not in _NOT_FINITE:
            raise ValueError(f"{str(element)[:20]!r} is no number")
        return _NOT_FINITE[element]
    if isinstance(element, bool) or not isinstance(element, int | float):
        raise TypeError("not every element is a number")
    return float(element)


def _objects(elements: Sequence[str | bytes]) -> Array:
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array


def from_bytes(name: str, datatype: str, shape: Sequence[int], data: memoryview) -> Array:
    """The array of a binary tensor; FP32 for BF16, and `bytes` for what of BYTES is not UTF-8.

    Raises:
        InvalidAnswer: the size is not that of the shape, or an element is cut short.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _objects(_split(name, data, count)).reshape(tuple(shape))
    dtype = WIRE[datatype]
    if len(data) != count * dtype.itemsize:
        size = count * dtype.itemsize
        raise InvalidAnswer(f"output {name!r}: {len(data)} bytes, {list(shape)} of {datatype} takes {size}")
    if datatype == "BOOL" and bytes(data).translate(None, b"\0\1"):
        raise InvalidAnswer(f"output {name!r}: a byte of BOOL is neither 0 nor 1")
    array = np.frombuffer(data, dtype).reshape(tuple(shape))
    return widened(array) if datatype == "BF16" else array.copy()


def _split(name: str, data: memoryview, count: int) -> list[str | bytes]:
    elements: list[str | bytes] = []
    begin, size = 0, len(data)
    while begin + 4 <= size and len(elements) < count:
        (length,) = struct.unpack_from("<I", data, begin)
        end = begin + 4 + length
        if end > size:
            break
        element = bytes(data[begin + 4 : end])
        try:
            elements.append(element.decode())
        except UnicodeDecodeError:
            elements.append(element)
        begin = end
    if begin != size or len(elements) != count:
        raise InvalidAnswer(f"output {name!r}: {size} bytes are not {count} elements with their lengths")
    return elements
