"""The features of a model: what of its tensors is counted, and the values of rows for each of them. Pure.

A tensor whose first dimension is variable has a row for each of a request's; another one is one row. Each
element of a row is a feature; of more than `MOST_ELEMENTS` only the mean and the standard deviation over them
are. Text is a category, and so are whole numbers of an output (classes). Probabilities have two more: the
greatest of them, which is the confidence, and the class at which it stands.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from router.drift.histograms import Floats
from serving.wire.bf16 import BF16, widened
from serving.wire.tensors import Array, TensorSpec

MOST_ELEMENTS = 1024
CONFIDENCE, CLASS, MEAN, STD = "confidence", "class", "mean", "std"
ROUNDING = 1e-3
"""By which probabilities may miss the sum of 1."""

Side = Literal["input", "output"]
Values = Floats | Sequence[str | None]
"""Of a feature, one for each row: numbers, where NaN is missing, or categories, where None and "" are."""


@dataclass(frozen=True, slots=True)
class Column:
    """A feature with the values of some rows.

    Attributes:
        name: of the tensor; of one with several elements `tensor[3]` or `tensor[0,3]`; `tensor.confidence`
            and the like.
        side: of the model on which the tensor is.
        values: one for each row.
    """

    name: str
    side: Side
    values: Values


def columns(
    specs: Sequence[TensorSpec],
    side: Side,
    rows: Sequence[Mapping[str, Array]],
    classes: Sequence[str] = (),
    profiled: Collection[str] | None = None,
) -> Iterator[Column]:
    """The features of some requests.

    Args:
        specs: of the model's inputs, or of its outputs.
        side: which of the two.
        rows: tensors by name, for each request; a tensor that is not there has rows of missing values.
        classes: names of the classes, in the order of probabilities; else they are called by their number.
        profiled: features of a profile, by which probabilities are known as such; None finds out from the
            rows.
    """
    for spec in specs:
        if (length := row_length(spec)) is None:
            continue
        told_apart = spec.dtype.hasobject or (side == "output" and spec.dtype.kind in "iub")
        blocks = [_block(request.get(spec.name), length, told_apart=told_apart) for request in rows]
        block = np.concatenate([np.empty((0, length)), *blocks])
        if told_apart:
            yield from _categories(spec, side, block)
            continue
        numbers = block.astype(np.float64)
        yield from _numbers(spec, side, numbers)
        known = profiled is not None and f"{spec.name}.{CONFIDENCE}" in profiled
        if known or (profiled is None and side == "output" and probabilities(numbers)):
            yield from _of_probabilities(spec, numbers, classes)


def row_length(spec: TensorSpec) -> int | None:
    """Elements of a row; None where that varies, and nothing is counted."""
    if spec.shape is None:
        return None
    lengths = spec.shape[1:] if spec.shape[:1] == (-1,) else spec.shape
    return None if -1 in lengths else math.prod(lengths)


def names(specs: Sequence[TensorSpec]) -> list[str]:
    """The features of inputs, without looking at any row."""
    return [
        name for spec in specs if (length := row_length(spec)) is not None for name in _names(spec, length)
    ]


def uncounted(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Names of tensors of which nothing is counted, as the length of their rows varies."""
    return tuple(spec.name for spec in specs if row_length(spec) is None)


def _block(array: Array | None, length: int, *, told_apart: bool) -> Array:
    """The rows of a tensor, (rows, elements); values of classes stay what they are beside missing ones."""
    if array is None:
        return np.full((1, length), None if told_apart else np.nan)
    wide = widened(array) if array.dtype == BF16 else array
    found = wide.reshape(-1, length) if length else np.empty((0, 0))
    return found.astype(object) if told_apart else found


def _place(spec: TensorSpec, at: int) -> str:
    """What an element is called."""
    assert spec.shape is not None
    shape = [length for length in (spec.shape[1:] if spec.shape[:1] == (-1,) else spec.shape) if length != 1]
    if not shape:
        return spec.name
    return f"{spec.name}[{','.join(str(int(place)) for place in np.unravel_index(at, shape))}]"


def _names(spec: TensorSpec, length: int) -> list[str]:
    if length <= MOST_ELEMENTS:
        return [_place(spec, at) for at in range(length)]
    return [] if spec.dtype.hasobject else [f"{spec.name}.{MEAN}", f"{spec.name}.{STD}"]


def _numbers(spec: TensorSpec, side: Side, block: Floats) -> Iterator[Column]:
    if block.shape[1] <= MOST_ELEMENTS:
        for at in range(block.shape[1]):
            yield Column(_place(spec, at), side, block[:, at])
        return
    with np.errstate(all="ignore"):
        yield Column(f"{spec.name}.{MEAN}", side, block.mean(axis=1))
        yield Column(f"{spec.name}.{STD}", side, block.std(axis=1))


def _categories(spec: TensorSpec, side: Side, block: Array) -> Iterator[Column]:
    """Text, and classes; of more elements than are counted none."""
    for at in range(block.shape[1] if block.shape[1] <= MOST_ELEMENTS else 0):
        yield Column(_place(spec, at), side, [_text(value) for value in block[:, at].tolist()])


def _text(value: object) -> str | None:
    """A value as a category; None where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _of_probabilities(spec: TensorSpec, block: Floats, classes: Sequence[str]) -> Iterator[Column]:
    yield Column(f"{spec.name}.{CONFIDENCE}", "output", block.max(axis=1))
    named = classes if len(classes) == block.shape[1] else [str(at) for at in range(block.shape[1])]
    there = (~np.isnan(block)).all(axis=1)
    best: list[int] = block.argmax(axis=1).tolist()
    found = [named[at] if known else None for at, known in zip(best, there.ravel(), strict=True)]
    yield Column(f"{spec.name}.{CLASS}", "output", found)


def probabilities(block: Floats) -> bool:
    """Whether rows of at least two numbers are all from 0 to 1 and sum up to 1."""
    if block.shape[0] == 0 or block.shape[1] < 2:
        return False
    whole = np.abs(block.sum(axis=1) - 1) <= ROUNDING
    return bool(((block >= -ROUNDING) & (block <= 1 + ROUNDING)).all() and whole.all())
