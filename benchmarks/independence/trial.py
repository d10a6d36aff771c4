"""Rows run together and alone on onnxruntime itself, to see whether they influence each other.

The rows are adversarial: each has a scale of its own, from 0.01 to 10,000, so that whatever takes a range, a
mean or an order over several rows shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.onnx import onnxruntime

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
ROWS = 5

RELATIVE, ABSOLUTE = 2e-3, 1e-5
"""Two results differ beyond rounding if by more than this, of the largest number of the row's output."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial showed.

    Attributes:
        told: whether at least two rows ran together.
        differs: whether some row had another result than alone, beyond rounding.
        rounding: the largest difference of floats otherwise, in units of the row's largest number.
        exact: whether all bits were equal.
    """

    told: bool
    differs: bool = False
    rounding: float = 0.0
    exact: bool = True


def session(model: bytes) -> Any:
    """A session of one thread that says nothing.

    Raises:
        Exception: onnxruntime refuses the model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def scaled(rng: np.random.Generator, array: Array) -> Array:
    """The same rows of floats, each of a scale of its own; other types as they are."""
    if array.dtype.kind != "f" or not array.ndim:
        return array
    scales = np.power(10.0, rng.uniform(-2, 4, len(array))).reshape(-1, *[1] * (array.ndim - 1))
    with np.errstate(over="ignore", invalid="ignore"):
        return (array * scales).astype(array.dtype)


def compare(run: Callable[[Feeds], Sequence[Any]], feeds: Mapping[str, Array], rows: int = ROWS) -> Outcome:
    """Run all rows, then each and each pair of neighbours by itself."""
    try:
        together = run(dict(feeds))
    except Exception:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
        return Outcome(told=False)
    worst, exact, told = 0.0, True, False
    parts = [(row, row + 1) for row in range(rows)] + [(row, row + 2) for row in range(0, rows - 1, 2)]
    for start, stop in parts:
        try:
            alone = run({name: array[start:stop] for name, array in feeds.items()})
        except Exception:  # noqa: BLE001  (it has no answer alone, and has one together)
            return Outcome(told=True, differs=True, exact=False)
        told = True
        for joined, single in zip(together, alone, strict=True):
            difference = _difference(joined, single, start, stop, rows)
            if difference is None:
                return Outcome(told=True, differs=True, exact=False)
            exact &= difference == 0.0
            worst = max(worst, difference)
    return Outcome(told=told, rounding=worst, exact=exact)


def _difference(joined: Any, single: Any, start: int, stop: int, rows: int) -> float | None:
    """How far a part is from what it is alone, in units of its largest number; None if beyond rounding."""
    if not isinstance(joined, np.ndarray) or joined.shape[:1] != (rows,):
        return None
    part = joined[start:stop]
    if part.shape != single.shape or part.dtype != single.dtype:
        return None
    if part.dtype.kind != "f":
        return 0.0 if np.array_equal(part, single) else None
    one, two = part.astype("f8"), single.astype("f8")
    if np.array_equal(one, two, equal_nan=True):
        return 0.0
    finite = np.isfinite(one) & np.isfinite(two)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    if not np.all(finite | same):
        return None
    largest = max(float(np.abs(two[finite]).max(initial=0)), 1e-30)
    difference = float(np.abs(one - two)[finite].max(initial=0))
    return None if difference > ABSOLUTE + RELATIVE * largest else difference / largest
