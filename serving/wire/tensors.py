"""Named arrays: Open Inference Protocol datatypes <-> numpy, as JSON values and as bytes. Pure.

Law: nothing is converted silently. A value outside the range of its datatype, or of another kind, is
refused; it is never wrapped, cut off or made infinite. Rounding a number to the nearest float is not a
conversion. One exception for speed: `true` and `false` count as 1 and 0 where numbers belong.

JSON has no numbers that are not finite. Where floats belong they are written as null (NaN) and the texts
"Infinity" and "-Infinity", which numpy, and so tritonclient and KServe's client, reads as what they are. All
of these are read, and the text "NaN" (protobuf's JSON mapping has all three).

Every fault of the data is an `InvalidInput` whose text begins with the name of the tensor.
Source: kserve/open-inference-protocol; Triton's docs/protocol/extension_binary_data.md for the bytes.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput, Unsupported
from serving.wire.bf16 import BF16, rounded, widened

Array = npt.NDArray[np.generic]

DATATYPES: dict[str, np.dtype[np.generic]] = {
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
    "BF16": BF16,
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}
"""OIP datatype -> numpy. BYTES are object arrays of `str`, which is what onnxruntime takes and gives; what is
not UTF-8 in another server's answer is `bytes`."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}

# With a byte order given, struct checks types and ranges and refuses what would become infinite, at
# less than half the cost of np.array and array.array, neither of which does all of that.
_CODES = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "BF16": "f",
    "FP32": "f",
    "FP64": "d",
}
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
_NOT_FINITE = {None: math.nan, "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
MAX_RANK = 64
"""Numpy's."""
_MAX_ELEMENTS = 1 << 48
_ALIGNMENT = 16
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as the model calls it.
        datatype: of the Open Inference Protocol, a key of `DATATYPES`.
        shape: lengths of the dimensions; -1 for a variable one; None where the model takes any rank.
        optional: an input that may be left out, which is when the model uses what it holds itself.
        dtype: the numpy datatype of `datatype`.

    Raises:
        Unsupported: the datatype is not of the protocol.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    optional: bool = False
    dtype: np.dtype[np.generic] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        dtype = DATATYPES.get(self.datatype)
        if dtype is None:
            raise Unsupported(f"{shown(self.name)}: datatype {shown(self.datatype)} is not supported")
        object.__setattr__(self, "dtype", dtype)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, each in the model's order; also by name, for look-ups per request."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_by_name: dict[str, TensorSpec] = field(init=False, repr=False, compare=False)
    output_by_name: dict[str, TensorSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_by_name", {spec.name: spec for spec in self.inputs})
        object.__setattr__(self, "output_by_name", {spec.name: spec for spec in self.outputs})


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's datatype."""
    return _NAMES.get(array.dtype, "BYTES")


def spec_json(spec: TensorSpec) -> dict[str, Any]:
    """A tensor of the metadata: name, datatype, shape with -1 for what varies.

    The protocol has no form for an unknown rank: it is shown as `[-1]`, which makes clients ask for a shape,
    and a further member `any_rank`. An input that may be left out has the member `optional`.
    """
    described: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": shape_json(spec)}
    if spec.shape is None:
        described["any_rank"] = True
    if spec.optional:
        described["optional"] = True
    return described


def spec_from_json(tensor: Mapping[str, Any]) -> TensorSpec:
    """The inverse of `spec_json`, for the metadata of any server.

    Raises:
        KeyError, TypeError, ValueError: it is not that.
        Unsupported: the datatype is not one that can be handled.
    """
    shape = None if tensor.get("any_rank") is True else tuple(int(length) for length in tensor["shape"])
    optional = tensor.get("optional") is True
    return TensorSpec(str(tensor["name"]), str(tensor["datatype"]), shape, optional)


def shape_json(spec: TensorSpec) -> list[int]:
    """The shape as clients are shown it."""
    return [-1] if spec.shape is None else list(spec.shape)


def shown(value: object) -> str:
    """A foreign JSON value as errors show it: short, and never the inside of a list or object."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            cut = len(value) > _SHOWN_CHARACTERS
            return repr(value[:_SHOWN_CHARACTERS] + "..." if cut else value)
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case int() | float():
            return repr(value)
        case list():
            return "a list"
        case _:
            return "an object"


# ---------------------------------------------------------------------- shapes


def count_elements(shape: object, spec: TensorSpec) -> int:
    """How many elements a tensor has, once its shape is found to be one that the model takes.

    Args:
        shape: a JSON value.
        spec: its rank and fixed dimensions bind.

    Raises:
        InvalidInput: `shape` is no list of non-negative integers, or not of the spec's; names the dimension.
    """
    known = spec.shape
    if known is None:
        known = _any(shape, spec)
    if type(shape) is not list or len(shape) != len(known):
        raise InvalidInput(_wrong_shape(shape, spec, known))
    count = 1
    for length, expected in zip(shape, known, strict=True):
        if type(length) is not int or length < 0 or (length != expected and expected >= 0):
            raise InvalidInput(_wrong_shape(shape, spec, known))
        count *= length
    if count == 0 and math.prod(filter(None, shape)) > _MAX_ELEMENTS:  # what numpy itself would refuse
        raise InvalidInput(f"{shown(spec.name)}: the shape is too large")
    return count


def _any(shape: object, spec: TensorSpec) -> tuple[int, ...]:
    """As many variable dimensions as a shape has, for a model that takes any rank."""
    rank = len(shape) if type(shape) is list else 0
    refuse_rank(shown(spec.name), rank)
    return (-1,) * rank


def refuse_rank(place: str, rank: int) -> None:
    """Refuse a tensor of more dimensions than numpy has.

    Raises:
        InvalidInput: `place` has it.
    """
    if rank > MAX_RANK:
        raise InvalidInput(f"{place}: the shape has {rank} dimensions, {MAX_RANK} are the limit")


def _wrong_shape(shape: object, spec: TensorSpec, known: tuple[int, ...]) -> str:
    name = shown(spec.name)
    if not isinstance(shape, list):
        return f"{name}: 'shape' must be a list of integers, got {shown(shape)}"
    if len(shape) != len(known):
        return f"{name}: the shape has {len(shape)} dimensions, the model takes {list(known)}"
    for axis, (length, expected) in enumerate(zip(shape, known, strict=True)):
        if type(length) is not int or length < 0:
            return f"{name}: dimension {axis} of the shape is {shown(length)}, not a length"
        if expected not in (-1, length):
            return f"{name}: dimension {axis} of the shape is {length}, the model takes {expected}"
    raise AssertionError


# ---------------------------------------------------------------------- JSON


def packer(datatype: str, count: int) -> Callable[..., bytes] | None:
    """What packs `count` JSON numbers into the bytes of a tensor; None for BOOL, BYTES and BF16.

    It raises struct.error, OverflowError or TypeError for any number of arguments but `count`, and for what
    is not of the datatype.
    """
    code = None if datatype == "BF16" else _CODES.get(datatype)
    return None if code is None else _packer(code, count)


@lru_cache(maxsize=256)
def _packer(code: str, count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}{code}").pack


def from_json(data: object, spec: TensorSpec, shape: Sequence[int], count: int) -> Array:
    """The array of a JSON tensor, read-only except for BYTES.

    FP16 and BF16 are taken as numbers too, although the standard (FP16) and Triton (both) let them travel in
    binary only; numbers for BF16 are rounded to FP32 first.

    Args:
        data: a JSON value, flat or nested as `shape` says, row-major.
        spec: name and datatype; its shape is not looked at.
        shape: as it was checked by `count_elements`.
        count: what that gave.

    Raises:
        InvalidInput: `data` does not agree with the shape, or holds what the datatype does not.
    """
    if type(data) is not list:
        raise InvalidInput(f"{shown(spec.name)}: 'data' must be a list, got {shown(data)}")
    if len(data) != count or (data and type(data[0]) is list):
        data = _flatten(data, spec, shape, count)
    code = _CODES.get(spec.datatype)
    if code is None:
        return (_texts if spec.datatype == "BYTES" else _booleans)(data, spec, shape)
    try:
        packed = _packer(code, count)(*data)
    except (struct.error, OverflowError, TypeError):
        numbers = [_number(element) for element in data] if spec.datatype in FLOATS else data
        try:
            packed = _packer(code, count)(*numbers)
        except (struct.error, OverflowError, TypeError):
            raise InvalidInput(_wrong_element(numbers, spec, code)) from None
    if spec.datatype == "BF16":
        return _rounded(np.ndarray(shape, "<f4", packed), spec)
    return np.ndarray(shape, spec.dtype, packed)


def _rounded(numbers: npt.NDArray[np.float32], spec: TensorSpec) -> Array:
    array = rounded(numbers)
    beyond = np.isinf(widened(array)) & ~np.isinf(numbers)
    if beyond.any():
        index = int(beyond.ravel().argmax())
        place = f"{shown(spec.name)}: element {index} of 'data', {numbers.ravel()[index]},"
        raise InvalidInput(f"{place} is out of the range of BF16")
    array.flags.writeable = False
    return array


def _number(element: Any) -> Any:
    """What stands for a number that is not finite, as that number; all else as it is."""
    return _NOT_FINITE.get(element, element) if element is None or type(element) is str else element


def to_json(array: Array) -> object:
    """What orjson writes (with OPT_SERIALIZE_NUMPY) as the flat, row-major `data` of a tensor.

    Floats are written with the digits that their own precision needs to be read back exactly. Those that are
    not finite become null, of which `with_infinities` makes what they are.
    """
    flat = array.ravel()
    if array.dtype == BF16:
        return widened(flat)
    return flat.tolist() if array.dtype.hasobject else flat


def with_infinities(data: bytes, array: Array) -> bytes:
    """The `data` that orjson wrote of a tensor of floats, with its infinities as text instead of null.

    Args:
        data: what was made of `to_json(array)`.
        array: of floats.
    """
    flat = widened(array).ravel() if array.dtype == BF16 else array.ravel()
    places = np.flatnonzero(np.isinf(cast("npt.NDArray[np.floating[Any]]", flat)))
    if not places.size:
        return data
    numbers = data[1:-1].split(b",")
    for place, negative in zip(places.tolist(), np.signbit(flat[places]).tolist(), strict=True):
        numbers[place] = b'"-Infinity"' if negative else b'"Infinity"'
    return b"[" + b",".join(numbers) + b"]"


def _flatten(data: list[Any], spec: TensorSpec, shape: Sequence[int], count: int) -> list[Any]:
    """Level by level, so that depth costs no stack; each level must be as wide as its dimension."""
    name = shown(spec.name)
    if not data or type(data[0]) is not list:
        raise InvalidInput(f"{name}: 'data' has {len(data)} elements, shape {list(shape)} takes {count}")
    level = [data]
    for axis, length in enumerate(shape):
        for row in level:
            if type(row) is not list or len(row) != length:
                raise InvalidInput(
                    f"{name}: nested 'data' disagrees with dimension {axis} of shape {list(shape)}"
                )
        level = list(chain.from_iterable(level))
    return level


def _booleans(data: list[Any], spec: TensorSpec, shape: Sequence[int]) -> Array:
    for index, element in enumerate(data):
        if element is not True and element is not False and (type(element) is not int or element >> 1):
            raise InvalidInput(f"{shown(spec.name)}: element {index} of 'data', {shown(element)}, is no BOOL")
    return np.ndarray(shape, spec.dtype, bytes(data))


def _texts(data: list[Any], spec: TensorSpec, shape: Sequence[int]) -> Array:
    for index, element in enumerate(data):
        if type(element) is not str:
            raise InvalidInput(f"{shown(spec.name)}: element {index} of 'data', {shown(element)}, is no text")
    return _objects(data, shape)


def _objects(texts: Sequence[str | bytes], shape: Sequence[int]) -> Array:
    return np.array(texts, dtype=np.object_).reshape(shape)


def _wrong_element(data: list[Any], spec: TensorSpec, code: str) -> str:
    for index, element in enumerate(data):
        try:
            struct.pack(f"<{code}", element)
        except (struct.error, OverflowError, TypeError):
            is_number = isinstance(element, int) or (isinstance(element, float) and spec.datatype in FLOATS)
            fault = "is out of the range of" if is_number else "is no"
            where = f"{shown(spec.name)}: element {index} of 'data', {shown(element)},"
            return f"{where} {fault} {spec.datatype}"
    raise AssertionError


# ---------------------------------------------------------------------- bytes


def from_bytes(
    data: memoryview, spec: TensorSpec, shape: Sequence[int], count: int, *, any_bytes: bool = False
) -> Array:
    """The array of a binary tensor: a view of `data` where that is `settled`, a copy where it is not.

    Args:
        data: all bytes of the tensor, little-endian, row-major; BOOL one byte each; BYTES a 4-byte length
            and the UTF-8 text each.
        any_bytes: let elements of BYTES that are not UTF-8 be `bytes`.
        spec: name and datatype; its shape is not looked at.
        shape: as it was checked by `count_elements`.
        count: what that gave.

    Raises:
        InvalidInput: the size is not that of the shape, a BOOL is neither 0 nor 1, a BYTES element is cut
            short or is not UTF-8, which an ONNX string has to be.
    """
    if spec.datatype == "BYTES":
        return _objects(_split(data, spec, count, any_bytes=any_bytes), shape)
    size = count * spec.dtype.itemsize
    if len(data) != size:
        name = shown(spec.name)
        raise InvalidInput(
            f"{name}: {len(data)} bytes of data, shape {list(shape)} of {spec.datatype} takes {size}"
        )
    if spec.datatype == "BOOL" and bytes(data).translate(None, b"\0\1"):
        raise InvalidInput(f"{shown(spec.name)}: a byte of BOOL data is neither 0 nor 1")
    return settled(np.ndarray(shape, spec.dtype, data))


def settled(array: Array) -> Array:
    """The array itself where its memory begins at a multiple of 16, as numpy's own does; else a copy.

    Kernels add up in an order that depends on that address. A view of a body begins wherever its JSON ends:
    the same tensor would give other last bits by the length of a request's id (of 805 models of the onnx
    project that take floats 40 do).
    """
    return array.copy() if array.__array_interface__["data"][0] % _ALIGNMENT else array


def to_bytes(array: Array) -> memoryview:
    """The bytes of a tensor as `from_bytes` takes them; no copy of a contiguous array except for BYTES.

    The view keeps the shape of the array: its size is `nbytes`, not `len`.
    """
    if not array.dtype.hasobject:
        return np.ascontiguousarray(array).data
    parts: list[bytes] = []
    for text in array.ravel().tolist():
        encoded = text if isinstance(text, bytes) else cast("str", text).encode()
        parts += (struct.pack("<I", len(encoded)), encoded)
    return memoryview(b"".join(parts))


def text_from_bytes(data: memoryview, spec: TensorSpec) -> str:
    """One element of a BYTES tensor.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(_no_text(spec, 0)) from None


def _no_text(spec: TensorSpec, index: int) -> str:
    return f"{shown(spec.name)}: element {index} is not UTF-8 text, and onnxruntime takes no other bytes"


def _split(data: memoryview, spec: TensorSpec, count: int, *, any_bytes: bool) -> list[str | bytes]:
    texts: list[str | bytes] = []
    begin, size = 0, len(data)
    while begin + 4 <= size and len(texts) < count:
        (length,) = struct.unpack_from("<I", data, begin)
        end = begin + 4 + length
        if end > size:
            break
        element = data[begin + 4 : end]
        try:
            texts.append(str(element, "utf-8"))
        except UnicodeDecodeError:
            if not any_bytes:
                raise InvalidInput(_no_text(spec, len(texts))) from None
            texts.append(bytes(element))
        begin = end
    if begin != size or len(texts) != count:
        name = shown(spec.name)
        raise InvalidInput(f"{name}: {size} bytes of data are not {count} elements with their lengths")
    return texts
