"""Long work on an event loop in short laps, so that requests do not wait for it.

Law: between two rests the loop is kept for `LAP_SECONDS` and the one piece of work that was begun then.
"""

import asyncio
import time

LAP_SECONDS = 0.002


class Laps:
    """Keeps the time of one long piece of work."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends = time.perf_counter() + LAP_SECONDS

    async def rest(self) -> None:
        """Let others have the loop if this lap is over; to be called between small pieces of work."""
        if time.perf_counter() >= self._ends:
            await asyncio.sleep(0)
            self._ends = time.perf_counter() + LAP_SECONDS
