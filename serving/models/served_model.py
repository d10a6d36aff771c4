"""A loaded model and how its requests are answered: decode, run, encode, count.

Law: what a request needs of a model is one object, looked up once, that stays valid until its last request
was answered. Whichever way a request is run (at once, in a run shared with others of its turn, by the model's
own thread), its answer and its errors are the same.
"""

import asyncio
import time
from collections.abc import Awaitable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from serving.clock import clock
from serving.errors import DeadlineExceeded, ModelFailed, ServingError
from serving.models.batches import Batches, join_key, rows_of, run_joined
from serving.models.files.repository import ModelEntry
from serving.models.runnable import Outputs, Runnable
from serving.models.scheduler import Ran, Scheduler
from serving.models.session.warmup import needed
from serving.telemetry.families import TargetMetrics
from serving.telemetry.steps import StepTimes
from serving.telemetry.tracing import Tracer
from serving.wire.codec import Codec, codecs
from serving.wire.handler import Unconcerned, each
from serving.wire.message import OIP_HTTP, Call, Outcome, Reply
from serving.wire.protocol import Body, InferRequest
from serving.wire.tensors import Array, spec_json

DEFAULT_TIMEOUT_SECONDS = 30.0
FAULT_LOG_SECONDS = 10.0

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Asked:
    """A decoded request among several; the first members are what `Batches` looks at."""

    key: Hashable
    rows: int
    queued: float
    request: InferRequest
    place: int

    @classmethod
    def of(cls, request: InferRequest, inputs: int, place: int, arrived: float = 0.0) -> "_Asked":
        feeds = request.inputs
        return cls(join_key(feeds, inputs), rows_of(feeds), arrived, request, place)


