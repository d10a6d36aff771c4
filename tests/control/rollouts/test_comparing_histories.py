"""Whatever happens to a rollout with candidates, in any order, `control.rollouts.comparing` keeps its law."""

import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.rollouts.events import (
    Abort,
    BestFound,
    Edited,
    Event,
    Failed,
    Pause,
    Promote,
    PromotionFailed,
    Resume,
    StartAA,
    TakenOff,
    TargetsReady,
    Tick,
)
from control.rollouts.progress import MAX_TICK_SECONDS, IllegalTransition, advance, begin, possible, served_by
from control.rollouts.state import Progress, from_json, status_sentence, to_json
from control.rollouts.writer import Entry
from harness.search import examples
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.values import Best, Canary, Outcome, Rollout, SetWeight, Target

TARGETS = tuple(Target(f"digits/{version}") for version in range(1, 5))
KEYS = [target.key for target in TARGETS]
OUTCOMES = (Outcome("sold", "binary", 60.0), Outcome("kept", "binary", 60.0))


def of(*weights: float) -> tuple[Canary, ...]:
    pairs = zip(TARGETS[1:], weights, strict=False)
    return tuple(Canary(target, weight=weight, progress_deadline_seconds=9.0) for target, weight in pairs)


AGES = st.sampled_from([0] * 7 + [1])
ENDS = st.sampled_from([None, 3.0, 12.0])
TESTS = st.builds(
    lambda candidates, best, ratio: Rollout(
        "digits",
        TARGETS[0],
        candidates=candidates,
        best=best,
        guards=(ErrorsGuard(ratio),),
        outcomes=OUTCOMES,
        keep_warm_seconds=8.0,
    ),
    st.sampled_from([of(20, 30), of(20, 40), of(10, 10, 10)]),
    st.none()
    | st.builds(
        Best, st.sampled_from(["sold", "kept"]), st.none() | st.sampled_from([3.0, 12.0]), st.booleans()
    ),
    st.sampled_from([1.5, 2.0]),
)
CANARIES = st.sampled_from(
    [
        Rollout("digits", TARGETS[0]),
        Rollout("digits", TARGETS[0], canary=Canary(TARGETS[1], weight=20.0)),
        Rollout("digits", TARGETS[0], canary=Canary(TARGETS[2], weight=None, steps=(SetWeight(5.0),))),
    ]
)


def quiet(progress: Progress) -> Progress:
    """Without what ticks alone move."""
    arms = tuple(replace(arm, unready_seconds=0.0) for arm in progress.arms)
    timers = {"waited_seconds": 0.0, "unready_seconds": 0.0, "ticked_at": None}
    return replace(progress, arms=arms, warm=(), **timers)


