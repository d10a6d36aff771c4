"""The memory that one process has for request bodies under way, shared by all its connections.

Law: what is taken is given back, exactly; so `held` is 0 when no request is under way. A body that comes
whole with its head, in one read of the socket, takes nothing: it is answered or queued at once, and queues
have limits of their own. Any other one takes what has come of it, until it is answered or its connection is
closed; so does what a compressed one inflates to. One client, by its address, holds at most half of it all,
or one body of the largest size: nobody takes the place of everyone else by sending slowly.
"""

from serving.errors import Unavailable

SMALL_BODY_BYTES = 64 * 1024
"""Is not refused by its length where memory for bodies is short: it may have come whole with its head."""


def no_room() -> Unavailable:
    """What a client is told whose body takes more than there is."""
    return Unavailable("no memory for another body now")


class Bodies:
    """A budget of bytes.

    Args:
        total: of all bodies under way.
        largest: of one body; `total` is at least this.

    Attributes:
        held: bytes taken now.
        refused: bodies, for want of memory in all.
    """

    __slots__ = ("_share", "_shares", "_total", "held", "refused")

    def __init__(self, total: int, largest: int) -> None:
        if total < largest:
            raise ValueError(f"{total} bytes are not enough for one body of {largest}")
        self._total = total
        self._share = max(total // 2, largest)
        self._shares: dict[str, int] = {}
        self.held = 0
        self.refused = 0

    @property
    def share(self) -> float:
        """Of all there is what is taken now."""
        return self.held / self._total

    def fits(self, client: str, size: int) -> bool:
        """Whether so many bytes could be taken now.

        Args:
            client: what tells clients apart; empty for one without a share of its own.
            size: how many.
        """
        if self.held + size > self._total:
            self.refused += 1
            return False
        return not client or self._shares.get(client, 0) + size <= self._share

    def take(self, client: str, size: int) -> bool:
        """Take so many bytes, if they fit; then `give` must follow."""
        if not self.fits(client, size):
            return False
        self.held += size
        if client:
            self._shares[client] = self._shares.get(client, 0) + size
        return True

    def give(self, client: str, size: int) -> None:
        """Give back what was taken."""
        self.held -= size
        if client:
            left = self._shares[client] - size
            if left:
                self._shares[client] = left
            else:
                del self._shares[client]
