"""Cells of a file -> the arrays of a request, by the law of `serving.wire.tensors`. Pure.

A tensor is one column, with a list in each cell (nested or flat, row-major), or a column for each element.
Each row is one request: where the first dimension is variable, of one row unless its cell has more.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from serving.errors import InvalidInput
from serving.wire.bf16 import rounded, widened
from serving.wire.tensors import Array, TensorSpec, count_elements, from_json, shown
from understudy.offline.data.columns import Cells, Columns

_FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def of_cells(columns: Columns, column: str, spec: TensorSpec, shapes: str | None = None) -> list[Array]:
    """The tensor of each row, from one column.

    Args:
        columns: of the file.
        column: which one.
        spec: what it is to be.
        shapes: a column with the shape of each row, where the file has it.

    Raises:
        InvalidInput: a cell is no such tensor; names its place.
    """
    cells = columns.by_name[column]
    if isinstance(cells, np.ndarray):
        return _of_array(columns, column, cells, spec)
    logged = columns.by_name.get(shapes or "")
    known = (None,) * len(cells) if logged is None else logged
    if logged is not None and (row := _unlogged(cells, logged)) is not None:
        columns.refuse(row, column, "the log has no value of it, as where it was redacted for a while")
    return [
        _checked(columns, row, column, _of_cell, cell, spec, shape)
        for row, (cell, shape) in enumerate(zip(cells, known, strict=True))
    ]


def of_elements(columns: Columns, names: Sequence[str], spec: TensorSpec) -> list[Array]:
    """The tensor of each row, from a column for each element.

    Raises:
        InvalidInput: a cell is no such element; names its place.
    """
    tensors = []
    for row in range(columns.rows):
        elements = [
            _checked(columns, row, name, _element, columns.by_name[name][row], spec) for name in names
        ]
        tensors.append(_checked(columns, row, names[0], _of_list, elements, spec))
    return tensors


def _checked(columns: Columns, row: int, column: str, make: Callable[..., Any], *of: Any) -> Any:
    """What is made of a cell; a fault of it is told with its place."""
    try:
        return make(*of)
    except InvalidInput as error:
        columns.refuse(row, column, str(error))


def _unlogged(cells: Cells, shapes: Cells) -> int | None:
    """The first row without a value and its shape; elsewhere a float that is missing is none."""
    both = enumerate(zip(cells, shapes, strict=True))
    return next((row for row, (cell, shape) in both if cell is None and shape is None), None)


def _of_cell(cell: Any, spec: TensorSpec, shape: list[int] | None = None) -> Array:
    if cell is None and spec.datatype not in _FLOATS:
        raise InvalidInput("there is no value")
    if isinstance(cell, str) and spec.datatype != "BYTES" and cell.lstrip().startswith("["):
        try:
            cell = orjson.loads(cell)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"not a JSON list: {error}") from None
    return _of_list(cell if isinstance(cell, list) else [_element(cell, spec)], spec, shape)


def _element(cell: Any, spec: TensorSpec) -> Any:
    """One element; text of a CSV as what its datatype makes of it."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if not isinstance(cell, str) or spec.datatype == "BYTES":
        return cell
    try:
        if spec.datatype in _FLOATS:
            return float(cell)
        return _BOOLS[cell.strip().lower()] if spec.datatype == "BOOL" else int(cell)
    except (ValueError, KeyError):
        raise InvalidInput(f"{shown(cell)} is no {spec.datatype}") from None


def _of_list(data: list[Any], spec: TensorSpec, given: list[int] | None = None) -> Array:
    nested, known = _nested(data), spec.shape
    shape = nested if given is None else tuple(given)
    if given is None and known is not None and len(nested) != len(known):
        if len(nested) > 1:  # one row, without its first dimension
            data, shape = [data], (1, *nested)
        else:
            shape = _inferred(len(data), known)
    return from_json(data, spec, shape, count_elements(list(shape), spec))


def _nested(data: Any) -> tuple[int, ...]:
    """The lengths of nested lists, by the first of each."""
    lengths = []
    while isinstance(data, list):
        lengths.append(len(data))
        data = data[0] if data else None
    return tuple(lengths)


def _inferred(count: int, known: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a flat list: one variable dimension follows from the number of elements."""
    shape, fixed = list(known), math.prod(length for length in known if length >= 0)
    variable = [at for at, length in enumerate(known) if length < 0]
    if len(variable) > 1 and variable[0] == 0:
        shape[variable.pop(0)] = 1
    if len(variable) > 1:
        raise InvalidInput(f"a flat list says not which shape of {list(known)} it has; write nested lists")
    if variable:
        shape[variable[0]] = count // fixed if fixed else 0
    if math.prod(shape) != count:
        raise InvalidInput(f"{count} elements, the model takes {list(known)}")
    return tuple(shape)


def _of_array(columns: Columns, column: str, array: Array, spec: TensorSpec) -> list[Array]:
    """The rows of an array, whose first dimension they are."""
    whole, joined = joined_rows(columns, column, array, spec)
    return [whole[row : row + 1] if joined else whole[row] for row in range(len(whole))]


def joined_rows(columns: Columns, column: str, array: Array, spec: TensorSpec) -> tuple[Array, bool]:
    """An array whose first dimension is the rows, as the model takes it.

    Returns:
        It, in the datatype of the model; and whether the model's first dimension is that of the rows.

    Raises:
        InvalidInput: the model takes no such rows; names the place.
    """
    known = spec.shape
    joined = known is None or (len(known) == array.ndim and known[:1] in {(-1,), (1,)})
    rest, wanted = array.shape[1:], () if known is None else known[1:] if joined else known
    fits = known is None or (
        len(rest) == len(wanted) and all(want in (-1, has) for want, has in zip(wanted, rest, strict=True))
    )
    if not fits:
        place = f"{columns.file}: array {column!r}"
        raise InvalidInput(f"{place}: rows of shape {list(rest)}, the model takes {list(known or ())}")
    return _converted(columns, column, array, spec), joined


def _converted(columns: Columns, column: str, array: Array, spec: TensorSpec) -> Array:
    """The array in the datatype of the model, where that loses no more than the precision of floats."""
    wrong = f"is {array.dtype}, the model takes {spec.datatype}"
    if spec.datatype == "BYTES":
        if array.dtype.kind not in "UO":  # objects are text: an .npz with others is not read
            raise InvalidInput(f"{columns.file}: array {column!r} {wrong}")
        return array.astype(object)
    if spec.datatype == "BF16" and array.dtype.kind in "fiub":
        with np.errstate(over="ignore"):
            brief = rounded(array.astype(np.float32))
        _refuse_beyond(columns, column, array, widened(brief), spec)
        return brief
    if array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise InvalidInput(f"{columns.file}: array {column!r} {wrong}")
    with np.errstate(over="ignore"):
        found = array.astype(spec.dtype)
    _refuse_beyond(columns, column, array, found, spec)
    return found


def _refuse_beyond(columns: Columns, column: str, array: Array, found: Array, spec: TensorSpec) -> None:
    for row in _beyond(array, found)[:1]:
        columns.refuse(int(row), column, f"a value is out of the range of {spec.datatype}")


def _beyond(array: Array, found: Array) -> "npt.NDArray[np.intp]":
    """Rows in which the datatype does not hold the values."""
    if found.dtype.kind == "f":
        lost = np.isinf(found) & ~np.isinf(array) if array.dtype.kind == "f" else np.isinf(found)
    else:
        lost = found != array
    return np.flatnonzero(np.asarray(lost).reshape(len(array), -1).any(axis=1))
