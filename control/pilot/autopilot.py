"""Every second, and soon after a canary failed: counts -> verdicts -> progress -> store.

The only place where time moves a rollout.

Law: what comes of a look is based on the revision that was looked at. When the rollout was changed
meanwhile nothing comes of it, and the next look is at what is in force then.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import structlog

from control.fleet.acknowledged import Acknowledged
from control.fleet.nodes import Nodes
from control.judging.outcomes.best import BestOf
from control.judging.verdicts import Judgement, as_json
from control.pilot.examiner import Examiner
from control.pilot.hooks import Hooks
from control.rollouts.events import (
    BestFound,
    Event,
    Pause,
    PromotionFailed,
    TakenOff,
    TargetsReady,
    Tick,
)
from control.rollouts.placing import waves as waves_of
from control.rollouts.progress import promotes
from control.rollouts.state import wave_of
from control.rollouts.writer import Actor, Door, Entry
from control.store.store import Stale
from serving.errors import ServingError

log = structlog.get_logger()

AUTOPILOT = Actor("autopilot", "autopilot")
TICK_SECONDS = 1.0
GATHER_SECONDS = 0.05
"""Failures that are reported within so long are looked at together."""


class Autopilot:
    """Moves rollouts.

    Args:
        door: where changes go through.
        nodes: what the data plane last said.
        examiner: judges rollouts.
        clock: monotonic seconds.
        looked: called after every tick, whatever came of it.
        hooks: asks the webhooks of `run` steps.
    """

    def __init__(
        self,
        door: Door,
        nodes: Nodes,
        examiner: Examiner,
        clock: Callable[[], float] = time.monotonic,
        looked: Callable[[], None] = lambda: None,
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._door = door
        self._nodes = nodes
        self._examiner = examiner
        self._clock = clock
        self._looked = looked
        self._acknowledged: Acknowledged | None = None  # as of the last tick
        self._urgent: set[str] = set()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Tick for ever; a fault of the store is reported and tried again."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            while loop.time() < due and await self._woken_before(due):
                urgent, self._urgent = self._urgent & self._door.entries.keys(), set()
                for model in urgent if self._door.is_open else ():
                    await self._look_at(model)
            await self.tick()
            self._looked()

    async def _woken_before(self, due: float) -> bool:
        try:
            async with asyncio.timeout_at(due):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        await asyncio.sleep(GATHER_SECONDS)
        return True

    def look_soon(self, models: Iterable[str]) -> None:
        """Do not wait for the next tick with these rollouts: their canary failed."""
        self._urgent.update(models)
        if self._urgent:
            self._woken.set()

    async def tick(self) -> None:
        """Look at the store and at every rollout once."""
        try:
            await self._door.look_after_store()
        except ServingError as error:
            log.warning("the store does not answer; nothing can be changed", reason=str(error))
            return
        if not self._door.is_open:  # a change is in doubt
            return
        self._acknowledged = self._nodes.acknowledged(self._clock())
        for model in list(self._door.entries):
            await self._look_at(model)
        await self._keep_evidence()

    async def _keep_evidence(self) -> None:
        for model, state in self._examiner.to_keep():
            try:
                await self._door.keep_evidence(model, state)
            except ServingError as error:
                log.warning("the evidence could not be kept", model=model, reason=str(error))

    async def _look_at(self, model: str) -> None:
        try:
            await self._move(model)
        except Stale:
            log.info("a rollout was changed while it was looked at; it is looked at again", model=model)
        except ServingError as error:
            log.warning("autopilot could not move a rollout", model=model, reason=str(error))

    async def _move(self, model: str) -> None:
        now = self._clock()
        entry = self._door.entries.get(model)
        if entry is None:
            return
        self._nodes.forget(model, entry.progress.evidence_stage, now)
        if entry.progress.phase == "promoting" and (event := self._promotion(entry, now)) is not None:
            await self._door.act(model, event, AUTOPILOT, entry.revision)
            return
        if entry.progress.arms and entry.progress.live:
            await self._move_test(entry, now)
            return
        candidate = entry.progress.candidate
        ready = candidate is not None and self._nodes.canary_ready_somewhere(
            model, candidate, entry.revision, now
        )
        unready = "" if ready or candidate is None else self._unready(entry, candidate, now)
        await self._examiner.measure(entry, now, time.time())
        judgement = self._examiner.examine(entry, now)
        served, living = self._served(entry), self._living(entry, now)
        tick_of = partial(Tick, now, ready=ready, unready=unready, served=served, living=living)
        if entry.progress.aa is not None:
            aa_tick = tick_of(counted=self._examiner.aa_requests(entry))
            aa_seen = partial(self._examiner.aa_evidence, entry)
            await self._door.act(model, aa_tick, AUTOPILOT, entry.revision, aa_seen)
            return
        hook = "" if self._hooks is None else self._hooks.look(entry, judgement)
        if judgement is None:
            tick = tick_of(hook=hook)
            await self._door.act(model, tick, AUTOPILOT, entry.revision)
            return
        stage, seen = entry.progress.stage, partial(_named, judgement, entry)
        if (
            judgement.hold is not None
            and judgement.verdict != "harmful"
            and entry.progress.phase == "progressing"
        ):
            hold = Pause(judgement.hold, "mismatch", stage)
            await self._door.act(model, hold, AUTOPILOT, entry.revision, seen)
            return
        tick = tick_of(verdict=judgement.verdict, reason=judgement.reason, stage=stage, hook=hook)
        await self._door.act(model, tick, AUTOPILOT, entry.revision, seen)

    async def _move_test(self, entry: Entry, now: float) -> None:
        """Move an A/B/n test: one that does harm is taken off, in every phase; the best is told of once."""
        model, stage = entry.rollout.model, entry.progress.stage
        each = {one.progress.candidate or "": one for one in entry.each()}
        for one in each.values():
            await self._examiner.measure(one, now, time.time())
        judgements = self._examiner.examine_test(entry, each, now)
        for target, judgement in judgements.items():
            if judgement.verdict == "harmful":
                seen = partial(_named, judgement, each[target])
                event = TakenOff(target, judgement.reason, stage)
                await self._door.act(model, event, AUTOPILOT, entry.revision, seen)
                return
        best = self._examiner.best.get(model)
        held = any(judgement.hold is not None for judgement in judgements.values())
        looked_for = entry.progress.phase == "comparing" and not entry.progress.best and not held
        if looked_for and best is not None and best.best is not None:
            found = BestFound(best.best, best.reason, stage)
            await self._door.act(model, found, AUTOPILOT, entry.revision, partial(_compared, best, entry))
        else:
            away, living = self._away(entry, each, now), self._living(entry, now)
            tick = Tick(now, away=away, living=living, served=self._served(entry))
            await self._door.act(model, tick, AUTOPILOT, entry.revision)

    def _served(self, entry: Entry) -> bool:
        """Whether enough nodes serve what a rollout is at."""
        if self._acknowledged is None:
            self._acknowledged = self._nodes.acknowledged(self._clock())
        return self._acknowledged.enough(entry.revision)

    def _unready(self, entry: Entry, candidate: str, now: float) -> str:
        """Why the canary is ready nowhere; empty where nobody says."""
        waves = waves_of(entry.rollout, entry.progress)
        if waves is not None and not self._nodes.bears(waves.now, now):
            return f"no live node bears the label {waves.now} of {wave_of(entry.rollout, entry.progress)}"
        return self._nodes.canary_problem(entry.rollout.model, candidate, now)

    def _living(self, entry: Entry, now: float) -> tuple[str, ...]:
        """The nodes that serve, for candidates that are to stand on some of them; else nobody asks."""
        if not entry.rollout.placed:
            return ()
        return tuple(sorted({worker.report.node for worker in self._nodes.workers(now)}))

    def _away(self, entry: Entry, targets: Iterable[str], now: float) -> dict[str, str]:
        """Those of these candidates that are ready nowhere, with the reason."""
        model, revision = entry.rollout.model, entry.revision
        return {
            target: self._nodes.canary_problem(model, target, now)
            for target in targets
            if not self._nodes.canary_ready_somewhere(model, target, revision, now)
        }

    def _promotion(self, entry: Entry, now: float) -> Event | None:
        """What becomes of a promotion: the candidate is loaded everywhere, or somewhere it cannot be."""
        revision, target = entry.revision, promotes(entry.rollout, entry.progress)
        model = entry.rollout.model
        sha256 = "" if target.url is not None else entry.digests.get(target.model, "")
        waves = waves_of(entry.rollout, entry.progress)
        label = None if waves is None or waves.last else waves.now
        if self._nodes.warm_in_all_workers(model, target.key, sha256, revision, now, label):
            return TargetsReady()
        refusal = self._nodes.refusal(model, target.key, revision, now)
        return PromotionFailed(f"a worker cannot load it: {refusal}") if refusal else None


def _named(judgement: Judgement, entry: Entry) -> dict[str, Any]:
    """The judgement for the audit row, with whom and which stages it speaks about."""
    progress = entry.progress
    stages = [progress.evidence_stage, progress.stage]
    return {**as_json(judgement), "candidate": progress.candidate, "stages": stages}


def _compared(best: BestOf, entry: Entry) -> dict[str, Any]:
    """How the sides of an A/B/n test compare, for the audit row, with the stages of which it speaks."""
    stages = [entry.progress.evidence_stage, entry.progress.stage]
    return {**best.as_json(), "stages": stages}
