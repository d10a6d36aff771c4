"""Whether a call that failed is made again, and when. No I/O.

Law: an inference request is sent again only where it was never sent, since there was no connection, or
where the server answered that it may be: 503 or 429 with Retry-After. That answer was counted as the failure
that it is, and the next attempt is a request of its own. Once a request was sent, and its answer is lost or
late, nobody knows; it would be safe to run twice, but it would count twice in the rollout that the answers
decide. Questions about models, and outcomes, which count once however often they are told, are sent again
whenever the connection was lost.
"""

from dataclasses import dataclass
from random import random

from understudy_client.errors import (
    ConnectionFailed,
    ConnectionLost,
    TooManyRequests,
    Unavailable,
    UnderstudyError,
)

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 5.0


@dataclass(slots=True)
class Attempts:
    """The attempts of one call.

    Args:
        most: how many more there may be than the first.
        repeatable: whether the call does no harm when it is made twice.
        deadline: on the clock that `pause` is told.
    """

    most: int
    repeatable: bool
    deadline: float
    _made: int = 0

    def pause(self, error: UnderstudyError, now: float) -> float | None:
        """How many seconds to wait before the next attempt; None: there is none, the error stands.

        Args:
            error: of the last attempt.
            now: seconds, on a monotonic clock.
        """
        seconds = self._wished(error)
        if seconds is None or self._made >= self.most or now + seconds >= self.deadline:
            return None
        self._made += 1
        return seconds

    def _wished(self, error: UnderstudyError) -> float | None:
        match error:
            case Unavailable() | TooManyRequests() if error.retry_after is not None:
                return error.retry_after + self._spread(_FIRST_SECONDS)
            case ConnectionFailed():
                pass
            case ConnectionLost() if self.repeatable:
                pass
            case _:
                return None
        return self._spread(min(_FIRST_SECONDS * 2.0**self._made, _LONGEST_SECONDS))

    @staticmethod
    def _spread(seconds: float) -> float:
        """Half of it to all of it, so that clients that failed together do not come again together."""
        return seconds * (0.5 + 0.5 * random())  # noqa: S311  (spreads, hides nothing)
