"""Turns of the threads that write to one SQLite database: who came first is next. Pure.

Law: SQLite lets one write, and who waits for it asks again and again with growing pauses. A thread that
writes one transaction after the other would take the lock each time before they ask, and keep all others out.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that is given in the order in which it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()  # the first has its turn

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return max(len(self._queue) - 1, 0)

    @contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """Wait for a turn, which lasts as long as the block.

        Raises:
            TimeoutError: it did not come within so many seconds.
        """
        mine = threading.Event()
        with self._lock:
            self._queue.append(mine)
            if self._queue[0] is mine:
                mine.set()
        try:
            if not mine.wait(seconds):
                raise TimeoutError
            yield
        finally:
            with self._lock:
                was_first = self._queue[0] is mine
                self._queue.remove(mine)
                if was_first and self._queue:
                    self._queue[0].set()
