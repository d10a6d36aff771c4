"""The inference server by itself: every model of the repository that its version policy names."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from serving.admission.gate import Gate
from serving.admission.shedding import Limited, Shedder, floor_of
from serving.clock import clock
from serving.errors import Conflict, InvalidInput, InvalidModel, NotFound, ServingError, Unsupported
from serving.host.cpus import available_cpus
from serving.host.process import warn_of
from serving.http.app import infer_path
from serving.http.endpoint import limits_of
from serving.models.files.repository import ModelEntry
from serving.models.runtime import Runtime
from serving.models.scheduler import Scheduler
from serving.models.served_model import ServedModel
from serving.settings import ServingSettings
from serving.sources.opening import open_source
from serving.telemetry.cells import Metrics
from serving.telemetry.families import AnswerSeries, statistics
from serving.telemetry.log_sink import log_sink
from serving.telemetry.request_log import observer
from serving.wire.handler import Handler, Layer, status_of
from serving.wire.message import COMPUTE_HEADER, SHARED_HEADER, Call, Reply
from serving.wire.predicting import Predicting, predict_path
from serving.wire.tensors import Signature, TensorSpec, shape_json

log = structlog.get_logger()


class Counted(Layer[bool]):
    """Counts each answer of a model once.

    Here the target is the model and its role is always `stable`; who routes is the router.
    """

    def __init__(self, served: ServedModel, metrics: Metrics) -> None:
        super().__init__(served)
        self._series = AnswerSeries(metrics, served.name, served.key, "stable")

    def began(self, call: Call) -> bool:  # noqa: ARG002  (every end is counted)
        """As `Layer`."""
        return True

    def ended(self, call: Call, token: bool, outcome: Reply | BaseException) -> None:  # noqa: ARG002, FBT001
        """As `Layer`."""
        if type(outcome) is Reply:
            self._series.ok.add()  # a model's answer is 200, or an error that is raised
        else:
            self._series.code(status_of(outcome)).add()
        self._series.seconds.observe(clock() - call.arrived)


class Told(Layer[bool]):
    """Says in headers of each answer how long its model ran, and whether others were in that run."""

    def began(self, call: Call) -> bool:  # noqa: ARG002  (every end is told)
        """As `Layer`."""
        return True

    def ended(self, call: Call, token: bool, outcome: Reply | BaseException) -> None:  # noqa: ARG002, FBT001
        """As `Layer`."""
        if type(outcome) is Reply:
            outcome.headers += b"%b: %d\r\n" % (COMPUTE_HEADER, round(outcome.compute_seconds * 1e9))
            if outcome.shared:
                outcome.headers += b"%b: 1\r\n" % SHARED_HEADER


class InferenceServer:
    """The `Service` behind `understudy serve`.

    Args:
        settings: where models are and what is allowed.
        only: serve just this one model (`name/version`), as a sandbox does; None serves the repository.
        handler: makes what answers for a model; None counts and sheds, for nobody in front of it does.
    """

    name = "understudy"
    version = version("understudy")

    def __init__(
        self,
        settings: ServingSettings,
        metrics: Metrics,
        folder: Path,
        only: str | None = None,
        handler: Callable[[ServedModel], Handler] | None = None,
    ) -> None:
        self.limits = limits_of(settings)
        self.draining = False
        self.gate: Gate | None = None
        self._observer = (
            observer(settings, "serve", first=True)
            if only is None
            else observer(settings, f"sandbox of {only}", first=False)
        )
        self.paths: dict[bytes, Handler] = {}
        self._allow_load = settings.allow_load
        self._adaptive = settings.adaptive_concurrency
        self._shedders: dict[str, Shedder] = {}
        self._tell = settings.tell_compute_time
        self._only = only
        self._handler = handler or self._counting
        self._metrics = metrics
        log_sink().count_in(metrics)
        self._folder = folder
        self.source = open_source(settings.origin, lasting=only is None)
        self.runtime = Runtime(
            self.source, metrics, settings.state_dir / "verified", settings.threads or available_cpus()
        )
        self.runtime.changed = self._rebuild
        self.runtime.grace_seconds = settings.receive_seconds
        self._started = False

    def schedulers(self) -> Iterable[Scheduler]:
        """As `ModelsEndpoint`."""
        return [served.scheduler for served in self.runtime.ready.values() if served.scheduler is not None]

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Load what is to be served; a model that is refused is reported and left out."""
        wanted = await asyncio.to_thread(self._wanted)
        if self._only is None:
            warn_of(self.source.problems)
        await self.runtime.verify_ahead(f"{entry.name}/{entry.version}" for entry in wanted)
        for entry in wanted:
            if self.draining:  # told to end before it began
                return
            try:
                await self.runtime.load(entry.name, entry.version)
            except ServingError as error:
                log.error("model refused", target=f"{entry.name}/{entry.version}", reason=str(error))
        self._started = True

    async def stop(self) -> None:
        """Unload everything."""
        await self.runtime.close()
        if self._observer is not None:
            await self._observer.close()

    def _wanted(self) -> list[ModelEntry]:
        if self._only is not None:
            name, _, number = self._only.partition("/")
            return [self.source.find(name, number)]
        names = sorted({entry.name for entry in self.source.discover()})
        return [entry for name in names for entry in self._served_of(name)]

    def _served_of(self, name: str) -> tuple[ModelEntry, ...]:
        try:
            return self.source.served(name)
        except ServingError as error:  # what lists models may be away a moment later
            log.error("model refused", target=name, reason=str(error))
            return ()

    def _rebuild(self) -> None:
        paths: dict[bytes, Handler] = {}
        for served in sorted(self.runtime.ready.values(), key=lambda served: int(served.version)):
            if self._observer is not None:
                served.trace_steps(self._observer.tracer)
            handler = self._handler(served)
            paths[infer_path(served.name, served.version)] = handler
            paths[infer_path(served.name, None)] = handler  # the highest version stays
            paths[predict_path(served.name)] = _by_v1(handler, served)
        self.paths = paths if self._observer is None else self._observer.watched(paths)

    def _counting(self, served: ServedModel) -> Handler:
        counted: Handler = Counted(served, self._metrics)
        if self._tell:
            counted = Told(counted)
        if not self._adaptive or served.execution == "inline":
            return counted
        shedder = self._shedders.get(served.key)
        if shedder is None:
            shedder = self._shedders[served.key] = Shedder(self._metrics, served.key, floor_of(served))
        return Limited(counted, shedder)

    # ------------------------------------------------------------------ the protocol's questions

    def ready(self) -> bool:
        """Whether everything that could be loaded is."""
        return self._started and bool(self.runtime.ready or not self._only)

    def _find(self, model: str, number: str | None) -> ServedModel:
        if number is None:
            versions = [served for served in self.runtime.ready.values() if served.name == model]
            if versions:
                return max(versions, key=lambda served: int(served.version))
            known = [key.rpartition("/")[2] for key in self.runtime.states if key.rpartition("/")[0] == model]
            if not known:
                raise NotFound(f"unknown model {model!r}")
            number = max(known, key=int)
        return self.runtime.get(model, number)

    def metadata(self, model: str, number: str | None) -> dict[str, Any]:
        """OIP metadata; `versions` lists every ready one when none was named."""
        served = self._find(model, number)
        metadata = served.metadata()
        if number is None:
            ready = [other.version for other in self.runtime.ready.values() if other.name == model]
            metadata["versions"] = sorted(ready, key=int)
        return metadata

    def model_ready(self, model: str, number: str | None) -> bool:
        """True when the model answers; unknown ones raise `NotFound`."""
        return not self._find(model, number).problem

    def config(self, model: str, number: str | None) -> dict[str, Any]:
        """Triton's model configuration, as far as it has a meaning here."""
        served = self._find(model, number)
        return triton_config(served.name, served.signature, [served.version], served.max_rows)

    def statistics(self, model: str | None, number: str | None) -> list[dict[str, Any]]:
        """One entry a ready version."""
        if model is not None:
            chosen = (
                [self._find(model, number)]
                if number
                else [served for served in self.runtime.ready.values() if served.name == model]
            )
            if not chosen:
                raise NotFound(f"unknown model {model!r}")
        else:
            chosen = list(self.runtime.ready.values())
        return [model_statistics(served, self._folder) for served in chosen]

    async def index(self, *, ready_only: bool) -> list[dict[str, str]]:
        """All of the repository, loaded or not."""
        entries = await asyncio.to_thread(self.source.discover)  # a source may ask elsewhere
        found = {f"{entry.name}/{entry.version}" for entry in entries}
        rows = []
        for key in sorted(found | set(self.runtime.states)):
            state, reason = self.runtime.states.get(key, ("UNAVAILABLE", "not loaded"))
            if state == "READY" or not ready_only:
                model, _, number = key.rpartition("/")
                rows.append({"name": model, "version": number, "state": state, "reason": reason})
        return rows

    async def load(self, model: str) -> None:
        """Load the versions of a model that its policy names, as they are on disk; drop the others.

        What is loaded and unchanged stays as it is.

        Raises:
            Conflict: a version is refused; what was loaded before, if anything was, serves on.
        """
        self._check_allowed()
        try:
            wanted = await asyncio.to_thread(self.source.served, model)
            await self.runtime.refresh(wanted)
        except (InvalidInput, InvalidModel) as error:
            if all(served.name != model for served in self.runtime.ready.values()):
                raise
            raise Conflict(f"{error}; nothing changed, what was loaded before serves on") from None
        keep = {entry.version for entry in wanted}
        await self._unload(model, keep)

    async def unload(self, model: str) -> None:
        """Unload all versions of a model."""
        self._check_allowed()
        self._find(model, None)
        await self._unload(model, set())

    async def _unload(self, model: str, keep: set[str]) -> None:
        for served in list(self.runtime.ready.values()):
            if served.name == model and served.version not in keep:
                await self.runtime.unload(model, served.version)

    def _check_allowed(self) -> None:
        if not self._allow_load:
            raise Unsupported("loading and unloading by clients is off; start with --allow-load")


