"""Values of Python -> the tensor that a model takes.

Law: nothing is converted silently that cannot be converted back, but for one thing: numbers become the
nearest floats of the model's precision. No number is wrapped, cut off or made infinite, no text becomes a
number. What does not fit is an `InvalidData` that names the place, what was found, what the model takes and
what to do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy_client.errors import InvalidData
from understudy_client.wire.bf16 import rounded, widened
from understudy_client.wire.metadata import TensorSpec
from understudy_client.wire.tensors import FLOATS, WIRE, Array, Tensor


def fit(value: Any, spec: TensorSpec, place: str) -> Tensor:
    """The tensor of a value.

    Args:
        value: an array, or lists and numbers from which one is made.
        spec: what the model takes.
        place: how errors call it, such as "column 'age'".

    Raises:
        InvalidData: it does not fit.
    """
    array = converted(value, spec.datatype, place)
    return Tensor(spec.name, spec.datatype, shaped(array, spec, place))


def shaped(array: Array, spec: TensorSpec, place: str) -> Array:
    """The array in a shape that the model takes; n values become [n, 1] where it takes [-1, 1].

    Raises:
        InvalidData: it has another one.
    """
    known = spec.shape
    if known is None:
        return array
    if array.ndim == len(known) - 1 and known[-1] == 1:
        array = array[..., np.newaxis]
    fits = array.ndim == len(known) and all(
        want in (-1, has) for has, want in zip(array.shape, known, strict=True)
    )
    if fits:
        return array
    text = f"{place}: the shape is {list(array.shape)}, the model takes {list(known)}"
    one_row = known[:1] in {(-1,), (1,)} and array.ndim == len(known) - 1
    raise InvalidData(text + ("; a single row is x[numpy.newaxis]" if one_row else ""))


def converted(value: Any, datatype: str, place: str) -> Array:
    """The array of a value, as it travels.

    Args:
        value: an array, or lists and numbers from which one is made.
        datatype: a key of `WIRE`.
        place: how errors call it.

    Raises:
        InvalidData: the datatype does not hold it.
    """
    array = _array(value, datatype, place)
    if datatype == "BYTES":
        return _texts(array, place)
    if array.dtype.name == "bfloat16":  # of ml_dtypes, where somebody has it
        array = array.view(np.uint16) if datatype == "BF16" else widened(array.view(np.uint16))
        if datatype == "BF16":
            return array
    if array.dtype.hasobject:
        array = _from_objects(array, datatype, place)
    if datatype == "BOOL":
        return array if array.dtype.kind == "b" else _refuse(array, datatype, place)
    return _floats(array, datatype, place) if datatype in FLOATS else _integers(array, datatype, place)


def _array(value: Any, datatype: str, place: str) -> Array:
    """What numpy makes of it, which must not be text of what was a number."""
    if isinstance(value, np.ndarray):
        nested = value.ndim == 1 and value.dtype.hasobject and value.size
        if not nested or not isinstance(value[0], list | tuple | np.ndarray):
            return value
        value = value.tolist()  # a column with a list in each row
    try:
        array = np.asarray(value, np.object_) if datatype == "BYTES" else np.asarray(value)
        if array.dtype.kind == "f" and datatype not in FLOATS:
            array = np.asarray(value, np.object_)  # integers that no datatype of numpy holds would be rounded
    except ValueError:
        raise InvalidData(f"{place}: its rows are not of one length") from None
    if datatype == "BYTES" and array.size and isinstance(array.ravel()[0], list | tuple):
        raise InvalidData(f"{place}: its rows are not of one length")
    return array


def _refuse(array: Array, datatype: str, place: str) -> Array:
    raise InvalidData(
        f"{place}: it is {_called(array)}, the model takes {datatype}; {_remedy(array, datatype)}"
    )


def _called(array: Array) -> str:
    return "text" if array.dtype.kind in "US" else str(array.dtype)


def _remedy(array: Array, datatype: str) -> str:
    kind = array.dtype.kind
    if kind in "US":
        return "encode it as the model was trained with"
    if kind in "mM":
        return "say which number of it is meant, such as seconds since 1970"
    if kind == "f" and datatype not in FLOATS | {"BOOL"}:
        return f'if all are whole numbers, convert them: .astype("{WIRE[datatype].name}")'
    if datatype == "BOOL":
        return "compare first: x != 0"
    if datatype == "BYTES":
        return "if text is meant, convert it: .astype(str)"
    return "give numbers"


# ---------------------------------------------------------------------- numbers


def _floats(array: Array, datatype: str, place: str) -> Array:
    if array.dtype.kind not in "fiub":
        _refuse(array, datatype, place)
    dtype = WIRE["FP32" if datatype == "BF16" else datatype]
    with np.errstate(over="ignore"):
        found = array.astype(dtype, copy=False)
    made_infinite = np.isinf(found) & ~np.isinf(array)
    if datatype == "BF16":
        bits = rounded(found)
        made_infinite |= np.isinf(widened(bits)) & ~np.isinf(found)
        found = bits
    _refuse_beyond(array, made_infinite, datatype, place)
    return found


def _integers(array: Array, datatype: str, place: str) -> Array:
    if array.dtype.kind not in "iub":
        if array.dtype.kind == "f" and (missing := np.isnan(array)).any():
            _refuse_missing(missing, datatype, place)
        _refuse(array, datatype, place)
    bounds = np.iinfo(WIRE[datatype])
    if array.dtype.kind in "iu" and array.size:
        # numpy compares integers of any two kinds exactly
        _refuse_beyond(array, (array < bounds.min) | (array > bounds.max), datatype, place)
    return array.astype(WIRE[datatype], copy=False)


def _refuse_beyond(array: Array, beyond: Array, datatype: str, place: str) -> None:
    if beyond.any():
        at = int(np.flatnonzero(beyond)[0])
        value = array.reshape(-1)[at]
        raise InvalidData(f"{place}: element {at}, {value}, is out of the range of {datatype}")


def _refuse_missing(missing: Array, datatype: str, place: str) -> None:
    first = int(np.flatnonzero(missing)[0])
    raise InvalidData(
        f"{place}: {int(missing.sum()):,} values are missing, the first is element {first}; "
        f"{datatype} has no missing values: fill them as the model was trained with"
    )


# ---------------------------------------------------------------------- objects


def _is_missing(element: Any) -> bool:
    return element is None or (isinstance(element, float) and element != element)  # noqa: PLR0124  (NaN)


def _from_objects(array: Array, datatype: str, place: str) -> Array:
    """Numbers among Python objects, as pandas has them where values are missing; those are NaN for floats."""
    elements: Sequence[Any] = array.ravel().tolist()
    missing = np.array([_is_missing(element) for element in elements], np.bool_)
    if missing.any() and datatype not in FLOATS:
        _refuse_missing(missing, datatype, place)
    for at, element in enumerate(elements):
        if not missing[at] and not isinstance(element, bool | int | float | np.bool_ | np.number):
            kind = type(element).__name__
            remedy = "encode it as the model was trained with" if kind in {"str", "bytes"} else "give numbers"
            raise InvalidData(f"{place}: element {at} is a {kind}, the model takes {datatype}; {remedy}")
    if datatype in FLOATS:
        numbers = [np.nan if gone else each for each, gone in zip(elements, missing, strict=True)]
        try:
            return np.array(numbers, np.float64).reshape(array.shape)
        except OverflowError:
            raise InvalidData(f"{place}: an element is out of the range of {datatype}") from None
    if any(isinstance(element, float | np.floating) for element in elements):
        return np.array(elements, np.float64).reshape(array.shape)  # to be refused as what it is
    return _from_integers(elements, datatype, place).reshape(array.shape)


def _from_integers(elements: Sequence[Any], datatype: str, place: str) -> Array:
    """The array of integers, or of truth values, as Python has them: exact, whatever their size."""
    if datatype == "BOOL":
        all_bools = all(isinstance(element, bool | np.bool_) for element in elements)
        return np.array(elements, np.bool_ if all_bools else np.object_)
    bounds = np.iinfo(WIRE[datatype])
    for at, element in enumerate(elements):
        if not bounds.min <= int(element) <= bounds.max:
            raise InvalidData(f"{place}: element {at}, {element}, is out of the range of {datatype}")
    return np.array(elements, WIRE[datatype])


def _texts(array: Array, place: str) -> Array:
    if array.dtype.kind in "US":
        return array.astype(np.object_)
    if not array.dtype.hasobject:
        _refuse(array, "BYTES", place)
    elements = array.ravel().tolist()
    missing = np.array([_is_missing(element) for element in elements], np.bool_)
    if missing.any():
        _refuse_missing(missing, "BYTES", place)
    for at, element in enumerate(elements):
        if not isinstance(element, str | bytes):
            kind = type(element).__name__
            raise InvalidData(f"{place}: element {at} is a {kind}, the model takes text; convert it: str(x)")
    return array
