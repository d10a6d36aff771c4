"""Requests beyond what a target can work on are refused at once: the limit of `serving.concurrency` at work.

Law: what is refused here was neither counted nor drawn, and is no evidence for or against a model.
"""

from collections.abc import Awaitable

from serving.admission import REJECTED
from serving.cells import Family, Metrics
from serving.clock import clock
from serving.concurrency import FLOOR, GradientLimit
from serving.errors import DeadlineExceeded, Unavailable
from serving.message import Call, Handler, Reply
from serving.served_model import ServedModel

CONCURRENCY_LIMIT = Family(
    "understudy_concurrency_limit",
    "gauge",
    "Requests that may be under way at a target, over all processes (adaptive concurrency only).",
    ("target",),
)


class Shedder:
    """The limit of one target in one process.

    Args:
        target: in metrics.
        floor: requests that are always let in.
    """

    def __init__(self, metrics: Metrics, target: str, floor: int = FLOOR) -> None:
        self.limit = GradientLimit(floor)
        self._rejected = metrics.counter(REJECTED, "public", "concurrency")
        self._gauge = metrics.gauge(CONCURRENCY_LIMIT, target)
        self._gauge.set(self.limit.limit)
        self._target = target

    def check(self) -> None:
        """Let one more in, or not.

        Raises:
            Unavailable: as many as the limit allows are under way.
        """
        if self.limit.full:
            self._rejected.add()
            raise Unavailable(f"overloaded: as much is under way at {self._target} as it can work on")

    async def track(self, outcome: Awaitable[Reply]) -> Reply:
        """Await an answer, and learn from the time that it takes."""
        limit = self.limit
        token = limit.enter(clock())
        answered = False
        try:
            reply = await outcome
            answered = True
        except DeadlineExceeded:
            answered = True  # that long at least; other failures may be quick, which is no sign of strength
            raise
        finally:
            limit.leave(token, clock(), answered=answered)
            self._gauge.set(limit.limit)
        return reply

    def close(self) -> None:
        """The target is gone, and its limit with it."""
        self._gauge.withdraw()

    def around(self, handler: Handler) -> Handler:
        """A handler that is limited; what it answers at once is never under way."""

        def limited(call: Call) -> "Reply | Awaitable[Reply]":
            self.check()
            outcome = handler(call)
            return outcome if type(outcome) is Reply else self.track(outcome)  # type: ignore[arg-type]

        return limited

    def before(self, handler: Handler) -> Handler:
        """A handler that is asked only while there is room; who counts what is under way is its target."""

        def checked(call: Call) -> "Reply | Awaitable[Reply]":
            self.check()
            return handler(call)

        return checked


def floor_of(served: ServedModel) -> int:
    """Requests that a model in this process is always given: what fills the batch that runs and the next."""
    return max(FLOOR, 2 * served.max_rows)
