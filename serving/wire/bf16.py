"""BF16, which numpy lacks: the upper half of an FP32. Pure.

Arrays of it are of a datatype of their own, `BF16`, so that nothing takes their bits for integers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

BF16: np.dtype[Any] = np.dtype([("bf16", "<u2")])
"""Of an array of BF16: the bits, under a name."""

_NAN = 0x7FC0


def widened(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The same numbers as FP32, exactly."""
    bits = array.reshape(-1)["bf16"].astype("<u4") << np.uint32(16)
    return bits.view("<f4").reshape(array.shape)


def rounded(array: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """The nearest numbers, ties to even; what is beyond the greatest becomes infinite."""
    flat = array.reshape(-1)
    bits = flat.view("<u4")
    to_even = (bits >> np.uint32(16)) & np.uint32(1)
    upper = ((bits + np.uint32(0x7FFF) + to_even) >> np.uint32(16)).astype("<u2")
    upper[np.isnan(flat)] = _NAN
    return upper.view(BF16).reshape(array.shape)
