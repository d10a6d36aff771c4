"""The one value that a model says of a row: a class or a number, out of its outputs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from router.mirror.mirrored import Tensors
from serving.errors import InvalidInput
from serving.wire.tensors import Signature, TensorSpec, shown
from understudy.offline.data.columns import Columns

_FLOATS = frozenset({"FP16", "FP32", "FP64"})


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a model's value is, and of which kind.

    Args:
        output: its name.
        kind: a `class` as it is given, the place of the greatest of several `scores`, or a `number`.
        names: of the classes, by their number; empty where none are known.
    """

    output: str
    kind: Literal["class", "scores", "number"]
    names: tuple[str, ...] = ()

    def of(self, outputs: Tensors | None) -> Any:
        """The value in these outputs; None where there is none, or more than one."""
        array = None if outputs is None else outputs.get(self.output)
        if array is None or array.size == 0:
            return None
        if self.kind == "scores":
            rows = array.reshape(-1, array.shape[-1])
            return int(np.argmax(rows)) if len(rows) == 1 else None
        return array.ravel()[0].item() if isinstance(array.ravel()[0], np.generic) else array.ravel()[0]


def reading(signature: Signature, names: tuple[str, ...], outputs: Mapping[str, Any]) -> Reading | None:
    """How to read a model's value.

    Args:
        signature: of the base.
        names: of its classes.
        outputs: an answer of it.

    Returns:
        The first output that is a class (whole numbers, text, BOOL) with one element; else the greatest of
        the first that is scores; else the first single number. None where there is none of these.
    """
    one = [spec for spec in signature.outputs if np.size(outputs[spec.name]) == 1]
    for spec in one:
        if spec.datatype not in _FLOATS and spec.datatype != "BF16":
            return Reading(spec.name, "class", names)
    for spec in signature.outputs:
        if _is_scores(spec, outputs[spec.name]):
            return Reading(spec.name, "scores", names)
    for spec in one:
        if spec.datatype in _FLOATS:
            return Reading(spec.name, "number")
    return None


def _is_scores(spec: TensorSpec, array: Any) -> bool:
    """One row of two or more floats."""
    return spec.datatype in _FLOATS and array.ndim > 0 and array.size == array.shape[-1] > 1


def truth(read: Reading, labels: Sequence[Any], like: Any, columns: Columns) -> list[Any]:
    """Labels in the form of a model's values: numbers, or whole numbers, or text; names of classes too.

    Args:
        read: how the values are read.
        labels: one for each row.
        like: a value of the model.
        columns: where the labels come from, for errors.

    Raises:
        InvalidInput: a label is no such value; names the row.
    """
    found = []
    for row, label in enumerate(labels):
        try:
            found.append(_as(read, label, like))
        except (ValueError, TypeError):
            wanted = "a number" if read.kind == "number" else f"a class of output {read.output!r}"
            raise InvalidInput(
                f"{columns.place(row)}: label {shown(label)} is not {wanted}; choose the column by --labels"
            ) from None
    return found


def _as(read: Reading, label: Any, like: Any) -> Any:
    if read.kind == "number":
        return float(label)
    if isinstance(like, str):
        return str(label)
    if isinstance(label, str) and label in read.names:
        return read.names.index(label)
    whole = int(label)
    if whole != float(label):
        raise ValueError(label)
    return bool(whole) if isinstance(like, bool) else whole