class ServedModel(Unconcerned):
    """A loaded model and how it is run: on the event loop (`inline`) or by its own thread (`pooled`).

    Args:
        max_rows: the most that are run together; 1 never joins requests.
        scheduler: None runs it on the event loop.
        steps: takes how long its steps took; None where it has none.

    Attributes:
        joins: whether it answers several calls in one run.
    """

    def __init__(
        self,
        model: Runnable,
        entry: ModelEntry,
        metrics: TargetMetrics,
        max_rows: int,
        scheduler: Scheduler | None,
        steps: StepTimes | None = None,
    ) -> None:
        self.name = entry.name
        self.version = entry.version
        self.key = f"{entry.name}/{entry.version}"
        self.signature = model.signature
        self.config = entry.config
        self.identity = model.identity
        self._last_ran = 0.0
        self._unlogged_faults = 0
        self._next_fault_log = 0.0
        self._model = model
        self._metrics = metrics
        self._scheduler = scheduler
        self._steps = steps
        self._codecs = codecs(entry.name, entry.version, model.signature)
        self._inputs = len(needed(model.signature))
        self._output_names = tuple(spec.name for spec in model.signature.outputs)
        self._timeout_seconds = entry.config.timeout or DEFAULT_TIMEOUT_SECONDS
        self.max_rows = max_rows
        self.joins = scheduler is None and max_rows > 1

    @property
    def scheduler(self) -> Scheduler | None:
        """Whose thread runs it; None on the event loop."""
        return self._scheduler

    @property
    def execution(self) -> Literal["inline", "pooled"]:
        """Where it runs."""
        return "inline" if self._scheduler is None else "pooled"

    @property
    def problem(self) -> str:
        """Why it cannot answer just now; empty where it can."""
        return "" if self._model.outside is None else self._model.outside.problem

    def one(self, call: Call) -> "Reply | Awaitable[Reply]":
        """Answer one call; at once when the model runs inline.

        Raises:
            ServingError: the request is wrong, came too late, or the model failed.
        """
        began = clock()
        codec = self._codecs[call.wire]
        try:
            request = codec.decode(call.body, call.json_length)
        except Exception as error:
            self._count_failure(began, error)
            raise
        seconds = clock() - began
        if self._scheduler is not None:
            return self._infer_pooled(call, codec, request, seconds)
        self._metrics.decode.add(seconds)
        return self._infer_inline(call, codec, request)

    def _infer_inline(self, call: Call, codec: Codec, request: InferRequest) -> Reply:
        began = clock()
        try:
            outputs = self._model.run(request.inputs, request.outputs or self._output_names)
            ran = clock()
            body, json_length = codec.encode(request, outputs)
            self._check_time(call.arrived, request, ran)
        except Exception as error:
            self._count_failure(began, error)
            raise
        if self._steps is not None:
            self._tell(self._steps, outputs, call)
        self._last_ran = ran
        self._metrics.inference.observe(ran - began)
        self._metrics.encode.add(clock() - ran)
        return Reply(200, body, json_length, b"", ran - began, False)

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `one` for each of several calls; requests that can share a run do."""
        if not self.joins:
            return each(self.one, calls)
        began = clock()
        outcomes: list[Any] = [None] * len(calls)
        batches: Batches[_Asked] = Batches(self.max_rows)
        for place, call in enumerate(calls):
            try:
                request = self._codecs[call.wire].decode(call.body, call.json_length)
            except Exception as error:  # noqa: BLE001  (stands for the answer)
                self._count_failure(began, error)
                outcomes[place] = error
                continue
            batches.add(_Asked.of(request, self._inputs, place, call.arrived))
        self._metrics.decode.add(clock() - began)
        while batch := batches.take():
            if len(batch) > 1 and self._run_together(batch, calls, outcomes):
                continue
            for asked in batch:
                call = calls[asked.place]
                try:
                    outcomes[asked.place] = self._infer_inline(call, self._codecs[call.wire], asked.request)
                except Exception as error:  # noqa: BLE001  (stands for the answer)
                    outcomes[asked.place] = error
        return outcomes

    def _run_together(self, batch: list[_Asked], calls: Sequence[Call], outcomes: list[Any]) -> bool:
        """Whether it could be done."""
        began = clock()
        parts = run_joined(self._model.run, [asked.request.inputs for asked in batch], self._output_names)
        if parts is None:
            return False
        self._last_ran = ran = clock()
        metrics = self._metrics
        if self._steps is not None:
            for asked in batch:
                self._tell(self._steps, parts[0], calls[asked.place], first=asked is batch[0])
        answered = 0
        for asked, outputs in zip(batch, parts, strict=True):
            try:
                body, json_length = self._codecs[calls[asked.place].wire].encode(
                    asked.request, self._requested(asked.request, outputs)
                )
                self._check_time(asked.queued, asked.request, ran)
            except Exception as error:  # noqa: BLE001  (stands for the answer)
                self._count_failure(began, error)
                outcomes[asked.place] = error
                continue
            metrics.queue.observe(began - asked.queued)
            outcomes[asked.place] = Reply(200, body, json_length, b"", 0.0, True)
            answered += 1
        metrics.inference.observe_times(ran - began, answered)
        metrics.batch.observe(sum(asked.rows for asked in batch))
        metrics.encode.add(clock() - ran)
        return True

    def _requested(self, request: InferRequest, outputs: list[Array]) -> list[Array]:
        """Of all outputs those that are wanted, in the order wanted."""
        if request.outputs is None:
            return outputs
        return [outputs[self._output_names.index(name)] for name in request.outputs]

    def _check_time(self, arrived: float, request: InferRequest, ran: float) -> None:
        if request.timeout_seconds is not None and ran - arrived > request.timeout_seconds:
            raise DeadlineExceeded(f"model {self.key} did not answer in time")

    async def _infer_pooled(
        self, call: Call, codec: Codec, request: InferRequest, decode_seconds: float
    ) -> Reply:
        began = clock()
        try:
            ran = await self._submit(request, call.arrived, call.timeout_seconds)
            finished = clock()
            body, json_length = codec.encode(request, self._requested(request, ran.outputs))
        except Exception as error:
            self._count_failure(began, error)
            raise
        self._last_ran = finished
        if self._steps is not None:
            self._tell(self._steps, ran.outputs, call, first=ran.first)
        metrics = self._metrics
        metrics.decode.add(decode_seconds)
        metrics.queue.observe(ran.queue_seconds)
        metrics.inference.observe(ran.compute_seconds)
        metrics.encode.add(clock() - finished)
        if ran.first:
            metrics.batch.observe(max(ran.rows, 1))
        return Reply(200, body, json_length, b"", ran.compute_seconds, ran.rows > rows_of(request.inputs))

    def decode(self, body: Body, json_length: int | None, wire: str = OIP_HTTP) -> InferRequest:
        """Read a request for this model that came on a wire; as `serving.wire.codec.Codec` does."""
        return self._codecs[wire].decode(body, json_length)

    def run_together(self, requests: Sequence[InferRequest]) -> list[list[Array] | None]:
        """Run decoded requests in shared runs, where this model runs on the event loop and joins rows.

        Returns:
            All outputs of each, in the order of the signature; None for one that is to be run by itself.
        """
        results: list[list[Array] | None] = [None] * len(requests)
        if not self.joins:
            return results
        batches: Batches[_Asked] = Batches(self.max_rows)
        for place, request in enumerate(requests):
            batches.add(_Asked.of(request, self._inputs, place))
        while batch := batches.take():
            if len(batch) > 1:
                parts = run_joined(self._model.run, [a.request.inputs for a in batch], self._output_names)
                for asked, part in zip(batch, parts or (), strict=False):
                    results[asked.place] = part
                if self._steps is not None and parts:
                    self._tell(self._steps, parts[0], None)
        return results

    async def run(self, request: InferRequest, arrived: float, timeout_seconds: float | None = None) -> Ran:
        """Run a decoded request and return all outputs, in the order of the signature.

        Args:
            request: decoded against this model's signature.
            arrived: when it arrived, on `time.perf_counter()`; its deadline counts from there.
            timeout_seconds: bounds it beside the model's own timeout and the request's.
        """
        began = clock()
        try:
            if self._scheduler is not None:
                ran = await self._submit(request, arrived, timeout_seconds)
            else:
                outputs = self._model.run(request.inputs, self._output_names)
                ran = Ran(outputs, 0.0, clock() - began, 0, first=True)
            if self._steps is not None:
                self._tell(self._steps, ran.outputs, None, first=ran.first)
        except ServingError as error:
            self._log_fault(error, clock())
            raise
        return ran

    def run_here(self, request: InferRequest) -> list[Array]:
        """Run a decoded request in the calling thread, past the queue; nothing is counted.

        Raises:
            InvalidInput, ModelFailed: as of `Runnable.run`.
        """
        return self._model.run(request.inputs, self._output_names)

    def trace_steps(self, tracer: Tracer | None) -> None:
        """From now on make spans of the steps of requests that are traced."""
        if self._steps is not None:
            self._steps.tracer = tracer

    @staticmethod
    def _tell(steps: StepTimes, outputs: list[Array], call: Call | None, *, first: bool = True) -> None:
        """Of a run with steps, for one of the requests in it; the first of them counts it."""
        assert isinstance(outputs, Outputs)
        if first:
            steps.ran(outputs.seconds)
        if call is not None:
            steps.answered(call.headers, outputs.seconds)

    def _submit(
        self, request: InferRequest, arrived: float, timeout_seconds: float | None
    ) -> "asyncio.Future[Ran]":
        assert self._scheduler is not None
        timeout = self._timeout_seconds
        for limit in (request.timeout_seconds, timeout_seconds):
            if limit is not None and limit < timeout:
                timeout = limit
        return self._scheduler.submit(request.inputs, arrived + timeout)

    async def close(self) -> None:
        """Finish what is queued and let go of the session."""
        if self._scheduler is not None:
            await self._scheduler.close()
        if self._model.outside is not None:
            await asyncio.to_thread(self._model.outside.close)

    def _count_failure(self, began: float, error: Exception) -> None:
        now = clock()
        self._metrics.failures.add()
        self._metrics.failure_seconds.add(now - began)
        self._log_fault(error, now)

    def _log_fault(self, error: Exception, now: float) -> None:
        """Say why a fault of ours is one, without what the client sent; once in `FAULT_LOG_SECONDS`."""
        if not isinstance(error, ServingError) or error.kind != "failed":
            return
        self._unlogged_faults += 1
        if now >= self._next_fault_log:
            reason = error.reason if isinstance(error, ModelFailed) else str(error)
            log.error("model failed", model=self.key, reason=reason, failures=self._unlogged_faults)
            self._unlogged_faults = 0
            self._next_fault_log = now + FAULT_LOG_SECONDS

    @property
    def last_inference_ms(self) -> int:
        """When this process last answered with it, in ms since the epoch; 0 if it never did."""
        return round((time.time() - (clock() - self._last_ran)) * 1000) if self._last_ran else 0

    def metadata(self) -> dict[str, Any]:
        """The OIP metadata of this version alone."""
        more: dict[str, Any] = {"labels": list(self._model.labels)} if self._model.labels else {}
        if self._model.form:
            more["graph"] = self._model.form
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": [spec_json(spec) for spec in self.signature.inputs],
            "outputs": [spec_json(spec) for spec in self.signature.outputs],
            "parameters": {"rows_joined": self.max_rows > 1, "dependence": self._model.dependence, **more},
        }
