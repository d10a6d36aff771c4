"""With which values a model answered: a class, or the likeliest class and how likely it is."""

import numpy as np
import pytest

from router.mirror.answered_values import answered_values
from serving.wire.bf16 import BF16


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([7, 3]), {"7"}),
        (np.array([[b"cat"], [b"dog"]], object), {"cat"}),
        (np.array(True), {"True"}),
        (np.array([[0.2, 0.8], [1.0, 0.0]], "f4"), {"1", "confidence 0.7 to 0.9"}),
        (np.array([[1.0, 0.0]], "f8"), {"0", "confidence 0.99 to 1"}),
        (np.array([[0.25, 0.25, 0.5]], "f2"), {"2", "confidence 0.5 to 0.7"}),
        (np.array([[0x3E80, 0x3F40]], "u2").view(BF16), {"1", "confidence 0.7 to 0.9"}),
        (np.array([[0.2, 0.9]], "f4"), set()),
        (np.array([[1.5, -0.5]], "f4"), set()),
        (np.array([[np.nan, 1.0]], "f4"), set()),
        (np.array([0.5], "f4"), set()),
        (np.array([[1, 2]]), set()),
        (np.empty((0, 3), "f4"), set()),
        (np.empty((0,), "i8"), set()),
    ],
)
def test_values_of_the_first_row(array, found):
    assert answered_values(array) == found
