"""Requests beyond what a target can work on are refused at once: the limit of `concurrency` at work.

Law: what is refused here was neither counted nor drawn, and is no evidence for or against a model.
"""

from serving.admission.concurrency import FLOOR, GradientLimit, Token
from serving.admission.gate import REJECTED
from serving.clock import clock
from serving.errors import DeadlineExceeded, Unavailable
from serving.models.served_model import ServedModel
from serving.telemetry.cells import Family, Metrics
from serving.wire.handler import Handler, Layer
from serving.wire.message import Call, Reply

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

    def close(self) -> None:
        """The target is gone, and its limit with it."""
        self._gauge.withdraw()

    def enter(self) -> Token:
        """Count a call in."""
        return self.limit.enter(clock())

    def leave(self, token: Token, outcome: Reply | BaseException) -> None:
        """Count it out, and learn from the time that it took.

        An answer that came too late took that long at least; other failures may be quick, which is no sign
        of strength.
        """
        answered = isinstance(outcome, Reply | DeadlineExceeded)
        self.limit.leave(token, clock(), answered=answered)
        self._gauge.set(self.limit.limit)


class Tracked(Layer[Token]):
    """Tells a shedder what is under way; whoever asks it has looked whether there is room.

    Args:
        inner: what is limited; it answers nothing at once.
    """

    def __init__(self, inner: Handler, shedder: Shedder) -> None:
        super().__init__(inner)
        self.shedder = shedder

    def began(self, call: Call) -> Token:  # noqa: ARG002  (calls are alike)
        """As `Layer`."""
        return self.shedder.enter()

    def ended(self, call: Call, token: Token, outcome: Reply | BaseException) -> None:  # noqa: ARG002
        """As `Layer`."""
        self.shedder.leave(token, outcome)


class Limited(Tracked):
    """A handler that is asked only while there is room."""

    def began(self, call: Call) -> Token:
        """As `Layer`.

        Raises:
            Unavailable: there is none.
        """
        self.shedder.check()
        return super().began(call)


class Checked(Layer[None]):
    """A handler that is asked only while there is room; who counts what is under way is its target."""

    def __init__(self, inner: Handler, shedder: Shedder) -> None:
        super().__init__(inner)
        self._shedder = shedder

    def began(self, call: Call) -> None:  # noqa: ARG002  (calls are alike)
        """As `Layer`.

        Raises:
            Unavailable: there is none.
        """
        self._shedder.check()


def floor_of(served: ServedModel) -> int:
    """Requests that a model in this process is always given: what fills the batch that runs and the next."""
    return max(FLOOR, 2 * served.max_rows)
