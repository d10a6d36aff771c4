"""Each second: mature outcomes enter the evidence; what they have come to is at hand for the examiner.

Law: what is in memory was read from the database after it was written, so a control that takes over knows
exactly what the one before knew, and a look that failed is made again. Only the control that leads looks.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import structlog

from control.judging.outcomes.best import BestOf
from control.judging.outcomes.side_sums import SideSums
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.outcomes.desk import InForce
from control.outcomes.entering import enter
from control.outcomes.sides import compared, sought, tested_stages
from control.store.outcome_entries import Json, Place, best_place, guard_place, told_place
from control.store.outcomes import OutcomeStore, Stage
from router.rollout.guards.outcomes import OutcomeGuard
from router.rollout.values import Outcome
from serving.errors import ServingError

log = structlog.get_logger()

LOOK_SECONDS = 1.0
A_LOOK = 1_000
"""Outcomes of one transaction."""
PRUNE_SECONDS = 60.0


class Told(NamedTuple):
    """What became of the outcomes of one name in one stage.

    Args:
        accepted: were taken.
        waiting: of those, have not entered.
        first: when the first of all is mature, seconds since 1970; None where there is none.
    """

    accepted: int
    waiting: int
    first: float | None


class Book:
    """What outcomes have come to, of all rollouts.

    Args:
        store: where they are.
        in_force: the rollouts, by public name.
        leads: whether this control does.
        now: wall clock, seconds since 1970.
    """

    def __init__(
        self,
        store: OutcomeStore,
        in_force: Callable[[], Mapping[str, InForce]],
        leads: Callable[[], bool],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._in_force = in_force
        self._leads = leads
        self._now = now
        self.lost: Callable[[], None] = lambda: None
        """Called when the database has less than it had: it was lost, and written anew."""
        self._stages: dict[str, dict[int, Stage]] = {}
        self._sums: Mapping[Place, Json] = {}
        self._judged_from: dict[str, int] | None = None
        self._prunes_at = 0.0
        self._left = True  # outcomes of rollouts that have none any more, or sums of these
        self._problem = ""

    async def run(self) -> NoReturn:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Let enter what is mature; what cannot be written waits for the next look."""
        in_force = self._with_outcomes()
        if not self._leads() or not (in_force or self._left):
            return
        try:
            self._read(await asyncio.to_thread(self._look, in_force))
        except ServingError as error:
            if str(error) != self._problem:
                log.warning("outcomes wait to enter the evidence", reason=str(error))
            self._problem = str(error)
        else:
            self._problem = ""

    async def take_up(self) -> None:
        """Read what is stored: what is in memory is older, or of another life.

        Raises:
            StoreError: it does not say.
        """
        self._stages.clear()
        self._judged_from, self._left = None, True
        await asyncio.to_thread(self._know_stages, self._with_outcomes())
        self._sums = await asyncio.to_thread(self._store.sums)

    def _with_outcomes(self) -> dict[str, InForce]:
        return {model: each for model, each in self._in_force().items() if each.rollout.outcomes}

    def _read(self, sums: Mapping[Place, Json]) -> None:
        before, self._sums = self._sums, sums
        judged = {model: each.judged_from for model, each in self._with_outcomes().items()}
        if any(
            stage >= judged.get(model, stage + 1)
            and state.get("accepted", 0) > sums.get((model, stage, what), {}).get("accepted", 0)
            for (model, stage, what), state in before.items()
        ):
            log.error("outcomes were lost with the state database; their evidence begins anew")
            self.lost()

    def _know_stages(self, in_force: Mapping[str, InForce]) -> None:
        for model, each in in_force.items():
            if each.stage not in self._stages.get(model, {}):
                self._stages[model] = {stage.stage: stage for stage in self._store.stages(model)}

    def _look(self, in_force: Mapping[str, InForce]) -> Mapping[Place, Json]:
        now = self._now()
        self._know_stages(in_force)
        while self._store.is_due(now):
            with self._store.entries() as entries:
                enter(entries, now, A_LOOK, in_force, self._stages)
        self._let_go({model: each.judged_from for model, each in in_force.items()}, now)
        return self._store.sums()

    def _let_go(self, judged_from: dict[str, int], now: float) -> None:
        """Of what is over a part at each look, since there may be much of it."""
        if judged_from != self._judged_from and not self._store.forget(judged_from):
            self._stages = {model: found for model, found in self._stages.items() if model in judged_from}
            self._judged_from = judged_from
        if now >= self._prunes_at:
            self._prunes_at = now + PRUNE_SECONDS
            while self._store.prune(now):
                pass
            self._left = bool(self._sums) or self._store.any()

    # ------------------------------------------------------------------ what is known

    def outcomes(self, found: InForce) -> dict[str, list[StageOutcomes]]:
        """What outcomes have come to in each stage that is judged, by guard; the last is under way."""
        numbers = range(found.judged_from, found.stage + 1)
        known: dict[str, list[StageOutcomes]] = {}
        for guard in found.rollout.guards_of(OutcomeGuard):
            outcome = found.rollout.outcome(guard.outcome)
            if outcome is not None:
                known[guard.name] = [self._of(found, stage, guard, outcome) for stage in numbers]
        return known

    def best(self, found: InForce) -> BestOf | None:
        """How far the search for the best has come by what is no label; None where there is none.

        Args:
            found: an A/B/n test, seen as it is.
        """
        outcome = sought(found.rollout)
        if outcome is None or outcome.kind == "label":
            return None
        model, tested = found.rollout.model, tested_stages(found, self._stages.get(found.rollout.model, {}))
        sums = []
        for stage in tested:
            state = self._sums.get(best_place(model, stage.stage, outcome.name))
            sums.append(SideSums.nothing(stage.weights) if state is None else SideSums.from_json(state))
        return compared(found, outcome, tested, sums)

    def _of(self, found: InForce, number: int, guard: OutcomeGuard, outcome: Outcome) -> StageOutcomes:
        model, candidate = found.rollout.model, found.candidate
        stage = self._stages.get(model, {}).get(number)
        state = self._sums.get(guard_place(model, number, guard.name, candidate))
        sums = StageOutcomes(0.0 if stage is None else stage.share(candidate))
        if state is not None:
            sums = StageOutcomes.from_json(state)
        _, waiting, first = self.told(model, number, outcome.name, candidate)
        matures_in = first - self._now() if waiting and first is not None else None
        return replace(
            sums,
            waiting=waiting,
            matures_in=matures_in if matures_in is not None and matures_in > 0.0 else None,
            outcome=outcome,
        )

    def told(self, model: str, stage: int, outcome: str, candidate: int = 0) -> "Told":
        """What became of the outcomes of a stage; with a candidate, only those at it or stable wait."""
        counts: Mapping[str, Any] = self._sums.get(told_place(model, stage, outcome), {})
        accepted = int(counts.get("accepted", 0))
        waiting = accepted - int(counts.get("entered", 0))
        if candidate:
            by_arm = counts.get("waiting", {})
            waiting = sum(by_arm.get(str(arm), 0) for arm in (0, candidate))
        return Told(accepted, waiting, counts.get("first"))
