"""The bytes of accepted models that a node keeps, and when it may forget them. No event loop, no files.

Law: what no snapshot names is kept for `FORGET_SECONDS` from when that was first seen: for an undo, for
workers that are slow to move on, and for a snapshot that is still on its way here. Before a snapshot came
nothing is forgotten.
"""

from collections.abc import Iterable

FORGET_SECONDS = 60.0


class AcceptedBytes:
    """Which bytes are still needed, by digest."""

    def __init__(self) -> None:
        self._named: set[str] | None = None
        self._unnamed: dict[str, float] = {}  # since when

    def follow(self, digests: Iterable[str]) -> None:
        """Take in what the snapshot names now."""
        self._named = set(digests)

    def forgettable(self, found: Iterable[str], now: float) -> list[str]:
        """Those that may be deleted.

        Args:
            found: all digests that there are.
            now: in seconds, on a clock that never goes back.
        """
        if self._named is None:
            return []
        unnamed = {digest: self._unnamed.get(digest, now) for digest in found if digest not in self._named}
        self._unnamed = unnamed
        return [digest for digest, since in unnamed.items() if now >= since + FORGET_SECONDS]
