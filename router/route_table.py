"""Snapshots into routes: who answers at which path now.

Law: a snapshot is prepared aside (models loaded, targets probed, routes and paths built, in short laps of the
event loop) and then swapped in by assignments without a rest between them; a request sees one snapshot only.
What has not changed of it is taken over: an edit of one rollout of hundreds builds one route.
What the old one alone used is let go after its last request can have ended.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import structlog

from router.answered import Sink
from router.counting.abreast import Abreast
from router.counting.pairs import PAIR_SECONDS
from router.counting.receipt import Receipts
from router.hop.client import Address
from router.laps import Laps
from router.metrics import CONFIG_REVISION, EJECTIONS, PAIRS, ROLLOUT_WEIGHT, SHADOW
from router.mirror.channel import ShadowChannel
from router.mirror.mirrors import Mirror, Timing
from router.pinned import PinnedModels, pauses
from router.rollout.snapshot import Candidate, Pin, ServedRollout, Snapshot, local_models
from router.rollout.values import Target as TargetName
from router.route import Route
from router.run_dir import RunDir
from router.settings import NodeSettings
from router.sides.choice import Choice
from router.sides.naming import CanaryNaming
from router.sides.retry_budget import RetryBudget
from router.sides.several import Several
from router.sides.side import Side
from router.sides.stage_recorders import StageRecorders
from router.targets.access import Access
from router.targets.limited import Limits, checked
from router.targets.targets import PROBED_SECONDS, LocalTarget, RemoteTarget, Target
from router.wire.report import ServedReport, StageReport, TargetReport
from serving.errors import ServingError, Unavailable
from serving.host.cpus import available_cpus
from serving.http.app import infer_path
from serving.models.scheduler import Scheduler
from serving.models.served_model import ServedModel
from serving.telemetry.cells import Metrics
from serving.telemetry.request_log import Observer
from serving.wire.handler import Handler, Single
from serving.wire.message import Call
from serving.wire.predicting import Predicting, predict_path

log = structlog.get_logger()

Place = tuple[str, TargetName, str]
"""A rollout's public name, a target of it, and the digest of its bytes where they are known."""
_NO_PIN = Pin("")
ROTATE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Built:
    """What was made of one rollout, which the next snapshot takes over where nothing of it has changed.

    Attributes:
        served: the rollout; None where its stable could not be loaded.
        stable: what the route's stable is.
        loaded: the model that stands for it; None behind a URL.
        route: None where there is none.
        remotes: that it uses.
        channels: that it uses.
        paths: who answers at which.
    """

    served: ServedRollout | None
    stable: Pin
    loaded: ServedModel | None
    route: Route | None
    remotes: dict[Place, RemoteTarget]
    channels: dict[str, ShadowChannel]
    paths: dict[bytes, Handler]


