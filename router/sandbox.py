"""A sandbox: one candidate in a process of its own, which it can hang, fill or kill without hurting anyone.

It answers the canary's share on `<files>.sock` and takes mirrored requests on `<files>.shadow`, to which its
supervisor links the names that workers know; so one that ends touches nothing of its successor. It runs the
candidate on them, compares with the reference answer, counts. Requests that are to be timed come there too
(`router.pairing`). Its counts reach control by its own sync.
"""

import asyncio
import os
import resource
from dataclasses import replace
from hashlib import blake2b

import structlog

from router.counting.stage_counts import StageCounts
from router.hop.client import Address
from router.metrics import EJECTIONS, SHADOW, TOP_UP
from router.mirror.channel import ShadowServer, Waiting
from router.mirror.comparer import Comparer
from router.mirror.comparison_counts import ComparisonCounts
from router.mirror.label_pairs import LabelPairs
from router.mirror.runners import LocalRunner, RemoteRunner
from router.mirror.sampler import Sampler
from router.pairing import Pairing, counted
from router.pinned import PinnedRepository, keep, pauses
from router.record.observer import ComparisonRecorder
from router.record.sink import Recording
from router.rollout.sections.targets import target_of_json
from router.rollout.snapshot import Candidate, Snapshot
from router.run_dir import RunDir
from router.settings import SandboxSettings
from router.sync import Link, Sync
from router.targets.access import Access
from router.targets.targets import RemoteTarget
from router.wire.examples_report import ExamplesReport
from router.wire.pairs_report import PairsReport
from router.wire.report import Report, StageReport, TargetReport
from serving.clock import clock
from serving.errors import ServingError
from serving.host.process import die_with_parent, instance_name, run_when_idle, set_up_logs
from serving.host.sockets import listen_unix
from serving.http.server import run
from serving.models.served_model import ServedModel
from serving.service import InferenceServer, Told
from serving.sources.opening import open_source
from serving.telemetry.cells import Metrics
from serving.wire.handler import Handler
from serving.wire.message import Call, Reply

log = structlog.get_logger()

SIDE_BY_SIDE = 8
"""Mirrored requests under way at once where the candidate does not run on the event loop."""
TOGETHER = 8
"""Mirrored requests run together where it does: the canary's clients wait for all of them."""


