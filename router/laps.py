"""Long work on an event loop in short laps, so that requests do not wait for it.

Law: between two rests the loop is kept for `LAP_SECONDS` and the one piece of work that was begun then. Work
that comes after requests takes its turn when the loop has come round with nothing to do, or `MOST_ROUNDS`
times.
"""

import asyncio
import time

LAP_SECONDS = 0.002
IDLE_SECONDS = 20e-6
"""In less than that the loop comes round if nothing is to be done; a piece of a request takes longer."""
MOST_ROUNDS = 4
"""As many as a request takes, or a few more; where requests never leave a pause, other work goes on too."""


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


async def others_first() -> None:
    """Let others have the loop until it has come round with nothing to do, `MOST_ROUNDS` times at most."""
    for _ in range(MOST_ROUNDS):
        began = time.perf_counter()
        await asyncio.sleep(0)
        if time.perf_counter() - began < IDLE_SECONDS:
            return
