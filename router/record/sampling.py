"""Which answers are recorded. Pure.

Law: the draw knows the request and not its outcome. It is by the sticky key where there is one, so that all
answers of a user are there or none, and else by the moment of arrival; so every process that sees the same
request, the worker and the sandbox that compares it, draws the same without telling the other.
"""

import struct
from typing import Final

_MASK: Final = (1 << 64) - 1
_BITS: Final = struct.Struct("<d")
_AS_NUMBER: Final = struct.Struct("<Q")


def mixed(number: int) -> int:
    """64 bits, each of which depends on all of the number's: the finalizer of splitmix64.

    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014); constants of
    Stafford's variant 13.
    """
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & _MASK
    return number ^ number >> 31


class Draw:
    """Draws the answers of one model that are recorded.

    Args:
        salt: 64 bits; another model has another one, so that it is not the same users everywhere.
        percent: 0 to 100.
    """

    __slots__ = ("_below", "_salt", "everything")

    def __init__(self, salt: int, percent: float) -> None:
        self._salt = salt
        self._below = percent / 100 * 2.0**64
        self.everything = percent >= 100

    def takes(self, key: int, arrived: float) -> bool:
        """Whether an answer is recorded.

        Args:
            key: hash of the sticky key; 0 for none.
            arrived: when the request was there, as of `serving.wire.message.Call`.
        """
        if self.everything:
            return True
        number = key or _AS_NUMBER.unpack(_BITS.pack(arrived))[0]
        return mixed(mixed(number ^ self._salt)) < self._below
