"""A sandbox: one candidate in a process of its own, which it can hang, fill or kill without hurting anyone.

It answers the canary's share on `<files>.sock` and takes mirrored requests on `<files>.shadow`, to which its
supervisor links the names that workers know; so one that ends touches nothing of its successor. It runs the
candidate on them, compares with the reference answer, counts. Requests that are to be timed come there too
(`router.pairing`). Its counts reach control by its own sync.
"""

import asyncio
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import structlog

from router.counting.recorder import StageRecorder
from router.counting.stage_counts import StageCounts, to_json
from router.hop.client import Address
from router.metrics import COMPARISON, COMPARISON_DISTANCE, EJECTIONS, SHADOW
from router.mirror.channel import Frame, ShadowServer
from router.mirror.sampler import Sampler
from router.pairing import Pairing, counted
from router.pinned import PinnedRepository, keep, pauses
from router.rollout.compare import Comparison, compare
from router.rollout.snapshot import Candidate, Snapshot
from router.rollout.values import AgreementGuard, Rollout
from router.rollout.values import Target as TargetName
from router.route import key_hash
from router.run_dir import RunDir
from router.settings import SandboxSettings
from router.sync import Link, Sync
from router.targets.targets import COMPUTE_HEADER, RemoteTarget
from serving.clock import clock
from serving.errors import DeadlineExceeded, ServingError
from serving.host.process import die_with_parent, listen_unix, set_up_logs
from serving.http.server import run
from serving.models.served_model import ServedModel
from serving.service import InferenceServer
from serving.telemetry.cells import Counter, Histogram, Metrics
from serving.wire.handler import Handler, Layer
from serving.wire.message import JSON_LENGTH_HEADER, Call, Reply
from serving.wire.protocol import InferRequest, decode_request, decode_response
from serving.wire.tensors import Array
from serving.wire.trace_context import TRACEPARENT

log = structlog.get_logger()

PATIENCE = 10.0
"""A mirrored request may take this many times the rollout's timeout: nobody waits for it."""
SIDE_BY_SIDE = 8
"""Mirrored requests under way at once where the candidate does not run on the event loop."""
TOGETHER = 8
"""Mirrored requests run together where it does: the canary's clients wait for all of them."""


