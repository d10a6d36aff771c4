"""What is known of each row, as columns of numbers or categories: what segments are made of. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.wire.tensors import Array

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MOST_ELEMENTS = 1024
"""Of the inputs, those that differ most between rows that differ and rows that do not."""
MOST_CATEGORIES = 32
MOST_TEXT = 60
"""Characters; longer text is no category."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A feature of numbers; NaN where a row has none."""

    name: str
    values: Floats


@dataclass(frozen=True, slots=True)
class Categories:
    """A feature of few different values."""

    name: str
    values: tuple[str, ...]


Feature = Numbers | Categories


def of_inputs(feeds: Sequence[Mapping[str, Array]], differs: Flags) -> list[Feature]:
    """The elements of the inputs, each a feature; of tensors whose shape varies none.

    Args:
        feeds: of each row an array by input.
        differs: of each row whether it differs, by which elements are chosen where there are many.
    """
    found: list[Feature] = []
    for name in feeds[0] if feeds else ():
        arrays = [row[name] for row in feeds if name in row]
        if len(arrays) < len(feeds) or len({array.shape for array in arrays}) > 1:
            continue
        if arrays[0].dtype.hasobject:
            found += _texts(name, arrays)
        elif arrays[0].dtype.kind in "fiub":
            found += _elements(name, np.stack(arrays), differs)
    return found


def of_columns(columns: Mapping[str, Sequence[Any]]) -> list[Feature]:
    """Further columns: numbers where all are, else categories where they are few."""
    found: list[Feature] = []
    for name, cells in columns.items():
        numbers = _numbers(cells)
        if numbers is not None:
            found.append(Numbers(name, numbers))
        else:
            found += _categories(name, ["" if cell is None else str(cell) for cell in cells])
    return found


def _numbers(cells: Sequence[Any]) -> Floats | None:
    try:
        return np.array([np.nan if cell is None or cell == "" else float(cell) for cell in cells])
    except (TypeError, ValueError):
        return None


def _texts(name: str, arrays: Sequence[Array]) -> list[Feature]:
    """Text of one element."""
    return _categories(name, [str(array.ravel()[0]) for array in arrays]) if arrays[0].size == 1 else []


def _categories(name: str, values: Sequence[str]) -> list[Feature]:
    known = set(values)
    if not 1 < len(known) <= MOST_CATEGORIES or max(map(len, known)) > MOST_TEXT:
        return []
    return [Categories(name, tuple(values))]


def _elements(name: str, rows: Array, differs: Flags) -> list[Feature]:
    """Each element of a tensor; of many those that tell most about `differs`, alone and in a line."""
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    shape = rows.shape[2:] if rows.ndim > 1 and rows.shape[1] == 1 else rows.shape[1:]
    chosen = np.arange(flat.shape[1])
    if len(chosen) > MOST_ELEMENTS:
        with np.errstate(all="ignore"):
            apart = np.abs(flat[differs].mean(axis=0) - flat[~differs].mean(axis=0)) / flat.std(axis=0)
        chosen = np.sort(np.argsort(np.nan_to_num(apart, posinf=0.0))[-MOST_ELEMENTS:])
    return [Numbers(_place(name, shape, int(at)), flat[:, at]) for at in chosen]


def _place(name: str, shape: tuple[int, ...], at: int) -> str:
    """The name of an element: `pixels[17]`, `image[0,3,4]`, or the tensor's own where it has no other."""
    if int(np.prod(shape)) == 1:
        return name
    return f"{name}[{','.join(str(int(place)) for place in np.unravel_index(at, shape))}]"
