"""What is told of the steps of a graph that is run step by step: histograms, and spans of what is traced."""

from collections.abc import Mapping, Sequence

from serving.telemetry.cells import Metrics
from serving.telemetry.families import STEP_SECONDS
from serving.telemetry.tracing import Tracer


class StepTimes:
    """Takes how long the steps of runs took, seconds, in their order; 0 for one that did not run.

    Args:
        metrics: the cells of this process.
        target: the graph.
        steps: their names.

    Attributes:
        tracer: makes spans of requests that are traced; None makes none.
    """

    def __init__(self, metrics: Metrics, target: str, steps: Sequence[str]) -> None:
        self.tracer: Tracer | None = None
        self._names = tuple(steps)
        self._cells = tuple(metrics.histogram(STEP_SECONDS, target, step) for step in steps)

    def ran(self, seconds: Sequence[float]) -> None:
        """Count one run."""
        for cells, taken in zip(self._cells, seconds, strict=True):
            if taken:
                cells.observe(taken)

    def answered(self, headers: Mapping[bytes, bytes], seconds: Sequence[float]) -> None:
        """Tell of the run that a request was in, which has just ended."""
        if self.tracer is not None:
            self.tracer.steps(headers, self._names, seconds)
