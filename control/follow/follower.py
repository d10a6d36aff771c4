"""Watches the aliases that rollouts follow, and begins a rollout when one has moved.

Law: what decides is where the alias stands when MLflow is asked, never what a webhook said: that is only a
reason to ask now. It must have stood there for `SETTLE_SECONDS`, and still stand there once the model is
verified; of quick moves the newest wins. A change is based on the revision that was looked at. What cannot be
served changes nothing: it is told once, and tried again when the alias moves, or later, ever more rarely.
Rollouts are looked at beside each other, so what is slow over one holds up no other: MLflow is asked about
`ASK_AT_ONCE`, and models are fetched and verified for `BEGIN_AT_ONCE`. Only the leader looks.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from control.metrics import FOLLOW_ASKED, FOLLOW_PROBLEMS
from control.rollouts.following import begins, moved
from control.rollouts.writer import Actor, Door, Entry
from control.store.leader import Leader
from control.store.store import Stale
from router.rollout.values import Follow
from serving.errors import InvalidInput, NotFound, ServingError
from serving.sources.mlflow.api import Registry
from serving.telemetry.cells import Metrics

log = structlog.get_logger()

FOLLOW = Actor("follow", "follow")
NO_REGISTRY = (
    "it is not said whose aliases are followed: start control with --mlflow https://..., or with"
    " mlflow+https://... in --models"
)
SETTLE_SECONDS = 2.0
AGAIN_SECONDS, LONGEST_SECONDS = 10.0, 600.0
"""After a refusal the same version is tried again after so long, then twice as long, up to the second."""
ASK_AT_ONCE = 4
"""In threads of their own: those that all of control shares are few on a small machine."""
BEGIN_AT_ONCE = 2


@dataclass(slots=True)
class Watch:
    """What is known of one followed alias; times are of a monotonic clock.

    Attributes:
        alias: of which model, and which.
        version: where it stood when last asked; None: nowhere, or not asked yet.
        since: when it was first seen there.
        asked: whether MLflow has answered yet.
        due: when to ask again.
        hinted: a webhook came since MLflow was asked, or is being asked.
        problem: why it is not followed as it should be; empty where it is.
        refused: the version that cannot be served.
        again: when that is tried again.
        pause: after the next refusal of the same.
        failures: how often in a row MLflow could not be asked.
    """

    alias: tuple[str, str]
    version: int | None = None
    since: float = 0.0
    asked: bool = False
    due: float = 0.0
    hinted: bool = False
    problem: str = ""
    refused: int | None = None
    again: float = 0.0
    pause: float = AGAIN_SECONDS
    failures: int = 0

    def saw(self, version: int | None, now: float) -> None:
        """MLflow has said where it stands."""
        if version != self.version or not self.asked:
            self.version, self.since, self.asked = version, now, True
        if version != self.refused:
            self.refused, self.pause = None, AGAIN_SECONDS
        self.failures = 0

    def refuse(self, version: int, problem: str, now: float) -> bool:
        """It cannot be served; whether that is news."""
        news = self.refused != version
        self.refused, self.problem = version, problem
        self.again = self.due = now + self.pause
        self.pause = min(2 * self.pause, LONGEST_SECONDS)
        return news


class Follower:
    """All followed aliases of one MLflow server.

    Args:
        registry: the server; None where no place of models is one.
        door: where changes go through.
        leader: nothing is looked at unless it leads.
        metrics: what came of asking is counted there.
        refused: told once of a version that cannot be served, or a server that does not answer: why, and the
            public name.
        seconds: between two questions, where nothing else asks for one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        registry: Registry | None,
        door: Door,
        leader: Leader,
        metrics: Metrics,
        refused: Callable[[str, str], None],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._door = door
        self._leader = leader
        self._metrics = metrics
        self._refused = refused
        self._seconds = seconds
        self._clock = clock
        self._watches: dict[str, Watch] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(ASK_AT_ONCE, "follow")
        self._beginning = asyncio.Semaphore(BEGIN_AT_ONCE)
        self._woken = asyncio.Event()

    def look(self) -> None:
        """What is in force may have changed."""
        self._woken.set()

    def hint(self, registered: str | None) -> list[str]:
        """Something of a registered model has changed, or of any; ask now.

        Returns:
            The rollouts that follow it.
        """
        found = [
            model
            for model, entry in self._door.entries.items()
            if entry.rollout.follow is not None and registered in {None, entry.rollout.follow.model}
        ]
        for model in found:
            if (watch := self._watches.get(model)) is not None:
                watch.due, watch.hinted = 0.0, True
        self._woken.set()
        return found

    async def run(self) -> None:
        """Look for ever; a fault of one look is one of this."""
        try:
            while True:
                due = self._clock() + self._seconds
                self._forget_ended()
                if self._leader.leads and self._door.is_open:
                    due = min([due, *self._begin_looking()])
                await self._until(due)
        finally:
            for task in self._looking.values():
                task.cancel()
            await asyncio.gather(*self._looking.values(), return_exceptions=True)
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget_ended(self) -> None:
        for model, task in list(self._looking.items()):
            if task.done():
                del self._looking[model]
                task.result()

    def _begin_looking(self) -> list[float]:
        """Look at each rollout that is due and not looked at already; when the others are due."""
        waiting = []
        for model, watch in self._followed().items():
            if model in self._looking:
                continue
            if watch.due > self._clock():
                waiting.append(watch.due)
                continue
            task = asyncio.create_task(self._look_at(model, watch), name=f"alias that {model} follows")
            task.add_done_callback(lambda _: self._woken.set())
            self._looking[model] = task
        return waiting

    async def _until(self, due: float) -> None:
        seconds = max(due - self._clock(), 0.05)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, self._seconds)):
                await self._woken.wait()
        self._woken.clear()

    def _followed(self) -> dict[str, Watch]:
        """By model the rollouts that follow an alias; what was known of others is forgotten."""
        found = {}
        for model, entry in self._door.entries.items():
            follow = entry.rollout.follow
            if follow is not None:
                alias = follow.model, follow.alias
                watch = self._watches.get(model)
                found[model] = watch if watch is not None and watch.alias == alias else Watch(alias)
        for model in self._watches.keys() - found.keys():
            self._metrics.gauge(FOLLOW_PROBLEMS, model).withdraw()
        self._watches = found
        return found

    async def _look_at(self, model: str, watch: Watch) -> None:
        entry = self._door.entries.get(model)
        if entry is None:  # deleted meanwhile
            return
        watch.hinted = False
        await self._look(model, entry, watch)
        if watch.hinted:  # that was asked before what it tells of
            watch.due = 0.0
        if self._watches.get(model) is watch:
            self._metrics.gauge(FOLLOW_PROBLEMS, model).set(float(bool(watch.problem)))

    async def _look(self, model: str, entry: Entry, watch: Watch) -> None:
        follow = entry.rollout.follow
        if follow is None:
            return
        try:
            version = await self._ask(follow, watch)
        except ServingError as error:
            self._not_answered(model, watch, str(error))
            return
        now = self._clock()
        watch.due = now + self._seconds
        if version is None:
            said = f"MLflow knows no alias {follow.alias} of {follow.model}; what is in force stays"
            if watch.problem != said:
                log.warning("a followed alias is gone", model=model, reason=said)
            watch.problem = said
        elif not begins(entry.rollout, entry.progress, version):
            watch.problem = ""
            if entry.progress.phase == "promoting":
                watch.due = now + SETTLE_SECONDS
        elif now - watch.since < SETTLE_SECONDS:
            watch.due = watch.since + SETTLE_SECONDS
        elif watch.refused == version and now < watch.again:
            watch.due = min(watch.due, watch.again)
        else:
            async with self._beginning:
                await self._begin(model, entry, watch, version)

    async def _ask(self, follow: Follow, watch: Watch) -> int | None:
        """Where the alias stands.

        Raises:
            ServingError: that is not known.
        """
        if self._registry is None:
            raise InvalidInput(NO_REGISTRY)
        loop = asyncio.get_running_loop()
        try:
            aliases = (await loop.run_in_executor(self._threads, self._registry.model, follow.model)).aliases
        except NotFound:
            aliases = {}
        said = aliases.get(follow.alias)
        if said is not None and not (said.isascii() and said.isdigit() and 0 < len(said) < 11):
            raise InvalidInput(f"MLflow says that {follow.alias} is at {said[:40]!r}, which is no version")
        version = None if said is None else int(said)
        self._metrics.counter(FOLLOW_ASKED, "answered").add()
        watch.saw(version, self._clock())
        return version

    def _not_answered(self, model: str, watch: Watch, reason: str) -> None:
        self._metrics.counter(FOLLOW_ASKED, "failed").add()
        watch.failures += 1
        watch.due = self._clock() + min(2.0 ** min(watch.failures, 10) / 2, max(self._seconds, 1.0))
        said = f"it is not known where its alias {watch.alias[1]} stands: {reason}"
        if watch.failures == 3:  # one that restarts is no news
            log.warning(
                "a followed alias cannot be asked for; what is in force stays", model=model, reason=reason
            )
            self._refused(said, model)
        watch.problem = said

    async def _begin(self, model: str, entry: Entry, watch: Watch, version: int) -> None:
        """Begin a rollout of this version, if it can be served and the alias still stands there."""
        follow = entry.rollout.follow
        assert follow is not None  # `begins` says so
        try:
            rollout = moved(entry.rollout, entry.progress, version)
            if fault := (await self._door.faults([rollout])).get(model):
                raise fault
            if await self._ask(follow, watch) != version:
                watch.due = 0.0
                return
            was = "" if follow.version is None else f", after {follow.version}"
            reason = f"{follow.alias} of {follow.model} is at version {version}{was}"
            await self._door.put([rollout], FOLLOW, reason, based_on=entry.revision)
        except Stale:
            watch.due = 0.0
        except ServingError as error:
            problem = f"version {version} of {follow.model} is not tried: {error}"
            if watch.refuse(version, problem, self._clock()):
                self._refused(problem, model)
        else:
            watch.problem = ""

    def view(self, model: str, follow: Follow | None) -> dict[str, Any] | None:
        """What is followed, for those who look at a rollout; None where nothing is."""
        if follow is None:
            return None
        watch = self._watches.get(model)
        return {
            "alias": follow.alias,
            "promote": follow.promote,
            "model": follow.model,
            "at": follow.version,
            "seen": watch.version if watch is not None else None,
            "problem": watch.problem if watch is not None else "",
        }