class RouteTable:
    """Every rollout of the snapshot in force, under its public name.

    Args:
        settings: of the node.
        metrics: where what passes is counted.
        observer: watches the requests; None where nobody asked for it.
        sinks: makes further sinks of a rollout, beside its mirrors.
        receipts: makes those of rollouts that ask for them; None for a node that gives none.
        canary_failed: called when an error of a canary entered the counts; at most every 100 ms.
    """

    def __init__(
        self,
        settings: NodeSettings,
        metrics: Metrics,
        observer: Observer | None = None,
        sinks: Callable[[ServedRollout], Iterable[Sink]] = lambda _: (),
        receipts: Receipts | None = None,
        canary_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.snapshot = Snapshot()
        self.routes: dict[str, Route] = {}
        """By public name; of a rollout whose stable cannot be loaded the old one, or none."""
        self.paths: dict[bytes, Handler] = {}
        self.problems: dict[Pin, str] = {}
        """Why a model that is wanted here is not loaded."""
        self.swapped: Callable[[], None] = lambda: None
        """Called with each swap, before any request can come."""
        self._observer = observer
        self._sinks = sinks
        self._receipts = receipts
        self._canary_failed = canary_failed
        self._failures: dict[Pin, int] = {}
        self._built: dict[str, _Built] = {}
        self._applying = asyncio.Lock()
        self._trying_again: asyncio.Task[None] | None = None
        self._metrics = metrics
        self._files = settings.target_files
        self._run_dir = RunDir(settings.run_dir)
        self._models = PinnedModels(
            settings.origin,
            settings.state_dir / "models",
            metrics,
            settings.state_dir / "verified",
            settings.threads or available_cpus(),
        )
        self._remotes: dict[Place, RemoteTarget] = {}
        self._naming = CanaryNaming(settings, metrics)
        self._limits = Limits(metrics, wanted=settings.adaptive_concurrency)
        self._channels: dict[str, ShadowChannel] = {}
        self._recorders = StageRecorders()
        self._budgets: dict[str, RetryBudget] = {}
        self._revision = metrics.gauge(CONFIG_REVISION)
        self._weights: dict[tuple[str, str, str], Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to settle counts."""
        self._spawn(self._settle())
        self._spawn(self._naming.run())

    async def stop(self) -> None:
        """Let go of everything."""
        for task in list(self._tasks):
            task.cancel()
        for channel in self._channels.values():
            channel.close()
        for remote in self._remotes.values():
            await remote.close()
        await self._models.close()
        if self._observer is not None:
            await self._observer.close()

    def local_model(self, name: str) -> ServedModel | None:
        """The model `name/version`, where it is loaded here; of several digests any."""
        return next((served for pin, served in self._models.ready.items() if pin.model == name), None)

    def schedulers(self) -> list[Scheduler]:
        """Of the models here that have a thread."""
        return [served.scheduler for served in self._models.ready.values() if served.scheduler is not None]

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            failed, laps = False, Laps()
            for model in list(self._recorders.kept):
                await laps.rest()
                failed = self._recorders.rotate(model) or failed
            if failed:
                self._canary_failed()

    def settle(self) -> None:
        """Enter into the counts all that has an outcome, now: no request comes any more."""
        for model in self._recorders.kept:
            self._recorders.rotate(model)

    # ------------------------------------------------------------------ snapshots

    async def apply(self, snapshot: Snapshot) -> None:
        """Serve from this snapshot as soon as what it needs is loaded.

        A rollout whose stable cannot be loaded keeps its old route, or answers 503 when it has none; the
        reason is reported to control, and the load is tried again.
        """
        async with self._applying:
            await self._apply(snapshot)
        if self.problems and (self._trying_again is None or self._trying_again.done()):
            self._trying_again = asyncio.create_task(self._try_again(), name="load again")
            self._tasks.add(self._trying_again)
            self._trying_again.add_done_callback(self._tasks.discard)

    async def _try_again(self) -> None:
        """Load what failed, with pauses that begin anew when something else is wanted."""
        failed: set[Pin] = set()
        waits = pauses()
        while self.problems:
            if self.problems.keys() != failed:
                failed, waits = set(self.problems), pauses()
            await asyncio.sleep(next(waits))
            async with self._applying:
                if self.problems:
                    await self._apply(self.snapshot)

    async def _load(self, pins: Iterable[Pin]) -> dict[Pin, str]:
        """Load models; what cannot be loaded, with the reason."""
        await self._models.verify_ahead(pins)
        problems = {}
        for pin in pins:
            try:
                await self._models.load(pin)
            except Exception as error:  # noqa: BLE001  (a model's fault must not cost the others their routes)
                problems[pin] = str(error) if isinstance(error, ServingError) else type(error).__name__
                if problems[pin] != self.problems.get(pin):
                    log.error("model refused", target=pin.model, reason=problems[pin])
        return problems

    async def _apply(self, snapshot: Snapshot) -> None:
        pins = local_models(snapshot)
        problems = await self._load(pins)
        self._failures = {pin: self._failures.get(pin, 0) + 1 for pin in problems}
        built: dict[str, _Built] = {}
        remotes: dict[Place, RemoteTarget] = {}
        channels: dict[str, ShadowChannel] = {}
        paths: dict[bytes, Handler] = {}
        laps = Laps()  # hundreds of rollouts must not keep requests waiting
        for model, served in snapshot.rollouts.items():
            await laps.rest()
            one = built[model] = self._kept(model, served) or self._build(served, problems)
            remotes |= one.remotes
            channels |= one.channels
            paths |= one.paths
        await laps.rest()
        await _first_probes(remotes.values())
        self._built = built
        self.routes = {model: one.route for model, one in built.items() if one.route is not None}
        self.problems = problems
        self.snapshot = snapshot
        self.paths = paths
        self.swapped()
        self._revision.set(snapshot.revision)
        await self._set_weights(snapshot, laps)
        self._limits.settle()
        self._release(remotes, channels, set(pins))

    def _kept(self, model: str, served: ServedRollout) -> "_Built | None":
        """What stands already, where neither the rollout nor what is loaded for its stable has changed."""
        one = self._built.get(model)
        if one is None or one.served != served or one.route is None:
            return None
        if served.stable.url is None and self._models.ready.get(one.stable) is not one.loaded:
            return None
        for target in one.route.targets:
            self._limits.keep(target)
        return one

    def _build(self, served: ServedRollout, problems: dict[Pin, str]) -> "_Built":
        """A rollout's route; where its stable cannot be loaded the one before, or none."""
        model, pin = served.rollout.model, served.pin(served.stable)
        remotes: dict[Place, RemoteTarget] = {}
        channels: dict[str, ShadowChannel] = {}
        stable = self._stable(served, remotes)
        if stable is None:
            before = self._built.get(model)
            if before is not None and before.route is not None:
                return replace(before, served=None)
            reason = problems.get(pin, "its target is not ready")
            nobody = Single(partial(_unavailable, model, reason))
            paths = self._watched(model, {None: nobody}, nobody)
            return _Built(None, pin, None, None, remotes, channels, paths)
        route = self._route(served, stable, remotes, channels)
        handlers: dict[str | None, Handler] = {None: checked(route.stable, self._drawn(served, route))}
        named = [target.model for target in route.targets]
        if served.elsewhere is not None:
            named.append(served.elsewhere.model)
        for name in reversed(named):  # of equal versions that of stable, or of the first candidate
            handlers[name.rpartition("/")[2]] = checked(route.stable, route.named(name))
        loaded = self._models.ready.get(pin)
        paths = self._watched(model, handlers, Predicting(handlers[None], lambda: route.stable.signature))
        return _Built(served, pin, loaded, route, remotes, channels, paths)

    def _watched(
        self, model: str, handlers: dict[str | None, Handler], of_v1: Handler
    ) -> dict[bytes, Handler]:
        """Who answers at which path."""
        found = {infer_path(model, number): handler for number, handler in handlers.items()}
        found[predict_path(model)] = of_v1
        return found if self._observer is None else self._observer.watched(found)

    def _stable(self, served: ServedRollout, remotes: dict[Place, RemoteTarget]) -> Target | None:
        if served.stable.url is not None:
            model = served.rollout.model
            return self._remote(
                model, served.stable, Address.of_url(served.stable.url), remotes, trusted=False
            )
        loaded = self._models.ready.get(served.pin(served.stable))
        if loaded is None:
            return None
        if self._observer is not None:
            loaded.trace_steps(self._observer.tracer)
        return LocalTarget(loaded)

    def _route(
        self,
        served: ServedRollout,
        stable: Target,
        remotes: dict[Place, RemoteTarget],
        channels: dict[str, ShadowChannel],
    ) -> Route:
        model = served.rollout.model
        sticky, segments = served.rollout.sticky_header, served.each()[0].segments
        return Route(
            model,
            self._limits.of(stable, canary=False),
            None if served.canary is None else self._candidate(served, served.canary, stable, remotes),
            arms=tuple(
                Side(self._metrics, model, self._candidate(served, arm.target, stable, remotes), arm.number)
                for arm in served.arms
            ),
            weight=served.weight,
            draw=served.draw,
            sinks=(*self._mirrors(served, channels), *self._sinks(served)),
            sticky_header=None if sticky is None else sticky.lower().encode(),
            timeout_seconds=served.rollout.timeout_seconds,
            segment_header=None if segments is None else segments.header.encode(),
            recorder=self._recorders.of(served).recorders[0],
            metrics=self._metrics,
            budget=self._budgets.setdefault(model, RetryBudget()),
            naming=self._naming.refusal,
            elsewhere="" if served.elsewhere is None else served.elsewhere.model,
            stamp=self._receipts.of(model, served.stage) if self._receipts and served.receipts else None,
        )

    def _candidate(
        self, served: ServedRollout, target: TargetName, stable: Target, remotes: dict[Place, RemoteTarget]
    ) -> Target:
        """Who answers for a candidate: its server, or its sandbox."""
        if target.url is not None:
            address = Address.of_url(target.url)
        else:
            address = Address.of_socket(str(self._run_dir.of(served.candidate(target, live=True)).socket))
        model, pin = served.rollout.model, served.pin(target)
        candidate = self._remote(model, target, address, remotes, pin, trusted=target.url is None)
        candidate.reference = lambda: stable.signature
        return self._limits.of(candidate, canary=True)

    def _drawn(self, served: ServedRollout, route: Route) -> Handler:
        """Answers the requests of a route that name nobody."""
        if served.elsewhere is not None:
            return route.drawn_by(partial(Choice, None, None, 0))
        counts = self._recorders.of(served)
        if not isinstance(counts, Abreast):
            return route
        return route.drawn_by(Several(route.candidates, [arm.weight for arm in served.arms], counts).choose)

    def _mirrors(self, served: ServedRollout, channels: dict[str, ShadowChannel]) -> list[Sink]:
        """To the shadows and to each candidate, and what has its model timed beside stable's."""
        sinks: list[Sink] = [
            Mirror(self._channel(served.candidate(shadow.target, live=False), channels), shadow.sample / 100)
            for shadow in served.shadows
            if shadow.sample > 0
        ]
        for one in served.each():
            if one.canary is None:
                continue
            candidate = one.candidate(one.canary, live=True)
            if one.mirror > 0:
                sinks.append(Mirror(self._channel(candidate, channels), one.mirror / 100))
            if one.paired_for is not None:
                sinks.append(Timing(self._channel(candidate, channels, timed=True), PAIR_SECONDS))
        return sinks

    def _remote(
        self,
        model: str,
        target: TargetName,
        address: Address,
        remotes: dict[Place, RemoteTarget],
        pin: Pin = _NO_PIN,
        *,
        trusted: bool,
    ) -> RemoteTarget:
        """A rollout's own: that another one finds the same target ready or unfit says nothing about it."""
        place = model, target, pin.sha256
        remote = remotes.get(place) or self._remotes.get(place)
        if remote is None:
            ejections = self._metrics.counter(EJECTIONS, target.key)
            access = None if trusted else Access(target.key, target.server, self._files, self._metrics)
            remote = RemoteTarget(
                target.key,
                target.model,
                address,
                ejections,
                trusted=trusted,
                server=target.server,
                access=access,
            )
            remote.tracer = self._observer.tracer if self._observer is not None else None
        remotes[place] = remote
        return remote

    def _channel(
        self, candidate: Candidate, channels: dict[str, ShadowChannel], *, timed: bool = False
    ) -> ShadowChannel:
        """The connection to a candidate's sandbox; what is to be timed has one of its own, and own counts."""
        place = f"{candidate.id}{' timed' if timed else ''}"
        channel = channels.get(place) or self._channels.get(place)
        if channel is None:
            family = PAIRS if timed else SHADOW
            dropped = self._metrics.counter(family, candidate.model, candidate.target.key, "dropped")
            path = self._run_dir.of(candidate).shadow
            channel = ShadowChannel(str(path), candidate.model, dropped, timed=timed)
        channels[place] = channel
        return channel

    async def _set_weights(self, snapshot: Snapshot, laps: Laps) -> None:
        weights: dict[tuple[str, str, str], float] = dict.fromkeys(self._weights, 0.0)
        for model, served in snapshot.rollouts.items():
            route = self.routes.get(model)
            if route is None or route.stable.key != served.stable.key:
                continue  # what is wanted is not served here yet
            weights[model, served.stable.key, "stable"] = served.stable_weight
            for arm in served.all_arms:
                weights[model, arm.target.key, "canary"] = arm.weight
            for shadow in served.shadows:
                weights[model, shadow.target.key, "shadow"] = shadow.sample
        for labels, percent in weights.items():
            await laps.rest()
            gauge = self._weights.get(labels)
            if gauge is None:
                gauge = self._weights[labels] = self._metrics.gauge(ROLLOUT_WEIGHT, *labels)
            gauge.set(percent)

    def _release(
        self, remotes: dict[Place, RemoteTarget], channels: dict[str, ShadowChannel], models: "set[Pin]"
    ) -> None:
        """Close what the new routes do not use, once no request of the old ones can be under way."""
        longest = max(
            (served.rollout.timeout_seconds for served in self.snapshot.rollouts.values()), default=0
        )
        unused = [remote for place, remote in self._remotes.items() if place not in remotes]
        silent = [channel for id_, channel in self._channels.items() if id_ not in channels]
        self._remotes, self._channels = remotes, channels
        for channel in silent:
            channel.close()
        kept = models | self._stable_pins()
        stale = [pin for pin in self._models.ready if pin not in kept]
        if unused or stale:
            self._spawn(self._close_later(unused, stale, 2 * longest + 1.0))

    def _stable_pins(self) -> set[Pin]:
        """Of the routes: of one that could not follow, that of the snapshot before."""
        return {one.stable for one in self._built.values() if one.route is not None}

    async def _close_later(self, unused: list[RemoteTarget], stale: list[Pin], seconds: float) -> None:
        await asyncio.sleep(seconds)
        for remote in unused:
            await remote.close()
        async with self._applying:  # what is being built may want them again
            for pin in stale:
                if pin not in {*local_models(self.snapshot), *self._stable_pins()}:
                    await self._models.unload(pin)

    # ------------------------------------------------------------------ report

    async def report(
        self, answered: int = 0
    ) -> tuple[list[ServedReport], list[TargetReport], list[StageReport]]:
        """What control is told: each rollout's targets, who answers as stable, and counts.

        Made in short laps; the parts of one rollout are of one moment, and of one snapshot.

        Args:
            answered: how many reports it has answered; reports are made one after the other.
        """
        laps = Laps()
        served_rows: list[ServedReport] = []
        targets: list[TargetReport] = []
        counts: list[StageReport] = []
        for model in dict.fromkeys((*self.snapshot.rollouts, *self._recorders.kept)):
            await laps.rest()
            if (route := self.routes.get(model)) is not None:
                sha256 = self._built[model].stable.sha256
                served_rows.append(ServedReport(model=model, target=route.stable.key, sha256=sha256))
            if (served := self.snapshot.rollouts.get(model)) is not None:
                targets += [
                    self._target_report(model, role, target, served.pin(target))
                    for role, target in served.roles()
                    if role != "shadow"
                ]
            counts += [
                StageReport(
                    model=model,
                    stage=recorder.stage,
                    candidate=recorder.candidate,
                    counts=recorder.report(answered),
                )
                for recorder in self._recorders.each(model)
            ]
        return served_rows, targets, counts

    def _target_report(self, model: str, role: str, target: TargetName, pin: Pin) -> TargetReport:
        place = model, target, pin.sha256
        remote = self._remotes.get(place) if role == "canary" or target.url else None
        failures = 0
        if remote is None:
            ready = self._models.ready.get(pin)
            problem = self.problems.get(pin, "not loaded") if ready is None else ready.problem
            failures = self._failures.get(pin, 0)
        else:
            problem = remote.problem
            if remote.failing and not problem:  # no step may end while its canary answers nobody
                problem = "ejected after consecutive failures"
        return TargetReport(
            model=model,
            target=target.key,
            role=role,
            ready=not problem,
            problem=problem[:5000],
            sha256=pin.sha256,
            failures=failures,
        )


async def _first_probes(remotes: Iterable[RemoteTarget]) -> None:
    """Wait until it is known of each whether it is ready: no edit may send clients to one not yet asked."""
    new = [asyncio.ensure_future(each.probed.wait()) for each in remotes if not each.probed.is_set()]
    if new:
        _, late = await asyncio.wait(new, timeout=PROBED_SECONDS)
        for each in late:
            each.cancel()


def _unavailable(model: str, reason: str, call: Call) -> NoReturn:  # noqa: ARG001  (a handler's signature)
    raise Unavailable(f"model {model!r} is not ready: {reason}")
