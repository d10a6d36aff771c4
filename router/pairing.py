"""Timing a live canary's model beside stable's, in the canary's sandbox.

Law: the sandbox loads stable's accepted bytes only for a rollout whose latency or speed is guarded, and only
where both are models of the repository. A pair is run when no client waits for the canary, at most ten a
second, and pairs take at most a twentieth of the time. What comes beyond that is dropped and counted. Where
stable cannot be loaded, there is a reason in words.
"""

import asyncio
import resource
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import random

import structlog

from router.counting.pairs import (
    NO_PAIRS,
    PAIR_SECONDS,
    PairCounts,
    PairLog,
    StagePairs,
    clock_tick,
    time_pair,
)
from router.metrics import PAIRS
from router.mirror.frame import Frame
from router.pinned import PinnedRepository, keep, pauses
from router.rollout.guards.speed import Paired
from router.rollout.snapshot import Candidate, Pin, ServedRollout
from router.settings import SandboxSettings
from serving.clock import clock
from serving.errors import InvalidModel, ServingError
from serving.host.cpus import available_cpus
from serving.models.kinds import load, verify
from serving.models.runnable import INLINE_SECONDS, Runnable
from serving.models.served_model import ServedModel
from serving.sources.opening import open_source
from serving.telemetry.cells import Metrics
from serving.wire.codec import Codec, codecs

log = structlog.get_logger()

SHARE = 0.05
"""Of the sandbox's time, that pairs may take."""
KEPT_STAGES = 8


