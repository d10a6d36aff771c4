"""Pairs for labels at control: kept, and held against labels when both are there.

Law: pairs and labels come in any order, late, again or never; each label is held against its pair once. What
is kept is bounded: beyond `MOST_KEPT` pairs only those stay whose id is in the lower half of all ids, then in
the lower quarter, and so on. That looks at the hash of a receipt and at nothing that was answered. Pairs go
when their label's time is over, and as soon as no guard needs them any more.

A pair waits in memory for the next turn, one a second. Those of a control that is killed meanwhile are lost,
whatever was answered.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any, Final, NoReturn

import structlog

from control.judging.outcomes.best import BestOf
from control.judging.outcomes.side_sums import SideSums, Two
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.outcomes.desk import InForce
from control.outcomes.label_scores import LabelSums, Side, entered, sides_place
from control.outcomes.sides import Tests, compared, sought
from control.outcomes.told_pairs import Queue, Rules, Share, ToldPairs
from control.store.label_pairs import PairRow, PairStore, Turn
from control.store.outcome_entries import Place, guard_place
from control.store.outcomes import Stage
from router.rollout.guards.outcomes import AccuracyGuard
from router.wire.pairs_report import PairsReport
from serving.errors import ServingError

log = structlog.get_logger()

TURN_SECONDS: Final = 1.0
A_TURN: Final = 2000
"""Pairs, and labels, of one transaction."""
A_DROP: Final = 2000
"""Pairs that one transaction lets go of."""
MOST_KEPT: Final = 1_000_000
PRUNE_SECONDS: Final = 600.0

Names = Callable[[str], tuple[str, ...]]
_NONE: Final = LabelSums()


class PairBook:
    """The pairs and labels of all rollouts.

    Args:
        store: where they are kept.
        in_force: the rollouts, by public name.
        names: those of a target's classes, by its key; none where it has none, or nobody knows.
        leads: whether this control may write.
        now: wall clock, seconds since 1970.
        most_kept: pairs of all rollouts together.
    """

    def __init__(
        self,
        store: PairStore,
        in_force: Callable[[], Mapping[str, InForce]],
        names: Names,
        leads: Callable[[], bool],
        now: Callable[[], float] = time.time,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._store = store
        self._in_force = in_force
        self._names = names
        self._leads = leads
        self._now = now
        self.lost: Callable[[], None] = lambda: None
        """Called when the database has less than it had: it was lost, and written anew."""
        self._most_kept = most_kept
        self._told = ToldPairs()
        self._share = Share()
        self._wanted: Mapping[str, frozenset[str]] | None = None  # None: what is kept may be needless
        self._prunes_at = 0.0
        self._known = False  # what is in memory is what is stored
        self._fewer = False  # what is stored is less than it was
        self._kept: Counter[str] = Counter()
        self._sums: dict[Place, LabelSums] = {}
        self._tests = Tests(store.stages)
        self._problem = ""

    def hear(self, instance: str, report: PairsReport) -> None:
        """Take in what one sandbox sends."""
        self._told.hear(instance, report)

    async def take_up(self) -> None:
        """Read what is stored: another control may have written since.

        Raises:
            StoreError: it does not say.
        """
        self._known, self._wanted = False, None
        self._tests.forget()
        await asyncio.to_thread(self._know)

    async def run(self) -> NoReturn:
        """Take turns for ever."""
        while True:
            await asyncio.sleep(TURN_SECONDS)
            if self._leads():
                await self.take_turn()

    async def take_turn(self) -> None:
        """Keep what was told since, and hold labels against it; what cannot be written now waits."""
        queue = self._told.take()
        in_force = dict(self._in_force())
        try:
            await asyncio.to_thread(self._turns, queue, in_force)
        except ServingError as error:
            self._known = False  # it may have been written
            self._told.put_back(queue)
            if str(error) != self._problem:
                log.warning("labels and their pairs wait", reason=str(error))
            self._problem = str(error)
        else:
            self._problem = ""
        if self._fewer:
            self._fewer = self._known = False
            log.error("labels were lost with the state database; their evidence begins anew")
            self.lost()

    # ------------------------------------------------------------------ what they have come to

    def outcomes(self, found: InForce) -> dict[str, list[StageOutcomes]]:
        """What labels have come to in each stage that is judged, by guard; the last is under way."""
        guards = found.rollout.guards_of(AccuracyGuard)
        return {guard.name: [sums.outcomes() for sums in self._of(found, guard)] for guard in guards}

    def view(self, found: InForce) -> dict[str, Any] | None:
        """For people: pairs, and labels by guard in what is judged; None where no guard looks at labels."""
        model, guards = found.rollout.model, found.rollout.guards_of(AccuracyGuard)
        if not guards:
            return None
        seen, left_out = self._told.numbers(model)
        tested = [
            (f"{candidate.target.key}: ", found._replace(candidate=number))
            for number, candidate in enumerate(found.rollout.candidates, 1)
        ]
        return {
            "pairs": {"seen": seen, "kept": self._kept[model], "left_out": dict(left_out)},
            "guards": [
                {
                    "guard": whose + guard.name,
                    "outcome": guard.outcome,
                    **sum(self._of(each, guard), _NONE).shown(),
                }
                for whose, each in tested or [("", found)]
                for guard in guards
            ],
        }

    def best(self, found: InForce) -> BestOf | None:
        """How far the search for the best has come by a label; None where it is by none.

        Args:
            found: an A/B/n test, seen as it is.
        """
        outcome = sought(found.rollout)
        if outcome is None or outcome.kind != "label":
            return None
        tested = self._tests.of(found)
        sums = [self._sides(found.rollout.model, stage, outcome.name) for stage in tested]
        return compared(found, outcome, tested, sums)

    def _sides(self, model: str, stage: Stage, outcome: str) -> SideSums:
        two: dict[Two, LabelSums] = {
            both: sums
            for both in combinations(range(len(stage.weights)), 2)
            if (sums := self._sums.get(sides_place(model, stage.stage, outcome, both))) is not None
        }
        return replace(
            SideSums.nothing(stage.weights),
            bets={both: sums.bets for both, sums in two.items() if sums.bets.events},
            labels={both: sums.labels for both, sums in two.items() if sums.labels.labels},
        )

    def _of(self, found: InForce, guard: AccuracyGuard) -> list[LabelSums]:
        model, stages = found.rollout.model, range(found.judged_from, found.stage + 1)
        places = (guard_place(model, stage, guard.name, found.candidate) for stage in stages)
        return [self._sums.get(place, _NONE) for place in places]

    # ------------------------------------------------------------------ a turn

    def _turns(self, queue: Queue, in_force: Mapping[str, InForce]) -> None:
        """As many transactions as it takes; pairs that are kept leave the queue."""
        self._know()
        self._tests.follow(in_force)
        by = Rules.of(in_force, self._now())
        while queue or self._store.labels_wait(by.now):
            places = list(queue)[:A_TURN]
            rows = list(self._rows({place: queue[place] for place in places}, by))
            with self._store.turn() as turn:
                new = turn.keep(rows)
                sums = self._hold(turn, new, by)
            self._kept += Counter(row.model for row in new)
            self._sums = {**self._sums, **sums}
            for place in places:
                del queue[place]
        self._clean(by)

    def _know(self) -> None:
        if not self._known:
            self._kept, states = self._store.known()
            self._sums = {place: LabelSums.from_json(state) for place, state in states.items()}
            self._known = True

    def _rows(self, told: Queue, by: Rules) -> Iterator[PairRow]:
        """What is to be kept: nothing that no guard needs, nor what is beyond the bound."""
        names: dict[str, tuple[str, ...]] = {}
        for report, pair in told.values():
            model, id_ = report.model, bytes.fromhex(pair.id)
            tested = self._tests.numbers(model, pair.stage)
            took_part = not tested or report.target in tested
            if not took_part or pair.output not in by.wanted.get(model, ()):
                continue
            if not self._share.has(id_):
                self._told.beyond[model] += 1
                continue
            for target in {pair.by, report.target} - names.keys():
                names[target] = self._names(target)
            yield PairRow(
                id_,
                pair.output,
                tested.get(report.target, 1),
                model,
                pair.stage,
                Side.of(pair.reference, names[pair.by]).to_json(),
                # A candidate without names stands in for a stable that has them: its classes are the same.
                Side.of(pair.candidate, names[report.target] or names[pair.by]).to_json(),
                by.kept_until(model, pair.output),
            )

    def _hold(self, turn: Turn, new: list[PairRow], by: Rules) -> dict[Place, LabelSums]:
        """Hold labels against pairs, those of which either is new; the sums that this has changed."""
        labels = turn.new_labels(by.now, A_TURN) + turn.labels_seen(new)
        found = entered(labels, turn.pairs_of(labels), by.rollouts, self._tests.numbers)
        turn.enter(found.labels)
        sums = {}
        for place, more in found.sums.items():
            if not by.judges(place):
                continue
            state = turn.sums(place)
            before = _NONE if state is None else LabelSums.from_json(state)
            self._fewer |= before.scored < self._sums.get(place, _NONE).scored
            sums[place] = (before + more).settled()
            turn.keep_sums(place, sums[place].to_json())
        return sums

    # ------------------------------------------------------------------ letting go

    def _clean(self, by: Rules) -> None:
        """Let go of pairs that no guard needs, whose time is over, or that are too many."""
        if by.wanted != self._wanted:
            self._drop(lambda turn: turn.drop_all_but(by.wanted, A_DROP))
            self._wanted = by.wanted
        if by.now >= self._prunes_at and (self._kept or self._sums):
            self._drop(lambda turn: turn.drop_old(by.now, A_DROP))
            with self._store.turn() as turn:
                turn.drop_sums(by.judged_from)
            self._sums = {place: sums for place, sums in self._sums.items() if by.judges(place)}
            self._prunes_at = by.now + PRUNE_SECONDS
        while self._kept.total() > self._most_kept:
            if not self._thin():
                self._share.halve()

    def _thin(self) -> bool:
        """Let go of what is beyond the share; whether there was anything."""
        end = self._share.end
        if end is None:
            return False
        gone = self._drop(lambda turn: turn.drop_from(end, A_DROP))
        self._told.beyond.update(gone)
        return bool(gone)

    def _drop(self, some: Callable[[Turn], Counter[str]]) -> Counter[str]:
        """Let go of all of a kind, in transactions that are short; how many, by public name."""
        gone: Counter[str] = Counter()
        while True:
            with self._store.turn() as turn:
                found = some(turn)
            self._kept -= found
            gone += found
            if found.total() < A_DROP:
                return gone
