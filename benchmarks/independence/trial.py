"""Rows run together and alone on onnxruntime itself, to see whether they influence each other.

The rows are adversarial: each has a scale of its own, from 0.01 to 10,000, so that whatever takes a range, a
mean or an order over several rows shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.models.ort import onnxruntime

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
ROWS = 5

RELATIVE, ABSOLUTE = 2e-3, 1e-5
"""Two results differ beyond rounding if by more than this, of the largest number of the row's output."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial showed.

    Attributes:
        told: whether rows ran together.
        differs: whether some row had another result than alone, beyond rounding, or one and none alone.
        influenced: whether what is in the other rows, of which there are as many, changed a bit of the first.
        rounding: the largest difference of floats from what they are alone, in units of the row's largest
            number; infinite where it is no matter of rounding.
    """

    told: bool
    differs: bool = False
    influenced: bool = False
    rounding: float = 0.0


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
    """Run all rows, then each and each pair of neighbours by itself; then the first one beside others."""
    try:
        together = run(dict(feeds))
    except Exception:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
        return Outcome(told=False)
    worst, differs = 0.0, False
    parts = [(row, row + 1) for row in range(rows)] + [(row, row + 2) for row in range(0, rows - 1, 2)]
    for start, stop in parts:
        try:
            alone = run({name: array[start:stop] for name, array in feeds.items()})
        except Exception:  # noqa: BLE001  (it has no answer alone, and has one together)
            return Outcome(told=True, differs=True, influenced=True, rounding=np.inf)
        for joined, single in zip(together, alone, strict=True):
            difference, beyond = _difference(joined, single, start, stop, rows)
            worst = max(worst, difference)
            differs |= beyond
    return Outcome(told=True, differs=differs, influenced=_influenced(run, feeds, rows), rounding=worst)


def _influenced(run: Callable[[Feeds], Sequence[Any]], feeds: Mapping[str, Array], rows: int) -> bool:
    firsts = []
    for other in (*range(1, rows), np.inf, np.nan):
        whole = isinstance(other, int)
        chosen = [0, *[other if whole else 1] * (rows - 1)]
        given = {name: array[chosen] for name, array in feeds.items()}
        if not whole:
            for array in given.values():
                if array.dtype.kind == "f":
                    array[1:] = other
        try:
            outputs = run(given)
        except Exception:  # noqa: BLE001  (a fault of its own: the server runs each alone then)
            continue
        firsts.append([output[:1] for output in outputs if isinstance(output, np.ndarray) and output.ndim])
    return any(
        not _equal(one, two) for first in firsts[1:] for one, two in zip(firsts[0], first, strict=True)
    )


def _equal(one: Array, two: Array) -> bool:
    if one.shape != two.shape:
        return False
    return bool(np.array_equal(one, two, equal_nan=one.dtype.kind == "f"))


def _difference(joined: Any, single: Any, start: int, stop: int, rows: int) -> tuple[float, bool]:
    """How far a part is from what it is alone, in units of its largest number, and if beyond rounding."""
    if not isinstance(joined, np.ndarray) or joined.shape[:1] != (rows,):
        return np.inf, True
    part = joined[start:stop]
    if part.shape != single.shape or part.dtype != single.dtype:
        return np.inf, True
    if _equal(part, single):
        return 0.0, False
    if part.dtype.kind != "f":
        return np.inf, True
    one, two = part.astype("f8"), single.astype("f8")
    finite = np.isfinite(one) & np.isfinite(two)
    if not np.all(finite | (one == two) | (np.isnan(one) & np.isnan(two))):
        return np.inf, True
    largest = max(float(np.abs(two[finite]).max(initial=0)), 1e-30)
    difference = float(np.abs(one[finite] - two[finite]).max(initial=0))
    return difference / largest, difference > ABSOLUTE + RELATIVE * largest
