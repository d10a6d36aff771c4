"""BF16, which numpy lacks: the upper half of an FP32, here as `<u2`."""

from typing import Any

import numpy as np
import numpy.typing as npt

_NAN = 0x7FC0


def widened(bits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The same numbers as FP32, exactly."""
    wide = bits.reshape(-1).astype("<u4") << np.uint32(16)
    return wide.view("<f4").reshape(bits.shape)


def rounded(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The bits of the nearest numbers, ties to even; what is beyond the greatest becomes infinite."""
    bits = np.ascontiguousarray(numbers, "<f4").reshape(-1).view("<u4")
    to_even = (bits >> np.uint32(16)) & np.uint32(1)
    upper = ((bits + np.uint32(0x7FFF) + to_even) >> np.uint32(16)).astype("<u2")
    upper[np.isnan(numbers).reshape(-1)] = _NAN
    return upper.reshape(numbers.shape)
