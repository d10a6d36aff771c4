"""The control plane put together: store, catalogue, door, nodes, autopilot, file, metrics, events."""

import asyncio
import gc
import math
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, get_args

import orjson
import structlog

from control.dashboard.door import Dashboard
from control.drift.held import Drift
from control.drift.metrics import DriftCollector
from control.fleet.examples import Gallery
from control.fleet.nodes import Nodes
from control.fleet.snapshots import Snapshots
from control.follow.deliveries import Deliveries
from control.follow.follower import FOLLOW, NO_REGISTRY, Follower
from control.follow.telling import Telling
from control.judging.outcomes.best import BestOf
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.metrics import (
    APPROVALS,
    CONFIG_REJECTED,
    FOLLOW_HOOKS,
    NODES_REFUSING,
    OUTCOMES,
    ROLLOUT_PHASE,
    ROLLOUT_STEP,
)
from control.notify.file import read
from control.notify.notifier import Notifier
from control.notify.ways import secret_bytes
from control.outcomes.book import Book
from control.outcomes.desk import Desk, InForce
from control.outcomes.keyring import DAY_SECONDS, Keyring
from control.outcomes.pairs import PairBook
from control.people.file import People, load
from control.pilot.approval_links import ApprovalLinks
from control.pilot.approvals import Approvals
from control.pilot.autopilot import Autopilot
from control.pilot.examiner import Examiner
from control.pilot.hooks import Hooks
from control.pilot.prometheus import Prometheus
from control.rollouts.catalogue import Catalogue
from control.rollouts.epochs import in_new_epoch
from control.rollouts.file import RolloutFile
from control.rollouts.state import Phase
from control.rollouts.writer import IN_DOUBT, REPOSITORY, Door, Entry, local
from control.settings import ControlSettings
from control.store.approvals import Refusal
from control.store.given import Given
from control.store.leader import Leader, NotLeading
from control.store.store import Store
from control.views.attention import Attention
from control.views.models import model_view
from control.views.needs import Need
from control.views.outcomes import ToldOfRollout, outcomes_view
from control.views.refusing import Refusing, refusing
from router.record.metrics import RecordsCollector
from router.rollout.parser import of_an_older_release, parse, parse_one
from router.rollout.values import Rollout
from router.wire.report import Report
from serving.admission.reloading import Reloading
from serving.errors import ServingError
from serving.sources.mlflow.api import Registry
from serving.telemetry.cells import FolderCollector, Metrics
from serving.telemetry.log_sink import log_sink

log = structlog.get_logger()


