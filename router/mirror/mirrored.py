"""What became of one mirrored request, as the comparer tells its observers. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from router.mirror.frame import Frame
from router.rollout.compare import Comparison
from router.rollout.values import Rollout
from serving.wire.tensors import Array

Outcome = Literal["compared", "failed", "timeout", "dropped"]
"""`failed` and `timeout` are the candidate's; what it was not asked is `dropped`."""
Tensors = Mapping[str, Array]
"""Arrays by the name of an input or output."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One request that the candidate was asked.

    Attributes:
        frame: as it came from the worker.
        rollout: the document in force when it was asked.
        reference: what the client was answered.
        outputs: what the candidate answered; None where it failed or took too long.
        comparisons: of each output of either side, also those without a rule; none without `outputs`.
        inputs: reads the request's inputs; None where the candidate's signature cannot tell them.
        now: monotonic seconds.
        at: seconds since 1970.
    """

    frame: Frame
    rollout: Rollout
    reference: Tensors
    outputs: Tensors | None
    comparisons: tuple[Comparison, ...]
    inputs: Callable[[], Tensors | None]
    now: float
    at: float


class ComparisonObserver(Protocol):
    """Is told of every request that the candidate was asked."""

    def publish(self, mirrored: Mirrored) -> None:
        """Note it; at once, on the event loop of the sandbox, where the canary's clients wait meanwhile."""
