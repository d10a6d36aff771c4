"""Which revision each node serves, and whether enough of them serve one. Pure.

Law: a node serves a revision once all its living workers do; nobody waits for who ends or is out of sight.
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import ceil
from typing import Final

SERVED_SHARE: Final = 0.95
"""Of the nodes, unless control is told another."""
_ROUNDED: Final = 1e-9


class Acknowledged:
    """The living nodes, by the oldest revision that a worker of each has in force.

    Args:
        workers: of each the name of its node, and the revision.
        share: of the nodes that are enough, above 0 and at most 1.
    """

    def __init__(self, workers: Iterable[tuple[str, int]] = (), share: float = SERVED_SHARE) -> None:
        oldest: dict[str, int] = {}
        for node, revision in workers:
            oldest[node] = min(revision, oldest.get(node, revision))
        self._revisions = sorted(oldest.values())
        self.nodes = len(oldest)
        """How many there are."""
        self.needed = max(1, ceil(share * self.nodes - _ROUNDED))
        """How many are enough; one where there is none, so that nobody is never enough."""

    def serving(self, revision: int) -> int:
        """How many serve this revision, or a newer one."""
        return self.nodes - bisect_left(self._revisions, revision)

    def enough(self, revision: int) -> bool:
        """Whether so many do that the time of a step counts."""
        return self.serving(revision) >= self.needed

    def words(self, revision: int) -> str:
        """How many serve it, where they are not enough; else empty."""
        if self.enough(revision) or not self.nodes:
            return ""
        are = f"{self.serving(revision)} of {self.nodes} nodes serve it"
        return f"{are}, and its time counts once {self.needed} do"