class Sandbox(InferenceServer):
    """The server of one candidate, with a comparer of what is mirrored to it."""

    def __init__(self, settings: SandboxSettings) -> None:
        folder = settings.state_dir / "metrics"
        metrics = Metrics(folder, "sandbox")
        super().__init__(settings, metrics, folder, settings.sandbox_target, self._timed)
        self.candidate = Candidate(
            settings.sandbox_model,
            target_of_json(
                {
                    "model": settings.sandbox_target,
                    "url": settings.sandbox_url or None,
                    "server": settings.sandbox_server,
                }
            ),
            live=settings.sandbox_live,
            sha256=settings.sandbox_sha256,
        )
        if settings.sandbox_sha256:
            kept = settings.state_dir / "models"
            self.source = PinnedRepository(open_source(settings.origin), kept, settings.sandbox_sha256)
            self.runtime.source = self.source
        self.files = RunDir(settings.run_dir).named(settings.sandbox_files or self.candidate.id)
        self._settings = settings
        self._problem = ""  # why the candidate is not loaded
        self._remote: RemoteTarget | None = None
        self._waiting = Waiting()
        self._wake = asyncio.Event()
        self._at_once = 1  # frames that are run together
        self._tasks: list[asyncio.Task[None]] = []
        self._sync: Sync | None = None
        self._instance = instance_name(settings.node, f"sandbox-{self.candidate.id}")
        origin = blake2b(self._instance.encode(), digest_size=6).hexdigest()
        key = self.candidate.target.key
        self._sampler = Sampler(origin, self.candidate.model, key)
        self._counts = ComparisonCounts(key, metrics)
        self._labels = LabelPairs() if self.candidate.live else None
        self._local = LocalRunner(self._served)
        self._recording = Recording.of(settings, f"sandbox-{self.candidate.id}", lambda: 0)
        self._records = (
            None if self._recording is None else ComparisonRecorder(self.candidate, self._recording)
        )
        self._shadow_server: asyncio.Server | None = None
        self._stage = 0  # of the snapshot in force
        self._tests: set[int] = set()  # stages in which it is one of several candidates
        self._pairing = Pairing(settings, self.candidate, self._served, metrics)

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Load the candidate, then take mirrored requests and follow control."""
        key = self.candidate.target.key
        target = self.candidate.target
        if target.url is None:
            await self._load()
        else:
            folder = self._settings.target_files
            address = Address.of_url(target.url)
            ejections = self._metrics.counter(EJECTIONS, key)
            access = Access(key, target.server, folder, self._metrics)
            self._remote = RemoteTarget(
                key, target.model, address, ejections, trusted=False, server=target.server, access=access
            )
        self._comparer = Comparer(
            key,
            self._local if self._remote is None else RemoteRunner(self._remote),
            tuple(filter(None, (self._counts, self._sampler, self._labels, self._records))),
            None if self._observer is None else self._observer.tracer,
        )
        served = next(iter(self.runtime.ready.values()), None)
        side_by_side = 1 if served is not None and served.execution == "inline" else SIDE_BY_SIDE
        if not self.candidate.live:
            run_when_idle()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(side_by_side)]
        path = self.files.shadow
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._shadow_server = await loop.create_unix_server(
            lambda: ShadowServer(self._waiting, self._wake, self._pairing.offer), str(path)
        )
        path.chmod(0o600)
        self._sync = Sync(Link.for_reports(self._settings), None, self._report, self._apply)
        self._tasks += [asyncio.create_task(self._sync.run()), asyncio.create_task(self._settle())]
        if self._remote is None and not self._local.ready:
            self._tasks.append(asyncio.create_task(self._load_again()))

    async def _load(self) -> None:
        """Load the candidate, the accepted bytes of it or none; refused, the reason is kept."""
        name, version = self.candidate.target.model.split("/")
        self._problem = ""
        try:
            if isinstance(self.source, PinnedRepository):
                await asyncio.to_thread(keep, self.source, name, version)
            await super().start()
        except ServingError as error:
            self._problem = str(error)
            log.error("model refused", target=self.candidate.target.key, reason=str(error))
        served = next(iter(self.runtime.ready.values()), None)
        self._at_once = TOGETHER if served is not None and served.joins else 1

    async def _load_again(self) -> None:
        for pause in pauses():
            await asyncio.sleep(pause)
            await self._load()
            if self._local.ready:
                return

    async def stop(self) -> None:
        """Let go of everything."""
        if self._shadow_server is not None:
            self._shadow_server.close()
        for task in self._tasks:
            task.cancel()
        self._counts.rotate()
        if self._sync is not None:
            await self._sync.leave()
        self._pairing.close()
        if self._remote is not None:
            await self._remote.close()
        if self._recording is not None:
            await self._recording.close()
        await super().stop()

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self._counts.rotate()

    async def _apply(self, snapshot: Snapshot) -> None:
        served = snapshot.rollouts.get(self.candidate.model)
        one = None if served is None else served.seen_by(self.candidate.target)
        if one is not None:
            self._note(one.stage, several=one is not served)
        self._pairing.follow(one)
        self._comparer.follow(None if served is None else served.rollout)
        if self._labels is not None:
            self._labels.follow(None if served is None else served.rollout)
        if self._records is not None:
            self._records.follow(None if served is None else served.rollout)
        if served is not None:
            self._sampler.follow(served.rollout.examples)

    def _note(self, stage: int, *, several: bool) -> None:
        """Remember whether this stage is of an A/B/n test; so are those between two that are."""
        if several:
            since = self._stage + 1 if self._stage in self._tests else stage
            self._tests.update(range(min(since, stage), stage + 1))
        self._stage = stage

    def _timed(self, served: ServedModel) -> Handler:
        """The model's own handler; the router counts, and wants to know the run time."""
        return Timed(served, self._pairing)

    def _served(self) -> ServedModel | None:
        return self.runtime.ready.get(self.candidate.target.model)

    # ------------------------------------------------------------------ mirrored requests

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            taken = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
            ran = self._local.run_together([frame for _, frame in taken]) if len(taken) > 1 else [None]
            for (server, frame), outputs in zip(taken, ran, strict=True):
                outcome = await self._comparer.deal_with(frame, outputs)
                family = TOP_UP if frame.recorded else SHADOW
                self._metrics.counter(family, frame.model, self.candidate.target.key, outcome).add()
                server.finished()
            await asyncio.sleep(0)  # the canary's clients come first

    def _examples(self) -> ExamplesReport:
        assert self._sync is not None
        kept = self._sampler.give(clock(), self._sync.exchanges)
        seen = self._sampler.seen
        return ExamplesReport(
            model=self.candidate.model, seen=seen.total(), outputs=dict(seen), kept=tuple(kept)
        )

    def _pairs(self) -> PairsReport | None:
        labels = self._labels
        if labels is None or not labels.wanted:
            return None
        assert self._sync is not None
        return PairsReport(
            model=self.candidate.model,
            target=self.candidate.target.key,
            kept=labels.give(clock(), self._sync.exchanges),
            seen=labels.seen,
            left_out=dict(labels.left_out),
        )

    async def _report(self) -> Report:
        answered = self._sync.exchanges if self._sync is not None else 0
        problem = self._remote.problem if self._remote is not None else self._problem
        served = self._served()
        if served is not None:
            problem = problem or served.problem
        for key, (state, reason) in self.runtime.states.items():
            if state == "UNAVAILABLE":
                problem = f"{key}: {reason}"
        target = TargetReport(
            model=self.candidate.model,
            target=self.candidate.target.key,
            role="canary" if self.candidate.live else "shadow",
            ready=not problem,
            problem=problem[:5000],
            sha256=self.candidate.sha256,
            pairing=self._pairing.problem[:1000],
        )
        return Report(
            instance=self._instance,
            node=self._settings.node,
            kind="sandbox",
            revision=0,  # it and the rest of the exchange is for `Sync` to say
            wait=0,
            candidate=self.candidate.target.key,
            live=self.candidate.live,
            draining=self.draining,
            targets=(target,),
            counts=self._stages(answered),
            examples=self._examples(),
            pairs=self._pairs(),
        )

    def _stages(self, answered: int) -> tuple[StageReport, ...]:
        pairs, settled = self._pairing.counts(), self._counts.report(answered)
        return tuple(
            StageReport(
                model=self.candidate.model,
                stage=stage,
                candidate=self.candidate.target.key if stage in self._tests else "",
                counts=replace(settled.get(stage, StageCounts(0.0)), pairs=counted(pairs, stage)),
            )
            for stage in sorted(settled.keys() | pairs.keys())
        )


