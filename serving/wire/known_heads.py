"""Heads met before: on a kept connection either side repeats its head byte for byte.

Law: what a parser at rest makes of a head follows from the head's bytes alone. So what was made of one that
was read to its last byte between two messages holds for the same bytes the next time: they need not be read.
"""

from typing import Generic, TypeVar

T = TypeVar("T")


class KnownHeads(Generic[T]):
    """Heads with what was made of them, bounded in number and size.

    Args:
        most: so many are kept; one more has all others forgotten: those in use are soon learned again.
        most_bytes: of one head; a longer one is not kept.
    """

    __slots__ = ("_known", "_most", "_most_bytes", "get")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._known: dict[bytes, T] = {}
        self.get = self._known.get
        """What was made of the head with these bytes; None when it is not known."""

    def wants(self, raw: bytes) -> bool:
        """Whether a head would be kept, and is not yet."""
        return len(raw) <= self._most_bytes and raw not in self._known

    def learn(self, raw: bytes, made: T) -> None:
        """Keep what was made of a head, if it is short enough."""
        if len(raw) > self._most_bytes:
            return
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[raw] = made
