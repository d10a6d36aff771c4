"""With which values a model answered: what the guard `drift` counts of an output. Pure.

Of a request with several rows it is the first one: rows of one request hang together.
"""

from typing import Final

import numpy as np

from router.rollout.compare import Array, Floats
from serving.wire.bf16 import BF16, widened

CONFIDENCES: Final = (0.5, 0.7, 0.9, 0.95, 0.99)
"""Between which the greatest probability is told apart."""
ROUNDING: Final = 1e-3
"""By which probabilities may miss the sum of 1."""
NOTHING: Final[frozenset[str]] = frozenset()


def answered_values(array: Array) -> frozenset[str]:
    """The values of an output.

    Args:
        array: a class, which is a whole number or text, for each row; or probabilities of classes, of which
            the likeliest is a value and how likely it is another.

    Returns:
        None of them where the output is neither.
    """
    row = array.reshape(array.shape[0], -1)[:1] if array.ndim and array.shape[0] else array.reshape(1, -1)
    if row.size == 1 and array.dtype.kind in "biuOSU":
        [value] = row.ravel().tolist()
        return frozenset([value.decode(errors="replace") if isinstance(value, bytes) else str(value)])
    if array.dtype.kind == "f" or array.dtype == BF16:
        return _of_probabilities((widened(row) if array.dtype == BF16 else row).astype(np.float64).ravel())
    return NOTHING


def _of_probabilities(row: Floats) -> frozenset[str]:
    whole = row.size > 1 and abs(float(row.sum()) - 1.0) <= ROUNDING
    if not whole or not ((row >= -ROUNDING) & (row <= 1.0 + ROUNDING)).all():
        return NOTHING
    best = int(row.argmax())
    return frozenset([str(best), _confidence(float(row[best]))])


def _confidence(greatest: float) -> str:
    ends = (0.0, *CONFIDENCES, 1.0)
    place = min(int(np.searchsorted(ends, greatest, side="right")), len(ends) - 1)
    return f"confidence {ends[place - 1]:g} to {ends[place]:g}"
