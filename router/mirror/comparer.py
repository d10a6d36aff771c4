"""The comparer: runs the candidate on a mirrored request, compares, and tells observers what it found.

Law: it knows no socket, no counter and no other observer by name. Whatever the candidate does is data. An
observer that fails costs the others nothing.
"""

import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from router.mirror.frame import Frame
from router.mirror.mirrored import ComparisonObserver, Mirrored, Outcome, Tensors
from router.rollout.compare import Comparison, compare
from router.rollout.values import Rollout
from serving.clock import clock
from serving.errors import DeadlineExceeded
from serving.telemetry.tracing import Tracer
from serving.wire.codec import WIRES
from serving.wire.trace_context import TRACEPARENT

log = structlog.get_logger()

PATIENCE = 10.0
"""A mirrored request may take this many times the rollout's timeout: nobody waits for it."""


class Runner(Protocol):
    """Runs the candidate."""

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""

    async def run(self, frame: Frame, timeout_seconds: float) -> Tensors:
        """The candidate's outputs.

        Raises:
            DeadlineExceeded: it took too long.
            Exception: any other failure of it.
        """

    def inputs(self, frame: Frame) -> Tensors | None:
        """The inputs of a request; None where the candidate's signature cannot tell them."""


class Comparer:
    """Compares the answers of one candidate with those that were given.

    Args:
        target: key of the candidate.
        runner: runs it.
        observers: told of each request that it was asked, in this order.
        tracer: makes a span of each request that is traced; None makes none.
    """

    def __init__(
        self,
        target: str,
        runner: Runner,
        observers: Sequence[ComparisonObserver],
        tracer: Tracer | None = None,
    ) -> None:
        self._target = target
        self._runner = runner
        self._observers = tuple(observers)
        self._tracer = tracer
        self._rollout: Rollout | None = None

    def follow(self, rollout: Rollout | None) -> None:
        """From now on this document is in force; None where there is none any more."""
        self._rollout = rollout

    async def deal_with(self, frame: Frame, ran: Tensors | None = None) -> Outcome:
        """Compare a request, in a span of its own where it is traced.

        Args:
            frame: what was asked and answered.
            ran: the candidate's outputs, where it was run already.
        """
        if self._tracer is None or not frame.trace:
            return await self._deal_with(frame, ran)
        named = {"understudy__model": frame.model, "understudy__target": self._target}
        span = self._tracer.begin("compare", "consumer", {TRACEPARENT: frame.trace}, **named)
        outcome = await self._deal_with(frame, ran)
        self._tracer.end(span, failed=outcome != "compared", understudy__outcome=outcome)
        return outcome

    async def _deal_with(self, frame: Frame, ran: Tensors | None) -> Outcome:
        rollout = self._rollout
        if rollout is None or not self._runner.ready:
            return "dropped"
        try:
            reference = WIRES[frame.wire].decode_response(frame.reference, frame.reference_json).outputs
        except Exception as error:  # noqa: BLE001  (nothing was asked of the candidate)
            log.debug("mirrored request left out", error=str(error))
            return "dropped"
        outcome: Outcome = "compared"
        outputs: Tensors | None = ran
        try:
            if outputs is None:
                outputs = await self._runner.run(frame, rollout.timeout_seconds * PATIENCE)
        except Exception as error:  # noqa: BLE001  (the candidate's failure is data)
            log.debug("mirrored request failed", error=str(error))
            outcome = "timeout" if isinstance(error, DeadlineExceeded) else "failed"
        self._publish(frame, rollout, reference, outputs)
        return outcome

    def _publish(self, frame: Frame, rollout: Rollout, reference: Tensors, outputs: Tensors | None) -> None:
        comparisons: tuple[Comparison, ...] = ()
        if outputs is not None:
            wanted = {name: outputs[name] for name in reference if name in outputs}
            comparisons = compare(reference, wanted, rollout.compare)
        mirrored = Mirrored(
            frame,
            rollout,
            reference,
            outputs,
            comparisons,
            lambda: self._runner.inputs(frame),
            clock(),
            time.time(),
        )
        for observer in self._observers:
            try:
                observer.publish(mirrored)
            except Exception:  # its fault must not end the comparing
                log.exception("an observer of comparisons failed", observer=type(observer).__name__)