class AnyTest(RuleBasedStateMachine):
    @initialize(document=TESTS)
    def start(self, document):
        self.document, self.progress, self.now = document, begin(document), 0.0
        self.ticked = 0.0  # seconds of ticks, each bounded, since its time began
        self.meant = ""  # who is promoted, as a person or the document with a best one said
        self.plans = {1: self.plan()}
        self.off: dict[str, str] = {}  # of this evidence

    def plan(self):
        served = served_by(self.document, self.progress)
        shares = [(arm.number, arm.target, arm.weight) for arm in served.arms]
        return served.stable, served.canary, served.weight, shares, self.document.guards

    def on(self, event: Event) -> Progress:
        """Apply an event, check what holds for each, and return the progress before it."""
        before = self.progress
        try:
            after, effects = advance(self.document, before, event)
        except IllegalTransition:
            assert self.progress is before
            return before
        if isinstance(event, Edited):
            self.document = event.rollout
        self.progress = after
        assert from_json(json.loads(json.dumps(to_json(after)))) == after
        if not effects:
            assert quiet(after) == quiet(before)
        if after.waited_seconds == 0.0:
            self.ticked = 0.0
        assert before.stage <= after.stage <= before.stage + 1
        assert self.plans.setdefault(after.stage, self.plan()) == self.plan()
        if any(effect.kind == "started" for effect in effects):
            self.off, self.meant = {}, ""
        else:
            assert after.evidence_stage == before.evidence_stage or not self.off or not after.live
        self.off |= {arm.target: arm.off_reason for arm in after.arms if arm.off_reason}
        return before

    @rule(
        seconds=st.sampled_from([0.0, 1.0, 1.0, 4.0, 3600.0, -3600.0]),
        away=st.sampled_from([(), (), KEYS[1:2], KEYS[1:3], KEYS]),
    )
    def tick(self, seconds, away):
        self.now += seconds
        ticked = self.ticked = self.ticked + min(max(seconds, 0.0), MAX_TICK_SECONDS)
        before = self.on(Tick(self.now, away=dict.fromkeys(away, "x")))
        left = {arm.target for _, arm in before.on} - {arm.target for _, arm in self.progress.on}
        if self.progress.phase != "ended":
            assert left <= set(away)
            assert not left or not {arm.target for _, arm in before.on} <= set(away)
        if self.progress.phase == "ended" != before.phase:
            best = self.document.best
            stable_is_best = before.best == before.stable.key and best.promote
            assert stable_is_best or (not before.best and ticked >= best.max_seconds)
        if self.progress.phase == "promoting" != before.phase:
            assert self.document.canary is not None or self.document.best.promote
            self.meant = self.meant or self.progress.candidate

    def one(self, place: int) -> str:
        """Mostly one that is compared."""
        known = [self.progress.best or KEYS[0], KEYS[0], *(arm.target for _, arm in self.progress.on), *KEYS]
        return known[place]

    @precondition(lambda self: self.progress.arms)
    @rule(place=st.integers(0, 5), age=AGES)
    def harm(self, place, age):
        key = self.one(place)
        event = TakenOff(key, "it fails", self.progress.stage - age)
        can = key in {arm.target for _, arm in self.progress.on} and age == 0
        before = self.on(event)
        if not can:
            assert self.progress is before
            return
        kept = [arm for arm in before.on if arm[1].target != key]
        assert list(self.progress.on) == kept
        assert (self.progress.phase == "rolled_back") == (not kept)
        if before.candidate == key:
            assert self.progress.candidate is None
            self.meant = ""
        elif kept:
            assert (self.progress.phase, self.progress.candidate) == (before.phase, before.candidate)

    @precondition(lambda self: self.progress.phase == "comparing")
    @rule(place=st.integers(0, 5), age=AGES)
    def best(self, place, age):
        key = self.one(place)
        before = self.on(BestFound(key, "by far", self.progress.stage - age))
        if age > 0 or before.best or self.document.best is None:
            assert self.progress == before
        elif self.progress.phase == "promoting" != before.phase:
            assert self.document.best.promote
            self.meant = key

    @precondition(lambda self: self.progress.stage % 4 == 3)
    @rule(document=TESTS | CANARIES)
    def edit(self, document):
        self.on(Edited(document))

    @rule(ratio=st.sampled_from([1.5, 2.0]))
    def edit_a_guard(self, ratio):
        before = self.on(Edited(replace(self.document, guards=(ErrorsGuard(ratio),))))
        if self.progress.evidence_stage > before.evidence_stage and self.document.candidates:
            assert not (self.progress.live and self.progress.best)

    @rule(seconds=ENDS, promote=st.booleans())
    def edit_when_it_ends(self, seconds, promote):
        if self.document.best is None:
            return
        best = replace(self.document.best, max_seconds=seconds, promote=promote)
        before = self.on(Edited(replace(self.document, best=best)))
        assert self.progress == before

    @rule(key=st.sampled_from(["", *KEYS, "digits/9"]))
    def promote(self, key):
        before = self.on(Promote("x", key))
        if self.progress.phase == "promoting" and self.progress is not before:
            self.meant = self.progress.candidate
            assert key in {self.meant, ""}
            assert self.progress.stage == before.stage, "all go on as before"

    @precondition(lambda self: self.progress.stage % 3 == 2)
    @rule(event=st.sampled_from([Abort("x"), Failed("x"), Pause("x"), StartAA(5.0, 5.0, 9.0, None, "x")]))
    def other(self, event):
        self.on(event)

    @precondition(lambda self: self.progress.phase in {"paused", "rolled_back", "ended"})
    @rule()
    def resume(self):
        self.on(Resume())

    @precondition(lambda self: self.progress.phase == "promoting")
    @rule()
    def promotion_failed(self):
        before = self.on(PromotionFailed("x"))
        assert self.progress.on == before.on

    @precondition(lambda self: self.progress.phase == "promoting")
    @rule()
    def targets_ready(self):
        before = self.on(TargetsReady())
        if self.progress is not before and before.arms:
            assert self.progress.stable.key == self.meant == before.candidate

    @invariant()
    def candidates_keep_their_places_and_stay_off(self):
        progress = self.progress
        assert [arm.target for arm in progress.arms] == [each.target.key for each in self.document.candidates]
        if progress.live:
            assert {arm.target for arm in progress.arms if arm.off_reason} == self.off.keys()

    @invariant()
    def what_is_served_fits_the_phase(self):
        progress, served = self.progress, served_by(self.document, self.progress)
        assert status_sentence(self.document, progress)
        assert (progress.cause is not None) == (progress.phase == "paused")
        assert served.stable not in {entry.target for entry in progress.warm}
        if not self.document.candidates:
            assert (served.arms, progress.best) == ((), "")
            return
        assert served.canary is None
        assert bool(served.arms) == progress.live
        assert sum(arm.weight for arm in served.arms) < 100.0
        assert progress.phase in {"comparing", "promoting", "promoted", "paused", "rolled_back", "ended"}
        assert (progress.candidate is None) == (progress.phase in {"comparing", "rolled_back", "ended"})
        if progress.phase in {"promoting", "paused"}:
            assert progress.candidate in {arm.target for _, arm in progress.on}
        if progress.live and progress.best:
            assert progress.best in {progress.stable.key, *(arm.target for _, arm in progress.on)}
        assert 0.0 <= progress.waited_seconds <= self.ticked
        assert ("promote" in possible(self.document, progress)) == (progress.phase in {"comparing", "paused"})

    @invariant()
    def each_is_seen_alone(self):
        entry = Entry(self.document, self.progress, 1)
        each = entry.each()
        if not self.progress.on:
            assert each == (entry,)
            return
        assert [one.number for one in each] == [number for number, _ in self.progress.on]
        for one in each:
            assert one.progress.live
            assert one.rollout.alpha == self.document.alpha / len(self.document.candidates)
            shares = [arm.weight for arm in served_by(self.document, self.progress).arms]
            own = self.document.candidates[one.number - 1].weight
            assert one.progress.weight == pytest.approx(100.0 * own / (own + 100.0 - sum(shares)))


AnyTest.TestCase.settings = settings(max_examples=examples(300), stateful_step_count=40, deadline=None)
TestAnyTest = AnyTest.TestCase
