"""What a model is warmed with: made-up input, or the rows of an .npz that its configuration names. Pure."""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidModel
from serving.wire.tensors import Signature, TensorSpec

Array = npt.NDArray[np.generic]
Fill = tuple[int | str, ...]

MAX_BYTES = 64 << 20  # of all input that is made up


@dataclass(frozen=True, slots=True)
class Trial:
    """Input that is made up to run a model with, an entry for each input that it needs, in their order.

    Attributes:
        shapes: whole shapes, one row long where the model can be run with one.
        fills: the first elements of each; the last of them is repeated to the end.
    """

    shapes: tuple[tuple[int, ...], ...]
    fills: tuple[Fill, ...]


def needed(signature: Signature) -> tuple[TensorSpec, ...]:
    """The inputs that may not be left out."""
    return tuple(spec for spec in signature.inputs if not spec.optional)


def plain(signature: Signature) -> Trial:
    """Zeros or empty text for every input, variable dimensions 1 long; a scalar for any rank."""
    specs = needed(signature)
    return Trial(
        tuple(tuple(1 if length < 0 else length for length in spec.shape or ()) for spec in specs),
        tuple(("",) if spec.datatype == "BYTES" else (0,) for spec in specs),
    )


def blanks(signature: Signature, rows: int, trial: Trial | None = None) -> dict[str, Array]:
    """The arrays of a trial, by name; where the first dimension is variable, `rows` of them.

    With several rows, those of zeros of floats alternate between 0 and 1, so that they can be told apart.

    Args:
        signature: of the model.
        rows: how many, where a trial has one.
        trial: None for the plain one.
    """
    trial = trial or plain(signature)
    return {
        spec.name: _blank(spec, rows, shape, fill)
        for spec, shape, fill in zip(needed(signature), trial.shapes, trial.fills, strict=True)
    }


def trial_bytes(signature: Signature, trial: Trial) -> int:
    """What its arrays take."""
    return sum(
        int(np.prod(shape, dtype=np.float64)) * spec.dtype.itemsize
        for spec, shape in zip(needed(signature), trial.shapes, strict=True)
    )


TELLING_ROWS = 4


def telling_rows(
    signature: Signature, warmup: dict[str, Array], trial: Trial | None = None
) -> dict[str, Array] | None:
    """Rows of every input that show whether a model's rows influence each other; None if none are known.

    There is a different one between two equal ones: whatever sums, sorts, counts or averages over rows shows
    by them. Then there is one whose floats are a hundred times as large, for models that quantize what they
    are given by its range.

    Args:
        signature: of a model whose inputs all have rows.
        warmup: from the .npz; empty for blanks. Of a single row, the different one has halves of its floats.
        trial: what the blanks are; None for the plain one.
    """
    if warmup:
        rows = repeat_rows(warmup, 2)
    else:
        rows = blanks(signature, 2, trial)
        for array in rows.values():
            array[0], array[1] = ("1", "") if array.dtype.hasobject else (1, 0)
    for array in rows.values():
        if array.dtype.kind == "f" and np.array_equal(array[0], array[1]):
            array[1] = array[0] / 2
    if all(np.array_equal(array[0], array[1]) for array in rows.values()):
        return None
    telling = {name: array[[0, 1, 0, 0]] for name, array in rows.items()}
    for array in telling.values():
        if array.dtype.kind == "f":
            array[-1] *= 100
    return telling


def _blank(spec: TensorSpec, rows: int, shape: tuple[int, ...], fill: Fill) -> Array:
    lengths = list(shape)
    if (spec.shape or ())[:1] == (-1,) and lengths[0] == 1:
        lengths[0] = rows
    array: Array = np.full(lengths, fill[-1], dtype=spec.dtype)
    flat = array.reshape(-1)
    if begin := fill[: flat.size]:  # numpy takes an empty tuple for one value of a structured type
        flat[: len(begin)] = begin
    if fill == (0,) and rows > 1 and array.ndim and array.dtype.kind == "f":
        array[1::2] = 1
    return array


def repeat_rows(arrays: dict[str, Array], rows: int) -> dict[str, Array]:
    """As many rows as asked for, beginning again at the first when they run out."""
    return {name: array[np.arange(rows) % len(array)] for name, array in arrays.items()}


def read_npz(data: bytes, signature: Signature) -> dict[str, Array]:
    """An array for every input that is needed, of its datatype and shape; text becomes BYTES.

    Raises:
        InvalidModel: it is not that.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        raise InvalidModel("warmup: not an .npz of plain arrays") from None
    needed = {spec.name for spec in signature.inputs if not spec.optional}
    if not needed <= set(arrays) <= set(signature.input_by_name):
        raise InvalidModel(f"warmup: expected the arrays {', '.join(sorted(needed))}")
    return {spec.name: _fitting(spec, arrays[spec.name]) for spec in signature.inputs if spec.name in arrays}


def _fitting(spec: TensorSpec, array: Array) -> Array:
    if array.dtype.kind == "U":
        array = array.astype(object)
    fits = spec.shape is None or (
        len(spec.shape) == array.ndim
        and all(expected in (-1, length) for expected, length in zip(spec.shape, array.shape, strict=True))
    )
    if array.dtype != spec.dtype or not fits or not array.size:
        raise InvalidModel(f"warmup: array {spec.name!r} is not of datatype {spec.datatype} and its shape")
    return array
