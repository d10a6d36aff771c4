"""The loaded models of one process: load, warm, run, drain, unload.

A load happens off the event loop and replaces nothing until it is ready: verified in another process,
read once, warmed for every batch size it will see, measured.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import structlog

from serving.cells import Metrics
from serving.errors import InvalidModel, NotFound, ServingError, Unavailable
from serving.metrics import TargetMetrics
from serving.model import INLINE_SECONDS, Model
from serving.repository import ModelEntry, Repository
from serving.scheduler import Scheduler
from serving.served_model import ServedModel
from serving.verify import verify
from serving.warmup import needed

log = structlog.get_logger()


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
                model, max_rows, unmeasured = await asyncio.to_thread(self._prepare, entry)
            except Exception as error:
                reason = str(error) if isinstance(error, ServingError) else type(error).__name__
                self.states[key] = ("UNAVAILABLE", reason)
                raise
            served = self._serve(entry, model, max_rows)
            seconds = time.monotonic() - began
            self.ready[key] = served
            self.states[key] = ("READY", unmeasured)
            if unmeasured:
                log.warning("model not measured", target=key, reason=unmeasured)
            bound.ready.set(1)
            bound.load_seconds.set(seconds)
            log.info(
                "model loaded",
                target=key,
                seconds=round(seconds, 3),
                run_us=round(model.run_seconds * 1e6, 1),
                execution=served.execution,
                max_rows=max_rows,
                dependence=model.dependence,
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

    def _prepare(self, entry: ModelEntry) -> tuple[Model, int, str]:
        """Off the event loop: verify, open, warm, measure.

        Returns:
            The model, its largest batch, and why it could not be measured, empty if it could.
        """
        [report] = verify([entry], threads=self._threads, cache=self._verified)
        if not report.ok:
            raise InvalidModel(f"model {entry.name!r} version {entry.version}: {report.reason}")
        measured = not report.unmeasured
        model = Model.load(entry, self._threads, report.sha256, report.trial, measured=measured)
        rows = model.prepare(report.dependence)
        if model.dependence and (entry.config.independent or not report.dependence):
            key = f"{entry.name}/{entry.version}"
            log.error(
                "rows are not joined", target=key, stated=entry.config.independent, reason=model.dependence
            )
        return model, rows, report.unmeasured

    def _serve(self, entry: ModelEntry, model: Model, max_rows: int) -> ServedModel:
        config = entry.config
        unasked = config.execution == "auto" and config.batching in {"auto", 1}
        inline = config.execution == "inline" or (
            unasked and model.measured and model.run_seconds < INLINE_SECONDS
        )
        key = f"{entry.name}/{entry.version}"
        names = tuple(spec.name for spec in model.signature.outputs)
        scheduler = (
            None
            if inline
            else Scheduler(key, model.run, names, len(needed(model.signature)), max_rows, config.queue)
        )
        return ServedModel(model, entry, TargetMetrics(self._metrics, key), max_rows, scheduler)
