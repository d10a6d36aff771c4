"""How often stable may answer for a candidate. Pure."""

RETRY_RATIO = 0.2
RETRY_BURST = 500.0


class RetryBudget:
    """Allows a fifth more attempts than requests, with a burst for the moment a target dies."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = RETRY_BURST

    def earn(self) -> None:
        """A request arrived at a target that can fail over."""
        if self._tokens < RETRY_BURST:
            self._tokens += RETRY_RATIO

    def spend(self) -> bool:
        """Whether one more attempt may be made."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
