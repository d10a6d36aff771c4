"""The loaded models of one process: load, warm, run, drain, unload.

A load happens off the event loop and replaces nothing until it is ready: verified in another process,
read once, warmed for every batch size it will see, measured.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import structlog

import serving.models.ort  # noqa: F401  (slow: at the start of a process, not at its first load)
from serving.errors import InvalidModel, NotFound, ServingError, Unavailable
from serving.models.checking.verify import Report
from serving.models.files.repository import ModelEntry, read
from serving.models.files.source import Source
from serving.models.kinds import load, verify
from serving.models.runnable import INLINE_SECONDS, Outside, Reason, Runnable
from serving.models.scheduler import Scheduler
from serving.models.served_model import ServedModel
from serving.models.session.warmup import needed
from serving.telemetry.cells import Counter, Metrics
from serving.telemetry.families import STEP_PROCESS_ENDS, TargetMetrics
from serving.telemetry.steps import StepTimes

log = structlog.get_logger()


State = Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]


class _Made(NamedTuple):
    served: ServedModel
    model: Runnable
    unmeasured: str
    seconds: float


class Runtime:
    """name/version -> ready model.

    Args:
        source: where models come from.
        metrics: the cells of this process.
        verified: a folder that remembers which files passed verification; None verifies each time.
        threads: what one run may use.
    """

    def __init__(self, source: Source, metrics: Metrics, verified: Path | None, threads: int) -> None:
        self.source = source
        self.ready: dict[str, ServedModel] = {}
        self.states: dict[str, tuple[State, str]] = {}
        self._metrics = metrics
        self._verified = verified
        self._threads = threads
        self._refused: dict[str, tuple[ModelEntry, Report]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._closing = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        self.grace_seconds = 0.0
        """How long one that was replaced is kept for requests that are being received."""
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
            NotFound: the source has no such model.
            InvalidModel: it was refused; the reason is kept in `states`.
        """
        key = f"{name}/{version}"
        async with self._one_at_a_time:
            if key in self.ready:
                return self.ready[key]
            made = await self._make(await self._fetched(name, version))
            self._put(made)
        self.changed()
        return made.served

    async def _fetched(self, name: str, version: str) -> ModelEntry:
        """The model in the source; until its files are here, it is loading."""
        key = f"{name}/{version}"
        before = self.states.get(key)
        self.states[key] = ("LOADING", "")
        try:
            return await asyncio.to_thread(self.source.find, name, version)
        except BaseException:
            del self.states[key]
            if before is not None:
                self.states[key] = before
            raise

    async def refresh(self, entries: Sequence[ModelEntry]) -> None:
        """Have models loaded as they are in the source now: all of these, or nothing changes.

        What is loaded and has other files or another configuration now is loaded anew beside itself, and
        takes its own place when it is ready. The old one answers what was sent to it.

        Raises:
            NotFound: one is there no more.
            InvalidModel: one was refused; of one that is loaded, what was loaded before serves on.
        """
        async with self._one_at_a_time:
            made: list[_Made] = []
            try:
                for listed in entries:
                    entry = await asyncio.to_thread(self.source.find, listed.name, listed.version)
                    if not await self._is_current(entry):
                        made.append(await self._make(entry))
            except Exception:
                for other in made:
                    await other.served.close()
                    if other.served.key not in self.ready:
                        self.states[other.served.key] = ("UNAVAILABLE", "another version was refused")
                raise
            replaced = [self._put(one) for one in made]
        if made:
            self.changed()
        for old in filter(None, replaced):
            task = asyncio.create_task(self._retire(old))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _is_current(self, entry: ModelEntry) -> bool:
        served = self.ready.get(f"{entry.name}/{entry.version}")
        if served is None or served.config != entry.config:
            return False
        files = await asyncio.to_thread(_identity, entry)
        return files == served.identity

    async def _retire(self, served: ServedModel) -> None:
        """A request whose head was read before the change may still send its body."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self.grace_seconds)
        await served.close()

    async def _make(self, entry: ModelEntry) -> "_Made":
        """Load a model beside whatever is loaded of it; refused, that stays, and the reason is kept."""
        key = f"{entry.name}/{entry.version}"
        loaded = key in self.ready
        if not loaded:
            self.states[key] = ("LOADING", "")
            TargetMetrics(self._metrics, key).ready.set(0)
        began = time.monotonic()
        try:
            model, max_rows, unmeasured = await asyncio.to_thread(self._prepare, entry)
        except Exception as error:
            reason = str(error) if isinstance(error, ServingError) else type(error).__name__
            stays = f"what is on disk now was refused, what was loaded before serves on: {reason}"
            self.states[key] = ("READY", stays) if loaded else ("UNAVAILABLE", reason)
            raise
        return _Made(self._serve(entry, model, max_rows), model, unmeasured, time.monotonic() - began)

    def _put(self, made: "_Made") -> ServedModel | None:
        """Make it the ready one; the one that it replaces is returned."""
        served, model = made.served, made.model
        replaced = self.ready.get(served.key)
        self.ready[served.key] = served
        self.states[served.key] = ("READY", made.unmeasured)
        if made.unmeasured:
            log.warning("model not measured", target=served.key, reason=made.unmeasured)
        bound = TargetMetrics(self._metrics, served.key)
        bound.ready.set(1)
        bound.load_seconds.set(made.seconds)
        log.info(
            "model loaded" if replaced is None else "model loaded anew",
            target=served.key,
            seconds=round(made.seconds, 3),
            run_us=round(model.run_seconds * 1e6, 1),
            execution=served.execution,
            max_rows=served.max_rows,
            dependence=model.dependence,
            **({"graph": model.form} if model.form else {}),
            rows_per_second={rows: round(rate) for rows, rate in model.rows_per_second.items()},
        )
        return replaced

    async def verify_ahead(self, keys: Iterable[str]) -> None:
        """Check several models in one process, which is what `load` then remembers; saves its start-up.

        A refusal is remembered for one load. Whatever ended or outlived the process is tried again by it: the
        machine may have been busy.
        """
        wanted = [key for key in keys if key not in self.ready]
        if len(wanted) > 1:
            for entry, report in await asyncio.to_thread(self._check, wanted):
                if not report.ok and report.sha256:
                    self._refused[f"{entry.name}/{entry.version}"] = entry, report

    def _check(self, keys: Iterable[str]) -> list[tuple[ModelEntry, Report]]:
        """Those that are found, each with what came of its check; blocks."""
        entries = []
        for key in keys:
            with suppress(ServingError):  # `load` says what is wrong
                entries.append(self.source.find(*key.split("/")))
        return list(zip(entries, verify(entries, threads=self._threads, cache=self._verified), strict=True))

    async def unload(self, name: str, version: str) -> None:
        """Take a model down once its last request is answered; new ones are refused from now on."""
        key = f"{name}/{version}"
        served = self.ready.pop(key, None)
        if served is None:
            return
        self.states[key] = ("UNLOADING", "")
        self.changed()
        TargetMetrics(self._metrics, key).ready.withdraw()
        await served.close()
        self.states[key] = ("UNAVAILABLE", "unloaded")
        log.info("model unloaded", target=key)

    async def close(self) -> None:
        """Unload everything."""
        self._closing.set()
        await asyncio.gather(*self._retiring)
        for served in list(self.ready.values()):
            await self.unload(served.name, served.version)

    def _prepare(self, entry: ModelEntry) -> tuple[Runnable, int, str]:
        """Off the event loop: verify, open, warm, measure.

        Returns:
            The model, its largest batch, and why it could not be measured, empty if it could.
        """
        report = self._report(entry)
        if not report.ok:
            raise InvalidModel(f"model {entry.name!r} version {entry.version}: {report.reason}")
        model = load(entry, self._threads, report)
        try:
            rows = model.prepare(report.dependence)
        except BaseException:
            if model.outside is not None:
                model.outside.close()
            raise
        if entry.config.most_rows is not None:
            rows = min(rows, entry.config.most_rows)
        if model.dependence and (entry.config.independent or not report.dependence):
            key = f"{entry.name}/{entry.version}"
            log.error(
                "rows are not joined", target=key, stated=entry.config.independent, reason=model.dependence
            )
        return model, rows, report.unmeasured

    def _report(self, entry: ModelEntry) -> Report:
        """What was found out ahead, of these very files and this configuration, or what is found out now."""
        ahead = self._refused.pop(f"{entry.name}/{entry.version}", None)
        if ahead is not None and ahead[0] == entry and ahead[1].sha256 == read(entry).sha256:
            return ahead[1]
        [report] = verify([entry], threads=self._threads, cache=self._verified)
        return report

    def _serve(self, entry: ModelEntry, model: Runnable, max_rows: int) -> ServedModel:
        config = entry.config
        unasked = config.execution == "auto" and config.batching in {"auto", 1}
        inline = config.execution == "inline" or (
            unasked and model.measured and model.run_seconds < INLINE_SECONDS and model.outside is None
        )
        key = f"{entry.name}/{entry.version}"
        steps = StepTimes(self._metrics, key, model.steps) if model.steps else None
        names = tuple(spec.name for spec in model.signature.outputs)
        scheduler = (
            None
            if inline
            else Scheduler(
                key,
                model.run,
                names,
                len(needed(model.signature)),
                max_rows,
                config.queue,
                model.rows_per_second,
            )
        )
        if model.outside is not None:
            self._watch(key, model.outside)
        return ServedModel(model, entry, TargetMetrics(self._metrics, key), max_rows, scheduler, steps)

    def _watch(self, key: str, outside: Outside) -> None:
        """Show in metrics when its process ends and is there again."""
        ends: dict[Reason, Counter] = {
            reason: self._metrics.counter(STEP_PROCESS_ENDS, key, reason) for reason in get_args(Reason)
        }
        ready = TargetMetrics(self._metrics, key).ready
        outside.ended = lambda reason: ends[reason].add()
        outside.changed = ready.set


def _identity(entry: ModelEntry) -> str:
    """Of its files as they are now; empty where they cannot be read, which is no identity."""
    try:
        return read(entry).identity
    except ServingError:
        return ""
