"""The sides of a split: what is bound once for each target that may answer clients.

Law: a route has one stable side and any number of candidates; nothing of a side is computed per request.
"""

from typing import Final

from router.metrics import FAILOVER
from router.targets.targets import Target
from serving.telemetry.cells import Counter, Metrics
from serving.telemetry.families import AnswerSeries

TARGET_HEADER: Final = b"x-understudy-target"


class RoleSeries(AnswerSeries):
    """The series of a target in a role, and the header of its answers."""

    def __init__(self, metrics: Metrics, model: str, target: str, role: str) -> None:
        super().__init__(metrics, model, target, role)
        self.header = TARGET_HEADER + b": " + target.partition("@")[0].encode() + b"\r\n"


class Side:
    """A candidate that answers clients.

    Args:
        metrics: where its answers are counted.
        model: the public name.
        target: who it is.
        number: as of `router.rollout.snapshot.Arm`; of a canary 1.

    Attributes:
        answered_at: when it last gave an answer, on `serving.clock`.
    """

    __slots__ = ("_failovers", "_metrics", "_model", "answered_at", "number", "series", "target")

    def __init__(self, metrics: Metrics, model: str, target: Target, number: int = 1) -> None:
        self.target = target
        self.number = number
        self.series = RoleSeries(metrics, model, target.key, "canary")
        self.answered_at = 0.0
        self._metrics, self._model = metrics, model
        self._failovers: dict[str, Counter] = {}

    def failed_over(self, reason: str) -> None:
        """Stable answers, or would have, a request of its share."""
        counter = self._failovers.get(reason)
        if counter is None:
            counter = self._metrics.counter(FAILOVER, self._model, self.target.key, reason)
            self._failovers[reason] = counter
        counter.add()