class Sandbox(InferenceServer):
    """The server of one candidate, and the comparer of what is mirrored to it."""

    def __init__(self, settings: SandboxSettings) -> None:
        folder = settings.state_dir / "metrics"
        metrics = Metrics(folder, "sandbox")
        super().__init__(settings, metrics, folder, settings.sandbox_target, self._timed)
        url = settings.sandbox_url or None
        self.candidate = Candidate(
            settings.sandbox_model,
            TargetName(settings.sandbox_target, url),
            live=settings.sandbox_live,
            sha256=settings.sandbox_sha256,
        )
        if settings.sandbox_sha256:
            kept = settings.state_dir / "models"
            self.repository = PinnedRepository(settings.models, kept, settings.sandbox_sha256)
            self.runtime.repository = self.repository
        self.files = RunDir(settings.run_dir).named(settings.sandbox_files or self.candidate.id)
        self._settings = settings
        self._problem = ""  # why the candidate is not loaded
        self._remote: RemoteTarget | None = None
        self._snapshot = Snapshot()
        self._waiting: deque[tuple[ShadowServer, Frame]] = deque()
        self._wake = asyncio.Event()
        self._recorders: dict[int, StageRecorder] = {}
        self._bound: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._at_once = 1  # frames that are run together
        self._tasks: list[asyncio.Task[None]] = []
        self._sync: Sync | None = None
        self._instance = f"{settings.node}/sandbox-{self.candidate.id}/{os.getpid()}"
        origin = blake2b(self._instance.encode(), digest_size=6).hexdigest()
        self._sampler = Sampler(origin, self.candidate.model, self.candidate.target.key)
        self._shadow_server: asyncio.Server | None = None
        self._pairing = Pairing(settings, self.candidate, self._served, metrics)

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Load the candidate, then take mirrored requests and follow control."""
        key = self.candidate.target.key
        if self.candidate.target.url is None:
            await self._load()
        else:
            address = Address.of_url(self.candidate.target.url)
            ejections = self._metrics.counter(EJECTIONS, key)
            self._remote = RemoteTarget(key, self.candidate.target.model, address, ejections, trusted=False)
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
        self._sync = Sync(Link.of(self._settings), None, self._report, self._apply)
        self._tasks += [asyncio.create_task(self._sync.run()), asyncio.create_task(self._settle())]
        if not self._loaded:
            self._tasks.append(asyncio.create_task(self._load_again()))

    async def _load(self) -> None:
        """Load the candidate, the accepted bytes of it or none; refused, the reason is kept."""
        name, version = self.candidate.target.model.split("/")
        self._problem = ""
        try:
            if isinstance(self.repository, PinnedRepository):
                await asyncio.to_thread(keep, self.repository, name, version)
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
            if self._loaded:
                return

    async def stop(self) -> None:
        """Let go of everything."""
        if self._shadow_server is not None:
            self._shadow_server.close()
        for task in self._tasks:
            task.cancel()
        self._pairing.close()
        if self._sync is not None:
            self._sync.close()
        if self._remote is not None:
            await self._remote.close()
        await super().stop()

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for recorder in self._recorders.values():
                recorder.rotate()

    async def _apply(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        served = snapshot.rollouts.get(self.candidate.model)
        self._pairing.follow(served)
        if served is not None:
            self._sampler.follow(served.rollout.examples)

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
            ran = self._run_together([frame for _, frame in taken]) if len(taken) > 1 else [None]
            for (server, frame), outputs in zip(taken, ran, strict=True):
                outcome = await self._observed(frame, outputs)
                self._metrics.counter(SHADOW, frame.model, self.candidate.target.key, outcome).add()
                server.finished()
            await asyncio.sleep(0)  # the canary's clients come first

    def _run_together(self, frames: Sequence[Frame]) -> list[list[Array] | None]:
        """The candidate's outputs for mirrored requests; None for one that is to be run by itself."""
        ran: list[list[Array] | None] = [None] * len(frames)
        model = self.runtime.ready.get(self.candidate.target.model)
        if model is None:
            return ran
        requests: dict[int, InferRequest] = {}
        for place, frame in enumerate(frames):
            with suppress(ServingError):  # told when it is run by itself
                requests[place] = model.decode(frame.request, frame.request_json)
        for place, outputs in zip(requests, model.run_together(list(requests.values())), strict=True):
            ran[place] = outputs
        return ran

    async def _observed(self, frame: Frame, ran: list[Array] | None) -> str:
        """Deal with a frame, in a span of its own where its request is traced."""
        tracer = self._observer.tracer if self._observer is not None else None
        if tracer is None or not frame.trace:
            return await self._deal_with(frame, ran)
        named = {"understudy__model": frame.model, "understudy__target": self.candidate.target.key}
        span = tracer.begin("compare", "consumer", {TRACEPARENT: frame.trace}, **named)
        outcome = await self._deal_with(frame, ran)
        tracer.end(span, failed=outcome != "compared", understudy__outcome=outcome)
        return outcome

    async def _deal_with(self, frame: Frame, ran: list[Array] | None) -> str:
        served = self._snapshot.rollouts.get(frame.model)
        if served is None or not self._loaded:
            return "failed"
        try:
            reference = decode_response(frame.reference, frame.reference_json).outputs
        except Exception as error:  # noqa: BLE001  (nothing was asked of the candidate)
            log.debug("mirrored request left out", error=str(error))
            return "failed"
        try:
            outputs = await self._run(frame, served.rollout.timeout_seconds * PATIENCE, ran)
        except Exception as error:  # noqa: BLE001  (the candidate's failure is data)
            log.debug("mirrored request failed", error=str(error))
            self._record_failure(frame, served.rollout, reference)
            return "timeout" if isinstance(error, DeadlineExceeded) else "failed"
        wanted = {name: outputs[name] for name in reference if name in outputs}
        comparisons = compare(reference, wanted, served.rollout.compare)
        self._record(frame, served.rollout, comparisons)
        comparisons = tuple(each for each in comparisons if served.rollout.rules_on(each.output))
        if served.rollout.examples.keep:
            self._sample(frame, served.rollout, comparisons, reference, outputs)
        return "compared"

    async def _run(self, frame: Frame, timeout_seconds: float, ran: list[Array] | None) -> dict[str, Array]:
        """The candidate's outputs for a mirrored request; `ran` where it was run already."""
        headers: dict[bytes, bytes] = {}
        if frame.request_json is not None:
            headers[JSON_LENGTH_HEADER] = str(frame.request_json).encode()
        if self._remote is not None:
            if frame.trace:
                headers[TRACEPARENT] = frame.trace
            call = Call(headers, frame.request, clock(), timeout_seconds)
            reply = await self._remote.one(call)
            return decode_response(reply.body, reply.json_length).outputs
        model = self.runtime.get(*self.candidate.target.model.split("/"))
        if ran is None:
            request = model.decode(frame.request, frame.request_json)
            ran = (await model.run(request, clock(), timeout_seconds)).outputs
        return dict(zip((spec.name for spec in model.signature.outputs), ran, strict=True))

    @property
    def _loaded(self) -> bool:
        return self._remote is not None or self.candidate.target.model in self.runtime.ready

    def _recorder(self, frame: Frame, rollout: Rollout) -> StageRecorder:
        recorder = self._recorders.get(frame.stage)
        if recorder is None:
            recorder = self._recorders[frame.stage] = StageRecorder(rollout.model, frame.stage, 0.0)
            for old in sorted(self._recorders)[:-8]:
                del self._recorders[old]
        return recorder

    def _record(self, frame: Frame, rollout: Rollout, comparisons: tuple[Comparison, ...]) -> None:
        counted = self._counted(frame, rollout)
        for comparison in comparisons:
            ruled = rollout.rules_on(comparison.output)
            verdict = ("same" if comparison.same else "different") if ruled else "unruled"
            counter, distance = self._series(frame.model, comparison.output, verdict)
            counter.add()
            distance.observe(comparison.distance)
            if ruled:
                counted(comparison.output, same=comparison.same)
                if comparison.kind in {"same", "value"}:  # of the others the distance says nothing
                    self._recorder(frame, rollout).measured(comparison.output, comparison.distance)

    def _record_failure(self, frame: Frame, rollout: Rollout, reference: Mapping[str, Array]) -> None:
        """The candidate gave no answer: a difference in every output that is judged and that stable gave."""
        counted = self._counted(frame, rollout)
        for output in filter(rollout.rules_on, reference):
            self._series(frame.model, output, "failed")[0].add()
            counted(output, same=False)

    def _counted(self, frame: Frame, rollout: Rollout) -> Callable[..., None]:
        """How to count a comparison of this request, by the units of the guards.

        The sums of a stage have what stands for itself: each request, of a sticky key its first one in this
        process, and for a guard that says so of equal bodies the first. Units of keys and of time are counted
        beside them.
        """
        recorder = self._recorder(frame, rollout)
        new_key = frame.key == 0 or recorder.first_of_key(frame.key)
        guards = {guard.output: guard for guard in rollout.guards if isinstance(guard, AgreementGuard)}
        new_body = not guards or recorder.first_of_body(key_hash(frame.request))

        def count(output: str, *, same: bool) -> None:
            guard = guards.get(output)
            per = "key" if guard is None else guard.per
            if new_body or per != "body":
                if new_key:
                    recorder.compared(output, same=same)
                if guard is not None and rollout.sticky_header is not None and per == "key":
                    recorder.compared_for_key(guard.name, frame.key, same=same)
            if isinstance(per, int):
                recorder.compared_now(output, same=same)

        return count

    def _series(self, model: str, output: str, verdict: str) -> tuple[Counter, Histogram]:
        bound = self._bound.get((model, output, verdict))
        if bound is None:
            labels = (model, self.candidate.target.key, output)
            bound = self._bound[model, output, verdict] = (
                self._metrics.counter(COMPARISON, *labels, verdict),
                self._metrics.histogram(COMPARISON_DISTANCE, *labels),
            )
        return bound

    def _sample(
        self,
        frame: Frame,
        rollout: Rollout,
        comparisons: tuple[Comparison, ...],
        reference: Mapping[str, Array],
        outputs: Mapping[str, Array],
    ) -> None:
        """Keep examples of this request, if it is worth it."""
        wanted = [each for each in comparisons if self._sampler.wants(each, clock())]
        if not wanted:
            return
        request = self._inputs(frame) if rollout.examples.inputs else None
        for each in wanted:
            sides = reference.get(each.output), outputs.get(each.output)
            self._sampler.take(each, sides, request, frame.stage, time.time())

    def _inputs(self, frame: Frame) -> Mapping[str, Array] | None:
        """The inputs of a mirrored request; None where the candidate's signature cannot tell them."""
        try:
            if self._remote is None:
                signature = self.runtime.get(*self.candidate.target.model.split("/")).signature
            elif self._remote.signature is not None:
                signature = self._remote.signature
            else:
                return None
            return decode_request(frame.request, frame.request_json, signature).inputs
        except ServingError:  # another server may take what its metadata does not say
            return None

    def _examples(self) -> dict[str, Any]:
        assert self._sync is not None
        kept = self._sampler.give(clock(), self._sync.exchanges)
        seen = self._sampler.seen
        return {"model": self.candidate.model, "seen": seen.total(), "outputs": dict(seen), "kept": kept}

    async def _report(self) -> dict[str, Any]:
        answered = self._sync.exchanges if self._sync is not None else 0
        problem = self._remote.problem if self._remote is not None else self._problem
        for key, (state, reason) in self.runtime.states.items():
            if state == "UNAVAILABLE":
                problem = f"{key}: {reason}"
        pairs = self._pairing.counts()
        settled = {stage: recorder.report(answered) for stage, recorder in self._recorders.items()}
        stages = sorted(settled.keys() | pairs.keys())
        return {
            "instance": self._instance,
            "node": self._settings.node,
            "kind": "sandbox",
            "candidate": self.candidate.target.key,
            "live": self.candidate.live,
            "draining": self.draining,
            "targets": [
                {
                    "model": self.candidate.model,
                    "target": self.candidate.target.key,
                    "role": "canary" if self.candidate.live else "shadow",
                    "ready": not problem,
                    "problem": problem[:5000],
                    "sha256": self.candidate.sha256,
                    "pairing": self._pairing.problem[:1000],
                }
            ],
            "counts": [
                {
                    "model": self.candidate.model,
                    "stage": stage,
                    "counts": to_json(
                        replace(settled.get(stage, StageCounts(0.0)), pairs=counted(pairs, stage))
                    ),
                }
                for stage in stages
            ],
            "examples": self._examples(),
        }


