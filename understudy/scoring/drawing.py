"""Which rows a canary scores too. Pure.

Law: a row is drawn by its number and the salt alone, so a job that goes on draws as it did before; and each
row is drawn with the same chance, whatever the others are.
"""

from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from understudy.scoring.formats.block import Numbers

_STEPS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_GOLDEN: Final = 0x9E3779B97F4A7C15


def drawn(rows: Numbers, salt: str, share: float) -> npt.NDArray[np.bool_]:
    """Of each row whether it is drawn.

    By SplitMix64, a mixer of 64 bits. Source: Steele, Lea, Flood, Fast splittable pseudorandom number
    generators (2014).

    Args:
        rows: their numbers.
        salt: other draws for another one.
        share: 0 to 1, of the rows.
    """
    seed = np.uint64(int.from_bytes(blake2b(salt.encode(), digest_size=8).digest()))
    with np.errstate(over="ignore"):
        mixed = rows.astype(np.uint64) * np.uint64(_GOLDEN) + seed
        for shift, factor in _STEPS:
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) < np.uint64(round(share * 2**53))
