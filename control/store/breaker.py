"""A circuit breaker for a database that may hang. Pure.

Law: after a call that had no answer in time, calls are refused at once, but for one at a time that tries
whether it answers again, with a pause after each that does not. A call that fails at once breaks nothing: the
next one may find the server back.
"""

import threading
from collections.abc import Callable

PAUSE_SECONDS = 1.0


class Breaker:
    """What is known of a database by the last calls; safe for several threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rests_until: float | None = None  # while it does not answer
        self._trying = False
        self.problem = ""
        """Why the last call failed; empty when it did not."""

    def allows(self) -> bool:
        """Whether a call may be made now; if so, one of the next three must tell how it went."""
        with self._lock:
            if self._rests_until is None:
                return True
            if self._trying or self._clock() < self._rests_until:
                return False
            self._trying = True
            return True

    def answered(self) -> None:
        """The call had an answer."""
        with self._lock:
            self._rests_until, self._trying, self.problem = None, False, ""

    def failed(self, problem: str) -> None:
        """The call failed at once."""
        with self._lock:
            self._rests_until, self._trying, self.problem = None, False, problem

    def hung(self, problem: str) -> None:
        """The call had no answer in time."""
        with self._lock:
            self._rests_until, self._trying = self._clock() + PAUSE_SECONDS, False
            self.problem = problem
