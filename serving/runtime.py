"""The loaded models of one process: load, warm, run, drain, unload.

A load happens off the event loop and replaces nothing until it is ready: verified in another process,
read once, warmed for every batch size it will see, measured. What a request needs of a model is one
object, `ServedModel`; it is looked up once and stays valid until its last request was answered.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from serving.batches import Batches, join_key, run_joined
from serving.cells import Metrics
from serving.clock import clock
from serving.decoder import RequestDecoder
from serving.errors import DeadlineExceeded, InvalidModel, NotFound, ServingError, Unavailable
from serving.message import Call, Outcome, Reply, Together
from serving.metrics import TargetMetrics
from serving.model import INLINE_SECONDS, Model
from serving.protocol import InferRequest, ResponseEncoder
from serving.repository import ModelEntry, Repository
from serving.scheduler import Ran, Scheduler
from serving.tensors import Array, spec_json
from serving.verify import verify

DEFAULT_TIMEOUT_SECONDS = 30.0

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
    def of(cls, request: InferRequest, place: int, arrived: float = 0.0) -> "_Asked":
        feeds = request.inputs
        return cls(join_key(feeds), next(iter(feeds.values())).shape[0], arrived, request, place)


class ServedModel:
    """A loaded model and how it is run: on the event loop (`inline`) or by its own thread (`pooled`).

    Args:
        max_rows: the most that are run together; 1 never joins requests.
        scheduler: None runs it on the event loop.

    Attributes:
        together: answers several calls in one run; None where it never does.
    """

    def __init__(
        self,
        model: Model,
        entry: ModelEntry,
        metrics: TargetMetrics,
        max_rows: int,
        scheduler: Scheduler | None,
    ) -> None:
        self.name = model.name
        self.version = model.version
        self.key = f"{model.name}/{model.version}"
        self.signature = model.signature
        self.config = entry.config
        self._last_ran = 0.0
        self._model = model
        self._metrics = metrics
        self._scheduler = scheduler
        self._decoder = RequestDecoder(model.signature)
        self._encoder = ResponseEncoder(model.name, model.version, model.signature)
        self._output_names = tuple(spec.name for spec in model.signature.outputs)
        self._timeout_seconds = entry.config.timeout or DEFAULT_TIMEOUT_SECONDS
        self.max_rows = max_rows
        joins = scheduler is None and max_rows > 1
        self.together: Together | None = self._infer_together if joins else None

    @property
    def execution(self) -> Literal["inline", "pooled"]:
        """Where it runs."""
        return "inline" if self._scheduler is None else "pooled"

    def infer(self, call: Call) -> "Reply | Awaitable[Reply]":
        """Answer one call; at once when the model runs inline.

        Raises:
            ServingError: the request is wrong, came too late, or the model failed.
        """
        began = clock()
        try:
            request = self._decoder.decode(call.body, call.json_length)
        except Exception:
            self._count_failure(began)
            raise
        seconds = clock() - began
        if self._scheduler is not None:
            return self._infer_pooled(call, request, seconds)
        self._metrics.decode.add(seconds)
        return self._infer_inline(call, request)

    def _infer_inline(self, call: Call, request: InferRequest) -> Reply:
        began = clock()
        try:
            outputs = self._model.run(request.inputs, request.outputs or self._output_names)
            ran = clock()
            body, json_length = self._encoder.encode(request, outputs)
            self._check_time(call.arrived, request, ran)
        except Exception:
            self._count_failure(began)
            raise
        self._last_ran = ran
        self._metrics.inference.observe(ran - began)
        self._metrics.encode.add(clock() - ran)
        return Reply(200, body, json_length, b"", ran - began)

    def _infer_together(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `infer` for each of several calls; requests that can share a run do."""
        began = clock()
        outcomes: list[Any] = [None] * len(calls)
        batches: Batches[_Asked] = Batches(self.max_rows)
        for place, call in enumerate(calls):
            try:
                request = self._decoder.decode(call.body, call.json_length)
            except Exception as error:  # noqa: BLE001  (stands for the answer)
                self._count_failure(began)
                outcomes[place] = error
                continue
            batches.add(_Asked.of(request, place, call.arrived))
        self._metrics.decode.add(clock() - began)
        while batch := batches.take():
            if len(batch) > 1 and self._run_together(batch, outcomes):
                continue
            for asked in batch:
                try:
                    outcomes[asked.place] = self._infer_inline(calls[asked.place], asked.request)
                except Exception as error:  # noqa: BLE001  (stands for the answer)
                    outcomes[asked.place] = error
        return outcomes

    def _run_together(self, batch: list[_Asked], outcomes: list[Any]) -> bool:
        """Whether it could be done."""
        began = clock()
        parts = run_joined(self._model.run, [asked.request.inputs for asked in batch], self._output_names)
        if parts is None:
            return False
        self._last_ran = ran = clock()
        metrics = self._metrics
        answered = 0
        for asked, outputs in zip(batch, parts, strict=True):
            try:
                body, json_length = self._encoder.encode(
                    asked.request, self._requested(asked.request, outputs)
                )
                self._check_time(asked.queued, asked.request, ran)
            except Exception as error:  # noqa: BLE001  (stands for the answer)
                self._count_failure(began)
                outcomes[asked.place] = error
                continue
            metrics.queue.observe(began - asked.queued)
            outcomes[asked.place] = Reply(200, body, json_length)
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

    async def _infer_pooled(self, call: Call, request: InferRequest, decode_seconds: float) -> Reply:
        began = clock()
        try:
            ran = await self._submit(request, call.arrived, call.timeout_seconds)
            finished = clock()
            body, json_length = self._encoder.encode(request, self._requested(request, ran.outputs))
        except Exception:
            self._count_failure(began)
            raise
        self._last_ran = finished
        metrics = self._metrics
        metrics.decode.add(decode_seconds)
        metrics.queue.observe(ran.queue_seconds)
        metrics.inference.observe(ran.compute_seconds)
        metrics.encode.add(clock() - finished)
        if ran.first:
            metrics.batch.observe(max(ran.rows, 1))
        return Reply(200, body, json_length, b"", ran.compute_seconds)

    def decode(self, body: bytes, json_length: int | None) -> InferRequest:
        """Read a request for this model; arguments and errors are those of `decode_request`."""
        return self._decoder.decode(body, json_length)

    def run_together(self, requests: Sequence[InferRequest]) -> list[list[Array] | None]:
        """Run decoded requests in shared runs, where this model runs on the event loop and joins rows.

        Returns:
            All outputs of each, in the order of the signature; None for one that is to be run by itself.
        """
        results: list[list[Array] | None] = [None] * len(requests)
        if self.together is None:
            return results
        batches: Batches[_Asked] = Batches(self.max_rows)
        for place, request in enumerate(requests):
            batches.add(_Asked.of(request, place))
        while batch := batches.take():
            if len(batch) > 1:
                parts = run_joined(self._model.run, [a.request.inputs for a in batch], self._output_names)
                for asked, part in zip(batch, parts or (), strict=False):
                    results[asked.place] = part
        return results

    async def run(self, request: InferRequest, arrived: float, timeout_seconds: float | None = None) -> Ran:
        """Run a decoded request and return all outputs, in the order of the signature.

        Args:
            request: decoded against this model's signature.
            arrived: when it arrived, on `time.perf_counter()`; its deadline counts from there.
            timeout_seconds: bounds it beside the model's own timeout and the request's.
        """
        if self._scheduler is None:
            began = clock()
            outputs = self._model.run(request.inputs, self._output_names)
            return Ran(outputs, 0.0, clock() - began, 0, first=True)
        return await self._submit(request, arrived, timeout_seconds)

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
        self._metrics.ready.withdraw()
        if self._scheduler is not None:
            await self._scheduler.close()

    def _count_failure(self, began: float) -> None:
        self._metrics.failures.add()
        self._metrics.failure_seconds.add(clock() - began)

    @property
    def last_inference_ms(self) -> int:
        """When this process last answered with it, in ms since the epoch; 0 if it never did."""
        return round((time.time() - (clock() - self._last_ran)) * 1000) if self._last_ran else 0

    def metadata(self) -> dict[str, Any]:
        """The OIP metadata of this version alone."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": [spec_json(spec) for spec in self.signature.inputs],
            "outputs": [spec_json(spec) for spec in self.signature.outputs],
        }


State = Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]


class Runtime:
    """name/version -> ready model.

    Args:
        repository: where models are found.
        metrics: the cells of this process.
        verified: a folder that remembers which files passed verification; None verifies each time.
        threads: what one run may use.
    """

    def __init__(self, repository: Repository, metrics: Metrics, verified: Path | None, threads: int) -> None:
        self.repository = repository
        self.ready: dict[str, ServedModel] = {}
        self.states: dict[str, tuple[State, str]] = {}
        self._metrics = metrics
        self._verified = verified
        self._threads = threads
        self._one_at_a_time = asyncio.Lock()
        self.changed: Callable[[], None] = lambda: None
        """Called after the set of ready models changed."""

    def get(self, name: str, version: str) -> ServedModel:
        """The ready model.

        Raises:
            Unavailable: it is being loaded or unloaded.
            NotFound: it is not loaded here.
        """
        key = f"{name}/{version}"
        served = self.ready.get(key)
        if served is not None:
            return served
        state, reason = self.states.get(key, ("UNAVAILABLE", ""))
        if state in {"LOADING", "UNLOADING"}:
            raise Unavailable(f"model {name!r} version {version} is {state.lower()}")
        raise NotFound(f"model {name!r} version {version} is not loaded" + (f": {reason}" if reason else ""))

    async def load(self, name: str, version: str) -> ServedModel:
        """Load a model unless it is ready already; loads happen one after the other.

        Raises:
            NotFound: the repository has no such model.
            InvalidModel: it was refused; the reason is kept in `states`.
        """
        key = f"{name}/{version}"
        async with self._one_at_a_time:
            if key in self.ready:
                return self.ready[key]
            entry = self.repository.find(name, version)
            self.states[key] = ("LOADING", "")
            began = time.monotonic()
            bound = TargetMetrics(self._metrics, key)
            bound.ready.set(0)
            try:
                model, max_rows = await asyncio.to_thread(self._prepare, entry)
            except Exception as error:
                reason = str(error) if isinstance(error, ServingError) else type(error).__name__
                self.states[key] = ("UNAVAILABLE", reason)
                raise
            served = self._serve(entry, model, max_rows)
            seconds = time.monotonic() - began
            self.ready[key] = served
            self.states[key] = ("READY", "")
            bound.ready.set(1)
            bound.load_seconds.set(seconds)
            log.info(
                "model loaded",
                target=key,
                seconds=round(seconds, 3),
                run_us=round(model.run_seconds * 1e6, 1),
                execution=served.execution,
                max_rows=max_rows,
                rows_per_second={rows: round(rate) for rows, rate in model.rows_per_second.items()},
            )
        self.changed()
        return served

    async def verify_ahead(self, keys: Iterable[str]) -> None:
        """Check several models in one process, which is what `load` then remembers; saves its start-up."""
        entries = []
        for key in keys:
            if key not in self.ready:
                with suppress(ServingError):  # `load` says what is wrong
                    entries.append(self.repository.find(*key.split("/")))
        if len(entries) > 1:
            await asyncio.to_thread(verify, entries, threads=self._threads, cache=self._verified)

    async def unload(self, name: str, version: str) -> None:
        """Take a model down once its last request is answered; new ones are refused from now on."""
        key = f"{name}/{version}"
        served = self.ready.pop(key, None)
        if served is None:
            return
        self.states[key] = ("UNLOADING", "")
        self.changed()
        await served.close()
        self.states[key] = ("UNAVAILABLE", "unloaded")
        log.info("model unloaded", target=key)

    async def close(self) -> None:
        """Unload everything."""
        for served in list(self.ready.values()):
            await self.unload(served.name, served.version)

    def _prepare(self, entry: ModelEntry) -> tuple[Model, int]:
        """Off the event loop: verify, open, warm, measure. Returns the model and its largest batch."""
        [report] = verify([entry], threads=self._threads, cache=self._verified)
        if not report.ok:
            raise InvalidModel(f"model {entry.name!r} version {entry.version}: {report.reason}")
        model = Model.load(entry, self._threads, report.sha256)
        return model, model.prepare()

    def _serve(self, entry: ModelEntry, model: Model, max_rows: int) -> ServedModel:
        config = entry.config
        unasked = config.execution == "auto" and config.batching in {"auto", 1}
        inline = config.execution == "inline" or (unasked and model.run_seconds < INLINE_SECONDS)
        key = f"{entry.name}/{entry.version}"
        names = tuple(spec.name for spec in model.signature.outputs)
        scheduler = None if inline else Scheduler(key, model.run, names, max_rows, config.queue)
        return ServedModel(model, entry, TargetMetrics(self._metrics, key), max_rows, scheduler)