class Plane:
    """Everything that control does, without HTTP."""

    version = version("understudy")

    def __init__(self, settings: ControlSettings) -> None:
        folder = settings.state_dir / "metrics"
        self._metrics = Metrics(folder, "control")
        log_sink().count_in(self._metrics)
        self.catalogue = Catalogue(settings.origin, settings.state_dir / "verified")
        self.drift = Drift(self.catalogue.source)
        self.collectors = (
            FolderCollector(folder),
            RecordsCollector(settings.state_dir),
            DriftCollector(self.drift),
        )
        self._store = Store(settings.store_url, answer_seconds=settings.database_seconds)
        self.leader = Leader(self._store, settings.lead_lock)
        self._taking_up = asyncio.Lock()
        self.keyring = Keyring(self._store, settings.receipt_key_days * DAY_SECONDS, self._longest)
        self.door = Door(self._store, self.catalogue)
        self.desk = Desk(self._store.outcomes, self.keyring, self._in_force, self._metrics)
        self.pairs = PairBook(
            self._store.pairs,
            self._in_force,
            self.catalogue.class_names,
            lambda: self.leader.leads,
        )
        self.book = Book(self._store.outcomes, self._in_force, lambda: self.leader.leads)
        self.nodes = Nodes(lambda report: self.given.barred(report.held), settings.served_share)
        self.gallery = Gallery()
        self._prometheus = Prometheus(settings.prometheus)
        self._shown: set[str] = set()  # the models whose phase is in the metrics
        self.examiner = Examiner(self.nodes, self._prometheus, self._metrics, self._outcomes, self._best)
        self.book.lost = self.pairs.lost = self.examiner.forget_outcomes
        self.door.aa_seen = self.examiner.aa_evidence
        self.attention = Attention(self.door, self.nodes, self.examiner, self._own_needs)
        self.dashboard = Dashboard(
            self.door, self.nodes, self.examiner, self.attention, self.told, self.follow_view
        )
        secret = settings.hook_secret.get_secret_value()
        self._hooks = Hooks(self.door, secret_bytes(secret) if secret else None, self._metrics)
        self._autopilot = Autopilot(
            self.door, self.nodes, self.examiner, looked=self._looked, hooks=self._hooks
        )
        self.approvals = Approvals(self.door, self.examiner)
        self._people: Reloading[People] | None = None
        if (tokens := settings.tokens) is not None:
            self._people = Reloading("tokens", (tokens,), lambda: load(tokens), self._metrics)
        self._link_key = b""
        self._stranger_at = self._hook_refused_at = -math.inf
        self.links = ApprovalLinks(self.door, self.approvals, self.people, lambda: self._link_key)
        self._rollouts = settings.rollouts
        self._strict = settings.rollouts_strict
        self._new_epoch = settings.new_epoch
        # With several controls over one database this one's copy may be an old one.
        alone = settings.lead_lock is not None
        self._kept_file = settings.state_dir / "rollouts.accepted" if alone else None
        self.file: RolloutFile | None = None
        self._rejected = self._metrics.counter(CONFIG_REJECTED)
        self._notifier: Notifier | None = None
        if settings.notifications is not None:
            told = read(settings.notifications)
            links = self.links.for_each
            self._notifier = Notifier(told, self._store, self.leader, self._metrics, links)
        self._watch_aliases(settings)
        self._tasks: list[asyncio.Task[None]] = []
        self.snapshots = Snapshots()
        self.door.listeners.append(self._announce)

    def _watch_aliases(self, settings: ControlSettings) -> None:
        """What follows aliases of MLflow, and tells it what became of its versions."""
        registry = _registry([settings.mlflow] if settings.mlflow else settings.models.named)
        self.door.no_registry = NO_REGISTRY if registry is None else ""
        self.follower = Follower(
            registry, self.door, self.leader, self._metrics, self._not_followed, settings.follow_seconds
        )
        self._telling: Telling | None = None
        if registry is not None:
            link = settings.admin_url.rstrip("/") or (self._notifier.link if self._notifier else None)
            self._telling = Telling(registry, self._store, self.leader, self._metrics, link)
        self.deliveries = self._deliveries(settings.mlflow_webhook_secret.get_secret_value().split())

    async def start(self) -> None:
        """Take the lead, take up what is stored, then follow the file and the clock; all beside requests."""
        self._run("lead", self._lead())
        if self._people is not None:
            self._run("tokens", self._people.run())

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a part beside requests. None may end by a fault unseen: the process then ends with it."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_end_with)
        self._tasks.append(task)

    async def _lead(self) -> None:
        await self.leader.take()
        if self._new_epoch:
            epoch = await asyncio.to_thread(self._store.new_epoch, in_new_epoch)
            log.warning("a new epoch begins: nodes take what is stored, whatever they hold", epoch=epoch)
        self._run("leader", self.leader.keep(self._take_up))  # a lease that rests meanwhile would be lost
        await self._take_up()
        self._run("keys for receipts", self.keyring.run())
        self._run("pairs for labels", self.pairs.run())
        self._run("outcomes", self.book.run())
        if self._notifier is not None:
            await self._notifier.start()
        if self._rollouts is not None:
            accepted = await asyncio.to_thread(self._accepted_from_file)
            self.file = RolloutFile(
                self._rollouts, self.door, accepted, self.rejected, kept=self._kept_file, strict=self._strict
            )
            self._run("rollout file", self.file.run())
        else:
            await self._serve_all()
        self._run("autopilot", self._autopilot.run())
        self._run("followed aliases", self.follower.run())
        if self._telling is not None:
            self._run("what MLflow is told", self._telling.run())
        gc.freeze()  # else a full collection, as outcomes bring about, stalls everything for .3 s

    async def _take_up(self) -> None:
        async with self._taking_up:
            await self._take_up_alone()

    async def _take_up_alone(self) -> None:
        await self.keyring.tend()  # first: a worker is told the keys with its first snapshot
        if self._people is not None:
            self._link_key = await asyncio.to_thread(self._store.approvals.key, time.time())
        await self.door.open()
        self.nodes.begin_anew()
        kept = await asyncio.to_thread(self._store.evidence)
        await self.book.take_up()  # after that, so that nothing kept is of outcomes that are not there
        await self.pairs.take_up()
        self.examiner.take_up(kept)
        await self.door.pin()
        self._follow()

    async def stop(self) -> None:
        """End what runs beside requests."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._notifier is not None:
            await self._notifier.stop()
        with suppress(ServingError):
            await self.leader.resign()
        await self._hooks.stop()
        await self._prometheus.close()
        self._store.close()

    async def _serve_all(self) -> None:
        """Without a rollout file each model of the repository is served at its highest version.

        That is chosen once: what is stored stays, also when a higher version has come since, and a name that
        was deleted does not come back.
        """
        source = self.catalogue.source
        names = {entry.name for entry in await asyncio.to_thread(source.discover)}
        rollouts = []
        for name in sorted(names):
            try:
                [highest, *_] = await asyncio.to_thread(source.served, name)
            except (ServingError, ValueError):  # it went, or is away, a moment later
                continue
            entry = self.door.entries.get(name)
            if entry is not None:
                _say_what_stays(entry, highest.version)
            elif await asyncio.to_thread(self.door.history, name, 1, None):
                log.info(
                    "not served: deleted; `understudy rollouts apply` brings it back",
                    model=name,
                )
            else:
                document = orjson.dumps({"stable": f"{name}/{highest.version}"})
                rollouts.append(parse_one(name, document, "repository"))
        await self.catalogue.verify(rollouts)
        servable = []
        for rollout in rollouts:
            with suppress(ServingError):  # `understudy models check` says why
                await self.catalogue.check(rollout)
                servable.append(rollout)
        if servable:
            await self.door.put(servable, REPOSITORY, "no rollout file: the highest version of each model")
        for rollout in servable:
            log.info(
                "no rollout file: the highest version is stable from now on, also when a higher one comes",
                model=rollout.model,
                stable=rollout.stable.key,
            )

    def _accepted_from_file(self) -> Mapping[str, Rollout]:
        """What the file said when it was last accepted, by the audit log, or as kept where that was lost."""
        assert self._rollouts is not None
        accepted, kept = {}, self._kept()
        for model in self.door.entries:
            for revision in self.door.history(model, 1000, None):
                if revision.kind == "file" and revision.document is not None:
                    accepted[model], _ = of_an_older_release(model, revision.document, f"store/{model}")
                    break
                if revision.kind == "restore" and model in kept:
                    accepted[model] = kept[model]
                    break
        return accepted

    def _kept(self) -> Mapping[str, Rollout]:
        if self._kept_file is None:
            return {}
        try:
            return parse(self._kept_file.read_bytes(), self._kept_file.name)
        except (OSError, ServingError):
            return {}

    @property
    def given(self) -> Given:
        """The revisions of the state database."""
        return self._store.given

    def people(self) -> People:
        """Those with tokens of their own, as they are now."""
        return People() if self._people is None else self._people.value

    async def refused_approval(self, model: str, person: str, reason: str) -> None:
        """Keep that an approval did not count; where the store does not answer, only the log says so."""
        self._metrics.counter(APPROVALS, model, "refused").add()
        if not person and time.monotonic() - self._stranger_at < 1.0:  # who tries often fills no log
            return
        if not person:
            self._stranger_at = time.monotonic()
        log.warning("an approval was refused", model=model, person=person, reason=reason)
        refusal = Refusal(time.time(), model, person, reason)
        with suppress(ServingError):
            await asyncio.to_thread(self._store.approvals.refused, refusal)

    def refused_hook(self, reason: str) -> None:
        """Log that a webhook of MLflow was refused, once a second at most: anybody may send one."""
        if time.monotonic() - self._hook_refused_at >= 1.0:
            self._hook_refused_at = time.monotonic()
            log.warning("a webhook of MLflow was refused", reason=reason)

    def approved(self, model: str, outcome: str) -> None:
        """Count what someone who may approve said."""
        self._metrics.counter(APPROVALS, model, outcome).add()

    def refusals(self, model: str, limit: int) -> tuple[Refusal, ...]:
        """Approvals of a rollout that did not count, the latest first; blocks."""
        return self._store.approvals.refusals(model, limit)

    def hear(self, report: Report) -> None:
        """Take in a report; a rollout whose canary failed is looked at soon."""
        kept = report
        if report.examples is not None or report.pairs is not None or report.drift:
            beside = {"examples": None, "pairs": None, "drift": ()}
            kept = report.model_copy(update=beside)  # others hold values
        standing = self.given.standing(report.held)
        if standing == "foreign":  # what it counts may be of other stages with the numbers of ours
            kept = kept.model_copy(update={"revision": 0, "counts": ()})
        elif standing == "before":
            kept = kept.model_copy(update={"revision": 0})
        self._autopilot.look_soon(self.nodes.hear(kept, time.monotonic()))
        if report.examples is not None:
            self.gallery.hear(report.instance, report.examples)
        if report.pairs is not None:
            self.pairs.hear(report.instance, report.pairs)
        if report.drift:
            self.drift.window.hear(report.instance, report.drift, time.time())

    def rejected(self, problem: str, model: str = "", actor: str = "file") -> None:
        """Count a refused document, and tell of it.

        Args:
            problem: why, with file, line and column.
            model: the public name; empty for a whole file.
            actor: who brought it.
        """
        self._rejected.add()
        if self._notifier is not None:
            self._notifier.refused(problem, model, actor)

    def _not_followed(self, problem: str, model: str) -> None:
        """Tell of an alias that is not followed as it should be."""
        if self._notifier is not None:
            self._notifier.refused(problem, model, FOLLOW.name, "not_followed")

    def _deliveries(self, secrets: Sequence[str]) -> Deliveries | None:
        if not secrets:
            return None
        counts = {
            each: self._metrics.counter(FOLLOW_HOOKS, each)
            for each in ("taken", "forged", "late", "replayed")
        }
        return Deliveries(secrets, lambda outcome: counts[outcome].add())

    def follow_view(self, entry: Entry) -> dict[str, Any] | None:
        """What a rollout follows, and how that goes."""
        view = self.follower.view(entry.rollout.model, entry.rollout.follow)
        if view is not None and self._telling is not None and self._telling.problem:
            view["problem"] = "; ".join(filter(None, [view["problem"], self._telling.problem]))
        return view

    def problem(self) -> str:
        """Why control is not ready; empty when it is."""
        if self._store.in_doubt:
            return IN_DOUBT
        if self._store.problem:
            return self._store.problem
        return self.problem_of_lead() or (self.file.problem if self.file is not None else "")

    def refusing(self) -> Refusing:
        """The nodes that take no snapshot."""
        return refusing(self.nodes, time.monotonic())

    def problem_of_lead(self) -> str:
        """Why nodes should not report here; empty when they should, whatever the rollout file is like."""
        if not self.leader.leads:
            return self._store.problem or "another control leads"
        return "" if self.door.is_open else "control is starting"

    def require_lead(self) -> None:
        """Refuse what only the control that leads may take.

        Raises:
            NotLeading: another leads, or none.
        """
        if not self.leader.leads:
            raise NotLeading(self.problem_of_lead())

    def _own_needs(self) -> list[Need]:
        """What is the matter here that is of no rollout."""
        if self._store.in_doubt or self._store.problem:
            sentence = f"{self.problem()}; nothing can be changed, and what routers got last is in force"
            return [Need("store_silent", "The store does not answer", sentence)]
        if not self.leader.leads:
            sentence = "another control leads, or none yet; what is shown here is not what is in force"
            return [Need("not_leading", "Not leading", sentence)]
        return [*self.refusing().needs(), *self._file_refused(), *self._not_following()]

    def _file_refused(self) -> list[Need]:
        problem = self.problem()
        if not problem:
            return self._refused_rollouts()
        rest = "what was accepted before is in force" if self.door.entries else "nothing is in force"
        return [Need("file_refused", "Rollout file refused", f"{problem}; {rest}")]

    def _refused_rollouts(self) -> list[Need]:
        """The rollouts at fault of a file whose others are in force."""
        found = []
        for model, why in (self.file.refused if self.file is not None else {}).items():
            known = model in self.door.entries
            rest = "what was accepted before is in force" if known else "it is not served"
            found.append(Need("file_refused", "Rollout refused", f"{why}; {rest}", model))
        return found

    def _not_following(self) -> list[Need]:
        """The rollouts that cannot follow their aliases as they should."""
        views = ((model, self.follow_view(entry)) for model, entry in self.door.entries.items())
        return [
            Need("not_followed", "Alias not followed", f"{model}: {view['problem']}", model)
            for model, view in views
            if view is not None and view["problem"]
        ]

    def models(self) -> list[dict[str, Any]]:
        """For `GET /v1/models`."""
        in_use = self._in_use()
        accepted: dict[str, str] = {}
        for rollout in self.door.entries.values():
            accepted |= rollout.digests
        found = {f"{entry.name}/{entry.version}": entry for entry in self.catalogue.source.discover()}
        return [
            {
                "name": entry.name,
                "version": entry.version,
                "sha256": self.catalogue.digest(entry) or accepted.get(key, ""),
                "rollouts": in_use.get(key, []),
            }
            for key, entry in found.items()
        ]

    async def model(self, name: str, version: str) -> dict[str, Any]:
        """For `GET /v1/models/{name}/{version}`.

        Raises:
            ServingError: as `Catalogue.described`.
        """
        entry, report, lineage = await self.catalogue.described(name, version)
        place, rollouts = self.catalogue.place(entry), self._in_use().get(f"{name}/{version}", [])
        return await asyncio.to_thread(model_view, entry, report, lineage, place, rollouts)

    def _in_use(self) -> dict[str, list[str]]:
        """Rollouts by the local models that they use."""
        found: dict[str, list[str]] = {}
        for model, served in self.door.snapshot.rollouts.items():
            targets = {target.model: None for role, target in served.roles() if role != "warm"}
            for target in targets:
                found.setdefault(target, []).append(model)
        return found

    def _in_force(self) -> dict[str, InForce]:
        """As those who take and judge outcomes want it."""
        return {model: _in_force(entry) for model, entry in self.door.entries.items()}

    def _longest(self) -> float:
        """How late an outcome may come, of any rollout; infinitely while it is not known which there are."""
        if not self.door.is_open:
            return math.inf
        rollouts = (entry.rollout for entry in self.door.entries.values())
        return max((each.within_seconds for rollout in rollouts for each in rollout.outcomes), default=0.0)

    def _outcomes(self, entry: Entry) -> dict[str, list[StageOutcomes]]:
        """What outcomes have come to, for the examiner: each stage that is judged, by guard."""
        found = _in_force(entry)
        return {**self.book.outcomes(found), **self.pairs.outcomes(found)}

    def _best(self, entry: Entry) -> BestOf | None:
        """How far the search for the best of an A/B/n test has come."""
        found = _in_force(entry)
        return self.book.best(found) or self.pairs.best(found)

    def told(self, entry: Entry) -> ToldOfRollout:
        """What was told of a rollout's answers since its canary is judged, and what labels have come to."""
        found = _in_force(entry)
        rollout, stages = entry.rollout, range(found.judged_from, found.stage + 1)
        names = [outcome.name for outcome in rollout.outcomes]
        told = {name: [self.book.told(rollout.model, stage, name) for stage in stages] for name in names}
        left_out = {name: self.desk.left_out_of(rollout.model, name) for name in names}
        return ToldOfRollout(outcomes_view(rollout, told, left_out), self.pairs.view(found))

    def models_ever(self) -> tuple[str, ...]:
        """Every public name that there was, deleted ones too."""
        return self._store.models()

    # ------------------------------------------------------------------ events

    def _looked(self) -> None:
        """After each tick of the autopilot."""
        self.dashboard.look()
        for reason, number in self.refusing().counts.items():
            self._metrics.gauge(NODES_REFUSING, reason).set(number)

    def _announce(self, kind: str, event: Mapping[str, Any]) -> None:
        self._follow()
        self.dashboard.feed.announce(kind, event)

    def _follow(self) -> None:
        """What is in force has changed."""
        self.gallery.follow(entry.rollout for entry in self.door.entries.values())
        if self._notifier is not None:
            self._notifier.look()
        self._hooks.follow()
        self.follower.look()
        if self._telling is not None:
            self._telling.woken.set()
        self._show_phases()

    def _show_phases(self) -> None:
        for model in self._shown - self.door.entries.keys():
            for phase in get_args(Phase):
                self._metrics.gauge(ROLLOUT_PHASE, model, phase).withdraw()
            self._metrics.gauge(ROLLOUT_STEP, model).withdraw()
            self.examiner.forget(model)
            self.desk.forget(model)
        self._shown = set(self.door.entries)
        for model, entry in self.door.entries.items():
            progress = entry.progress
            for phase in get_args(Phase):
                self._metrics.gauge(ROLLOUT_PHASE, model, phase).set(float(phase == progress.phase))
            stepped = entry.rollout.canary is not None and bool(entry.rollout.canary.steps)
            self._metrics.gauge(ROLLOUT_STEP, model).set(progress.step + 1.0 if stepped else 0.0)
            for outcome in entry.rollout.outcomes:  # from the start, so that none is 0 and not nothing
                self._metrics.counter(OUTCOMES, model, outcome.name, "accepted")


def _registry(places: Sequence[str]) -> Registry | None:
    """The first of these places that is a server, as only MLflow is; None where there is none."""
    return next((Registry(place) for place in places if place.startswith(("mlflow+", "http"))), None)


def _in_force(entry: Entry) -> InForce:
    return InForce(entry.rollout, entry.progress.judged_from, entry.progress.stage, entry.number)


def _end_with(task: asyncio.Task[None]) -> None:
    """End the process when one of its parts failed; the supervisor starts a new one."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of control failed", part=task.get_name(), exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def _say_what_stays(entry: Entry, highest: str) -> None:
    """Say that a higher version than any that the rollout needs is there, and how it would be served."""
    model = entry.rollout.model
    named = [target.model.split("/") for target in local(entry.rollout, entry.progress)]
    versions = [int(version) for name, version in named if name == model]
    if versions and int(highest) > max(versions):
        log.warning(
            "a higher version is there and not served; `understudy rollouts apply` rolls it out",
            model=model,
            stable=entry.progress.stable.key,
            version=highest,
        )
