"""Wrong keys and tokens: how many a client may try.

Law: a client that has used up its tries learns nothing more, for a key that it has not brought before is then
refused also if it is right. Clients are told apart by their address, which several may share; so a key that
was right from there before is taken all the same, and only who comes from there for the first time waits
while the guessing goes on.
"""

from serving.admission.rate_limit import Rates

TRIES_A_SECOND = 1.0
TRIES_AT_ONCE = 20
MAX_KNOWN = 4096


class Guesses:
    """The tries of all clients of one process."""

    __slots__ = ("_known", "_rates")

    def __init__(self) -> None:
        self._rates = Rates(TRIES_A_SECOND, TRIES_AT_ONCE)
        self._known: dict[tuple[str, str], None] = {}

    def wrong(self, client: str) -> float:
        """Count a wrong key; after how many seconds another one would be looked at, 0 for now."""
        return self._rates.take(client.encode())

    def right(self, client: str, name: str) -> float:
        """Take the key of this name, or say, in seconds, when it would be."""
        pair = client, name
        if pair in self._known:
            return 0.0
        wait = self._rates.take(client.encode(), look=True)
        if wait <= 0.0:
            if len(self._known) >= MAX_KNOWN:  # those in use are soon known again
                self._known.clear()
            self._known[pair] = None
        return max(0.0, wait)