class Pairing:
    """The pairs of one sandbox.

    Args:
        settings: of the sandbox.
        candidate: whom it runs.
        served: the candidate's model, once it is loaded.
        metrics: where offered requests are counted.
    """

    def __init__(
        self,
        settings: SandboxSettings,
        candidate: Candidate,
        served: Callable[[], ServedModel | None],
        metrics: Metrics,
    ) -> None:
        self.problem = ""
        """Why stable is not loaded here although it is wanted."""
        self._settings = settings
        self._candidate = candidate
        self._served = served
        self._counters = {
            outcome: metrics.counter(PAIRS, candidate.model, candidate.target.key, outcome)
            for outcome in ("timed", "failed", "dropped")
        }
        self._wanted: Pin | None = None
        self._asked = Paired()
        self._stage = -1
        self._stable: Runnable | None = None
        self._log = PairLog(0.0)
        self._stages: dict[int, StagePairs] = {}
        self._loading: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._frame: Frame | None = None
        self._offered = asyncio.Event()
        self._clients = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    # ------------------------------------------------------------------ what is wanted

    def follow(self, served: ServedRollout | None) -> None:
        """Load stable, another one, or none, as the snapshot says."""
        pin = None
        if served is not None and served.paired_for is not None and served.canary == self._candidate.target:
            self._asked, self._stage = served.paired_for, served.stage
            pin = served.pin(served.stable) if self._candidate.live else None
        if pin == self._wanted:
            return
        self.close()
        self._wanted = pin
        if pin is not None:
            self._loading = asyncio.create_task(self._load(pin), name="load stable to time it")

    def close(self) -> None:
        """Let go of stable."""
        for task in filter(None, (self._loading, self._running)):
            task.cancel()
        if self._stable is not None and self._stable.outside is not None:
            self._stable.outside.close()
        self._loading = self._running = self._stable = self._wanted = None
        self.problem = ""
        if self._frame is not None:
            self._frame = None
            self._counters["dropped"].add()

    async def _load(self, pin: Pin) -> None:
        for pause in pauses():
            if self._served() is None:  # the candidate comes first
                await asyncio.sleep(pause)
                continue
            try:
                stable = await self._loaded(pin)
            except Exception as error:  # noqa: BLE001  (a model's fault must not end the sandbox)
                why = str(error) if isinstance(error, ServingError) else type(error).__name__
                problem = f"stable cannot be loaded beside the canary: {why}"
                if problem != self.problem:
                    log.warning("no pairs are timed", target=self._candidate.target.key, reason=problem)
                self.problem = problem
                await asyncio.sleep(pause)
                continue
            self._stable, self.problem = stable, ""
            self._log = PairLog(clock_tick())
            self._running = asyncio.create_task(self._run(stable), name="time pairs")
            return

    async def _loaded(self, pin: Pin) -> Runnable:
        """Stable; the memory that it takes is added to what the sandbox may take."""
        limit = self._settings.sandbox_memory
        before = _data_bytes()
        _limit_data(2 * limit)
        taken = 0
        try:
            model = await asyncio.to_thread(_open, self._settings, pin)
            taken = max(_data_bytes() - before, 0)
        finally:
            _limit_data(limit + min(taken, limit))
        return model

    # ------------------------------------------------------------------ clients

    def client_came(self) -> None:
        """A client's request runs beside the event loop."""
        self._clients += 1
        self._quiet.clear()

    def client_went(self) -> None:
        """It was answered."""
        self._clients -= 1
        if not self._clients:
            self._quiet.set()

    # ------------------------------------------------------------------ pairs

    def offer(self, frame: Frame) -> None:
        """A request of stable on which a pair could be timed."""
        if self._stable is None or self._frame is not None or frame.stage != self._stage:
            self._counters["dropped"].add()
            return
        self._frame = frame
        self._offered.set()

    def counts(self) -> dict[int, PairCounts]:
        """By stage."""
        return {stage: pairs.counts for stage, pairs in self._stages.items()}

    async def _run(self, stable: Runnable) -> None:
        readers = codecs("", "", stable.signature)
        names = tuple(spec.name for spec in stable.signature.outputs)
        while True:
            await self._offered.wait()
            await asyncio.sleep(0)  # who has asked meanwhile comes first
            await self._quiet.wait()
            began = clock()
            frame, self._frame = self._frame, None
            self._offered.clear()
            if frame is None:
                continue
            try:
                await self._time(frame, stable, readers, names)
            except asyncio.CancelledError:
                self._counters["dropped"].add()
                raise
            except Exception as error:  # noqa: BLE001  (either may refuse the request, or fail on it)
                log.debug("no pair on this request", error=str(error))
                self._counters["failed"].add()
            else:
                self._counters["timed"].add()
            took = clock() - began
            await asyncio.sleep(max(PAIR_SECONDS - took, took * (1.0 / SHARE - 1.0)))

    async def _time(
        self, frame: Frame, stable: Runnable, readers: Mapping[str, Codec], names: tuple[str, ...]
    ) -> None:
        """Time one pair, where the models run: on the event loop when both are short, else beside it."""
        candidate = self._served()
        if candidate is None:
            raise InvalidModel("the candidate is not loaded")
        asked, stage, runs = self._asked, frame.stage, self._log.repeats
        own = candidate.decode(frame.request, frame.request_json, frame.wire)
        feeds = readers[frame.wire].decode(frame.request, frame.request_json).inputs
        time = partial(
            time_pair,
            lambda: candidate.run_here(own),
            lambda: stable.run(feeds, names),
            runs,
            stable_first=random() < 0.5,  # noqa: S311  (a coin, not a secret)
        )
        short = stable.measured and stable.run_seconds < INLINE_SECONDS and stable.outside is None
        seconds = time() if short and candidate.execution == "inline" else await asyncio.to_thread(time)
        counts = self._stages.get(stage)
        if counts is None:
            counts = self._stages[stage] = StagePairs()
            for old in sorted(self._stages)[:-KEPT_STAGES]:
                del self._stages[old]
        self._log.add(counts, *seconds, asked.max_ratio, asked.min_speed)


def counted(pairs: dict[int, PairCounts], stage: int) -> PairCounts:
    """The pairs of a stage."""
    return pairs.get(stage, NO_PAIRS)


def _open(settings: SandboxSettings, pin: Pin) -> Runnable:
    """Load a model by its accepted bytes and warm it; blocks.

    Raises:
        InvalidModel, NotFound: neither the repository nor what is kept has the bytes, or they are refused.
    """
    name, version = pin.model.split("/")
    source = open_source(settings.origin)
    if pin.sha256:
        source = repository = PinnedRepository(source, settings.state_dir / "models", pin.sha256)
        keep(repository, name, version)
    entry = source.find(name, version)
    threads = settings.threads or available_cpus()
    [report] = verify([entry], threads=threads, cache=settings.state_dir / "verified")
    if not report.ok:
        raise InvalidModel(report.reason)
    model = load(entry, threads, report)
    model.warm_alone()
    return model


def _limit_data(memory_bytes: int) -> None:
    """Let this process take so much memory, as far as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def _data_bytes() -> int:
    """What the limit on data is held against."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024