class Timed(Layer[bool]):
    """Tells the run time of each answer in a header, and the pairing which clients wait."""

    def __init__(self, inner: Handler, pairing: Pairing) -> None:
        super().__init__(inner)
        self._pairing = pairing

    def began(self, call: Call) -> bool:  # noqa: ARG002  (every end matters)
        """As `Layer`."""
        self._pairing.client_came()
        return True

    def ended(self, call: Call, token: bool, outcome: Reply | BaseException) -> None:  # noqa: ARG002, FBT001
        """As `Layer`."""
        self._pairing.client_went()
        if type(outcome) is Reply:
            outcome.headers += b"%b: %d\r\n" % (COMPUTE_HEADER, round(outcome.compute_seconds * 1e9))


def confine(memory_bytes: int, *, live: bool) -> None:
    """Bound this process before it loads anything foreign; a shadow's load also comes after others' work."""
    most = 2 * memory_bytes if live else memory_bytes  # stable's memory comes on top, once it is loaded
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not live:
        os.nice(10)


def run_when_idle() -> None:
    """Let every thread of this process run only where nobody else wants to.

    A nice process that is running may keep its core for a slice of some milliseconds when a worker wakes up;
    an idle one is put aside at once (sched(7), SCHED_IDLE). For a shadow once it is loaded: it would wait too
    long for its load on a busy machine.
    """
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


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