class Timed(Told):
    """Tells the pairing which clients wait, too."""

    def __init__(self, inner: Handler, pairing: Pairing) -> None:
        super().__init__(inner)
        self._pairing = pairing

    def began(self, call: Call) -> bool:  # noqa: ARG002  (every end matters)
        """As `Layer`."""
        self._pairing.client_came()
        return True

    def ended(self, call: Call, token: bool, outcome: Reply | BaseException) -> None:  # noqa: FBT001
        """As `Layer`."""
        self._pairing.client_went()
        super().ended(call, token, outcome)


def confine(memory_bytes: int, *, live: bool) -> None:
    """Bound this process before it loads anything foreign; a shadow's load also comes after others' work."""
    most = 2 * memory_bytes if live else memory_bytes  # stable's memory comes on top, once it is loaded
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not live:
        os.nice(10)


def main() -> None:
    """Run a sandbox until told to end."""
    settings = SandboxSettings()
    die_with_parent()
    set_up_logs(settings.log_format, settings.log_level)
    confine(settings.sandbox_memory, live=settings.sandbox_live)
    sandbox = Sandbox(settings)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    listener = listen_unix(sandbox.files.socket)
    run(sandbox, settings, [listener], heartbeat=settings.heartbeat)


if __name__ == "__main__":
    main()