def model_statistics(served: ServedModel, folder: Path) -> dict[str, Any]:
    """The `model_stats` entry of a loaded model."""
    return {
        "name": served.name,
        "version": served.version,
        "last_inference": served.last_inference_ms,
        **statistics(folder, served.key),
    }


def _by_v1(handler: Handler, served: ServedModel) -> Handler:
    return Predicting(handler, lambda: served.signature)


def triton_config(name: str, signature: Signature, versions: Sequence[str], max_rows: int) -> dict[str, Any]:
    """What perf_analyzer and others read before they send: Triton's configuration in JSON.

    Where `max_batch_size` is not 0, every tensor has a variable first dimension that `dims` leave out
    (Triton's docs/user_guide/model_configuration.md, "Maximum Batch Size"). So it is `max_rows` where all of
    the model's tensors have one, and 0, with whole shapes, where they do not or requests are never joined.
    """
    specs = (*signature.inputs, *signature.outputs)
    joined = max_rows > 1 and all((spec.shape or ())[:1] == (-1,) for spec in specs)

    def tensor(spec: TensorSpec) -> dict[str, Any]:
        return {
            "name": spec.name,
            "data_type": "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}",
            "dims": shape_json(spec)[1 if joined else 0 :],
            **({"optional": True} if spec.optional else {}),
        }

    return {
        "name": name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": max_rows if joined else 0,
        "input": [tensor(spec) for spec in signature.inputs],
        "output": [tensor(spec) for spec in signature.outputs],
        "version_policy": {"specific": {"versions": [int(number) for number in versions]}},
        **({"dynamic_batching": {}} if joined else {}),
    }
