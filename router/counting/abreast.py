"""Counting of an A/B/n test: each of several candidates beside stable, all in one order of arrival.

Law: for each candidate the counts are those of the requests that were drawn to it or to stable while it was
ready: given that, it was drawn with its own weight over its and stable's, which is the weight of its counts.
What was drawn to stable is counted once, and enters the counts of every candidate that was ready then. And
the slices of all candidates begin, end and settle together: an outcome of one waits for what arrived before
it at any other.
"""

from collections import deque
from collections.abc import Sequence

from router.counting.recorder import StageRecorder
from router.counting.slices import Slice, Tally, Timed


class Abreast:
    """The recorders of the candidates of one stage.

    Args:
        recorders: of each, in their order, new.
        timed: which times any of them keeps.

    Attributes:
        all_ready: what `of_stable` takes where every candidate is.
    """

    def __init__(self, recorders: Sequence[StageRecorder], timed: Timed) -> None:
        self.recorders = tuple(recorders)
        self.stage = recorders[0].stage
        self._timed = timed
        self.all_ready = (1 << len(self.recorders)) - 1
        self._partly: dict[int, Slice] = {}  # of the current slices: stable, while not all were ready
        self._open: deque[dict[int, Slice]] = deque()
        began, stable = self.recorders[0].current.began, Tally(timed)
        for recorder in self.recorders:
            recorder.begin(began, stable)

    def of_stable(self, ready: int) -> Slice | None:
        """The slice for a request that the draw gives to stable; None where no candidate is ready.

        Args:
            ready: which candidates are: a bit for each, the lowest for the first.
        """
        if ready == self.all_ready:
            return self.recorders[0].current
        if not ready:
            return None
        found = self._partly.get(ready)
        if found is None:
            found = self._partly[ready] = Slice(0.0, self._timed)
        return found

    def rotate(self) -> bool:
        """As of `StageRecorder`, of all together."""
        now, failed = self.recorders[0].wall(), False
        if self._partly or not all(recorder.current.empty() for recorder in self.recorders):
            self._open.append(self._partly)
            self._partly, stable = {}, Tally(self._timed)
            for recorder in self.recorders:
                recorder.turn(now, stable)
        else:
            for recorder in self.recorders:
                recorder.current.began = now
        while self._open and not self._under_way(self._open[0]):
            failed = self._settle(self._open.popleft()) or failed
        return failed

    def _under_way(self, partly: dict[int, Slice]) -> bool:
        """Whether something in the oldest slices that have ended has no outcome yet."""
        return any(recorder.under_way for recorder in self.recorders) or any(
            found.under_way for found in partly.values()
        )

    def _settle(self, partly: dict[int, Slice]) -> bool:
        """Enter the oldest slices that have ended into the counts; whether a candidate erred in them."""
        failed = False
        for place, recorder in enumerate(self.recorders):
            beside = [found.stable for ready, found in partly.items() if ready >> place & 1]
            failed = recorder.settle(beside) or failed
        return failed
