import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.rollouts.events import (
    Abort,
    Edited,
    Effect,
    EpochBegun,
    Event,
    Failed,
    Pause,
    Promote,
    PromotionFailed,
    Resume,
    StartAA,
    TargetsReady,
    Tick,
    Verdict,
)
from control.rollouts.progress import (
    AA_UNREADY_SECONDS,
    MAX_TICK_SECONDS,
    ForeignVerdict,
    IllegalTransition,
    _judged,
    advance,
    begin,
    served_by,
)
from control.rollouts.state import Progress, from_json, status_sentence, to_json
from harness.search import examples
from router.rollout.guards.latency import LatencyGuard
from router.rollout.values import (
    Canary,
    Examples,
    Prove,
    Record,
    Rollout,
    Server,
    SetWeight,
    Shadow,
    Step,
    Target,
)
from router.rollout.values import Pause as PauseStep

ONE, TWO, THREE = Target("digits/1"), Target("digits/2"), Target("digits/3")


def rollout(*steps: Step, weight: float | None = None, **fields) -> Rollout:
    canary = Canary(TWO, weight=None if steps else weight or 0.0, steps=steps, mirror=20.0)
    return Rollout("digits", **{"stable": ONE, "canary": canary, "keep_warm_seconds": 60.0, **fields})


class Driver:
    """A rollout, its progress, and a clock that moves in seconds."""

    def __init__(self, document: Rollout) -> None:
        self.document = document
        self.progress = begin(document)
        self.now = 1000.0

    def on(self, event: Event) -> tuple[Effect, ...]:
        self.progress, effects = advance(self.document, self.progress, event)
        if isinstance(event, Edited):
            self.document = event.rollout
        return effects

    def tick(self, times: int = 1, verdict: Verdict | None = None, reason: str = "", *, ready: bool = True):
        for _ in range(times):
            self.now += 1.0
            effects = self.on(Tick(self.now, verdict, reason, self.progress.stage, ready))
        return effects

    @property
    def plan(self):
        return served_by(self.document, self.progress)


STICKY = {"sticky_header": "x-user"}


def promoted() -> Driver:
    driver = Driver(rollout(SetWeight(50)))
    driver.tick()
    driver.on(TargetsReady())
    return driver


# ------------------------------------------------------------------ steps
def test_without_a_canary_stable_answers_everything():
    driver = Driver(rollout(canary=None))
    assert driver.progress.phase == "idle"
    assert (driver.plan.stable, driver.plan.canary, driver.plan.weight) == (ONE, None, 0.0)
    assert status_sentence(driver.document, driver.progress) == "digits/1 is stable (there is no canary)"


def test_a_fixed_weight_stays_and_is_taken_off_by_harm():
    driver = Driver(rollout(weight=10.0))
    assert (driver.progress.phase, driver.plan.canary, driver.plan.weight) == ("idle", TWO, 10.0)
    assert driver.tick(100, "proven") == ()
    assert driver.tick(1, "harmful", "7 of 61 failed")[0].kind == "rolled_back"
    assert (driver.plan.canary, driver.plan.weight, driver.plan.mirror) == (None, 0.0, 0.0)


def test_the_steps_of_the_design_are_gone_through_in_order():
    steps = (SetWeight(1), PauseStep(3), Prove(60), SetWeight(25), Prove(60), SetWeight(50), PauseStep())
    driver = Driver(rollout(*steps))
    assert (driver.progress.step, driver.plan.weight) == (0, 1.0)
    driver.tick()
    assert driver.progress.step == 1
    driver.tick(2)
    assert driver.progress.step == 1
    driver.tick()
    assert driver.progress.step == 2
    driver.tick(30, "undecided")
    assert driver.progress.step == 2
    driver.tick(1, "proven")
    assert (driver.progress.step, driver.plan.weight) == (3, 25.0)
    driver.tick(1)
    driver.tick(1, "proven")
    assert (driver.progress.step, driver.plan.weight) == (5, 50.0)
    driver.tick(1)
    assert (driver.progress.phase, driver.progress.cause) == ("paused", "step")
    driver.tick(1000, "proven")
    assert driver.progress.phase == "paused"
    assert driver.on(Resume())[0].kind == "promoting"
    assert (driver.plan.stable, driver.plan.weight, driver.plan.warm) == (ONE, 50.0, (TWO,))
    assert driver.on(TargetsReady())[0].text == "digits/2 took over from digits/1: every step is done"
    assert (driver.plan.stable, driver.plan.canary, driver.plan.weight) == (TWO, None, 0.0)


def test_a_tick_ends_at_most_one_step():
    driver = Driver(rollout(SetWeight(10), SetWeight(20), SetWeight(30)))
    weights = [driver.plan.weight]
    while driver.progress.phase == "progressing":
        driver.tick()
        weights.append(driver.plan.weight)
    assert weights == [10.0, 20.0, 30.0, 30.0]


def test_a_canary_that_is_not_ready_passes_no_timed_pause():
    driver = Driver(rollout(SetWeight(10), PauseStep(3), Prove(5)))
    driver.tick(50, ready=False)
    assert driver.progress.step == 0
    driver.tick()
    driver.tick(50, ready=False)
    assert (driver.progress.step, driver.progress.waited_seconds) == (1, 0.0)
    driver.tick(3)
    driver.tick(5, ready=False)
    assert (driver.progress.phase, driver.progress.cause) == ("paused", "undecided")


def test_a_proof_that_does_not_come_in_time_pauses_until_a_person_lets_it_go_on():
    driver = Driver(rollout(Prove(10)))
    driver.tick(11, "undecided", "12 comparisons so far")
    assert (driver.progress.phase, driver.progress.cause) == ("paused", "undecided")
    assert driver.progress.reason == "not proven within 10 s: 12 comparisons so far"
    driver.tick(5, "proven")
    assert driver.progress.phase == "paused"
    driver.on(Resume())
    assert (driver.progress.phase, driver.progress.waited_seconds) == ("progressing", 0.0)
    driver.tick(1, "proven", "0 of 300 differ")
    assert (driver.progress.phase, driver.progress.reason) == (
        "promoting",
        "every step is done; 0 of 300 differ",
    )


def test_a_proof_that_does_not_come_in_time_rolls_back_where_the_step_says_so():
    driver = Driver(rollout(Prove(10, "rollback")))
    driver.tick(11)
    assert (driver.progress.phase, driver.progress.reason) == ("rolled_back", "not proven within 10 s")


def test_a_prove_step_without_a_limit_waits_for_ever():
    driver = Driver(rollout(Prove()))
    driver.tick(2000, "undecided")
    assert driver.progress.phase == "progressing"
    assert "2" in status_sentence(driver.document, driver.progress)


@pytest.mark.parametrize("phase", ["idle", "progressing", "paused", "promoting"])
def test_harm_takes_the_canary_off_in_every_phase(phase):
    driver = Driver(rollout(weight=5.0) if phase == "idle" else rollout(Prove()))
    if phase == "paused":
        driver.on(Pause("lunch"))
    if phase == "promoting":
        driver.on(Promote("now"))
    assert driver.progress.phase == phase
    assert driver.tick(1, "harmful", "slow")[0] == Effect("rolled_back", "digits/2 was taken off: slow")
    assert driver.plan.canary is None


@pytest.mark.parametrize("make", [promoted, lambda: Driver(rollout(canary=None))])
def test_a_verdict_means_nothing_without_a_canary(make):
    driver = make()
    before = driver.plan
    assert driver.tick(3, "harmful") == ()
    assert driver.plan == before


@pytest.mark.parametrize("verdict", ["harmful", "proven", "undecided"])
@pytest.mark.parametrize("stage", [None, 1, 3])
def test_a_verdict_of_another_stage_is_refused_and_changes_nothing(verdict, stage):
    driver = Driver(rollout(Prove()))
    driver.on(Edited(replace(driver.document, timeout_seconds=2.0)))
    before = driver.progress
    assert before.stage == 2
    with pytest.raises(ForeignVerdict, match="stage 2 is under way"):
        driver.on(Tick(driver.now, verdict, "of before", stage))
    with pytest.raises(ForeignVerdict):
        driver.on(Pause("the shares are not as drawn", "mismatch", stage))
    assert driver.progress == before


# ------------------------------------------------------------------ time
@pytest.mark.parametrize(("jump", "counted"), [(3600.0, 5.0), (1e300, 5.0), (-3600.0, 0.0)])
def test_a_jump_of_the_clock_ends_no_pause_early(jump, counted):
    driver = Driver(rollout(PauseStep(20)))
    driver.tick(3)
    driver.now += jump
    driver.tick()
    assert driver.progress.phase == "progressing"
    assert driver.progress.waited_seconds == 2.0 + counted


def test_the_time_before_the_first_tick_and_in_a_pause_does_not_count():
    driver = Driver(rollout(PauseStep(10)))
    driver.now += 100
    driver.tick(2)
    assert driver.progress.waited_seconds == 1.0
    driver.on(Pause("a look"))
    driver.tick(500)
    driver.on(Resume())
    driver.now += 100
    driver.tick(1)
    assert driver.progress.waited_seconds == 1.0


# ------------------------------------------------------------------ people
def test_a_person_pauses_and_resumes_at_the_same_step():
    driver = Driver(rollout(SetWeight(10), PauseStep(10)))
    driver.tick(4)
    driver.on(Pause("looking at the logs"))
    assert (driver.progress.cause, driver.plan.weight, driver.plan.canary) == ("person", 10.0, TWO)
    assert "looking at the logs" in status_sentence(driver.document, driver.progress)
    stage = driver.progress.stage
    assert driver.on(Resume())[0].kind == "resumed"
    assert (driver.progress.step, driver.progress.waited_seconds) == (1, 3.0)
    assert (driver.progress.resumes, driver.progress.stage) == (1, stage)


@pytest.mark.parametrize("cause", ["mismatch", "foreign"])
def test_resuming_after_a_mismatch_begins_the_evidence_anew(cause):
    driver = Driver(rollout(Prove()))
    driver.on(Pause("the shares are not as drawn", cause, driver.progress.stage))
    stage = driver.progress.stage
    driver.on(Resume())
    assert driver.progress.stage == driver.progress.evidence_stage == stage + 1


def test_blue_green_promotes_from_weight_zero_and_goes_back_without_a_load():
    driver = Driver(rollout())
    assert (driver.plan.canary, driver.plan.weight) == (TWO, 0.0)
    driver.on(Promote("looks good"))
    assert driver.plan.warm == (TWO,)
    driver.on(TargetsReady())
    assert (driver.plan.stable, driver.plan.warm) == (TWO, (ONE,))
    driver.tick(30)
    assert driver.on(Abort("orders fell"))[0].kind == "rolled_back"
    assert (driver.plan.stable, driver.plan.canary, driver.plan.warm) == (ONE, None, (TWO,))


def test_the_old_stable_is_kept_warm_for_its_time():
    driver = promoted()
    driver.tick(60)
    assert driver.plan.warm == (ONE,)
    assert driver.tick() == (Effect("cooled", "digits/1 is no longer kept warm"),)
    assert driver.plan.warm == ()
    assert driver.progress.ticked_at is None


def test_without_keep_warm_nothing_stays_loaded():
    driver = Driver(rollout(keep_warm_seconds=0.0))
    driver.on(Promote(""))
    driver.on(TargetsReady())
    assert driver.plan.warm == ()


def test_a_candidate_that_cannot_be_loaded_is_taken_off():
    driver = Driver(rollout(weight=1.0))
    driver.on(Promote("now"))
    assert driver.on(Failed("out of memory in worker 1"))[0].kind == "rolled_back"
    assert driver.plan.stable == ONE


def test_a_promotion_that_no_worker_can_load_stays_where_it_was_until_a_person_resumes():
    driver = Driver(rollout(SetWeight(10)))
    driver.tick()
    stage = driver.progress.stage
    assert driver.on(PromotionFailed("worker 0: no model 'digits'"))[0].kind == "paused"
    assert (driver.progress.phase, driver.progress.cause) == ("paused", "load")
    assert (driver.plan.stable, driver.plan.canary, driver.plan.weight) == (ONE, TWO, 10.0)
    assert driver.progress.stage == stage, "its evidence goes on"
    sentence = status_sentence(driver.document, driver.progress)
    assert sentence == "digits/2 could not be promoted, it stays at 10% (worker 0: no model 'digits')"
    assert driver.on(Resume())[0].kind == "promoting"
    driver.on(TargetsReady())
    assert driver.plan.stable == TWO


def test_other_bytes_under_the_same_document_start_from_the_first_step():
    driver = promoted()
    stage = driver.progress.stage
    assert driver.on(Edited(driver.document, other_bytes=True))[0].kind == "started"
    assert (driver.progress.phase, driver.progress.step, driver.plan.canary) == ("progressing", 0, TWO)
    assert driver.progress.evidence_stage == stage + 1


def test_a_candidate_that_is_ready_nowhere_for_its_deadline_pauses_the_rollout_with_the_reason():
    driver = Driver(rollout(SetWeight(10)))
    canary = replace(driver.document.canary, progress_deadline_seconds=30.0)
    driver.on(Edited(replace(driver.document, canary=canary)))
    for _ in range(29):
        driver.on(Tick(driver.now, ready=False, unready="no such file"))
        driver.now += 1.0
    assert driver.progress.phase == "progressing"
    driver.on(Tick(driver.now, ready=True))
    driver = Driver(replace(driver.document, canary=canary))
    for _ in range(31):
        driver.on(Tick(driver.now, ready=False, unready="no such file"))
        driver.now += 1.0
    assert (driver.progress.phase, driver.progress.cause) == ("paused", "unready")
    assert driver.progress.reason == "it was ready nowhere for 30 s: no such file"
    driver.on(Resume())
    driver.tick(20, ready=False)
    assert driver.progress.phase == "progressing", "a person gives it that long again"


def test_a_rolled_back_candidate_is_tried_again_when_a_person_resumes():
    driver = Driver(rollout(SetWeight(10), Prove()))
    driver.tick(2, "harmful")
    driver.tick(1000)
    assert driver.progress.phase == "rolled_back"
    stage = driver.progress.stage
    assert driver.on(Resume())[0].kind == "started"
    assert (driver.progress.phase, driver.progress.step, driver.plan.weight) == ("progressing", 0, 10.0)
    assert driver.progress.stage == driver.progress.evidence_stage == stage + 1


# ------------------------------------------------------------------ edits
@pytest.mark.parametrize("phase", ["progressing", "promoted", "rolled_back"])
def test_the_same_document_again_changes_nothing(phase):
    driver = promoted() if phase == "promoted" else Driver(rollout(Prove()))
    if phase == "rolled_back":
        driver.on(Abort("no"))
    before = driver.progress
    assert driver.on(Edited(replace(driver.document))) == ()
    assert driver.progress == before


def test_a_promoted_rollout_starts_again_only_when_its_course_changes():
    driver = promoted()
    driver.on(Edited(replace(driver.document, timeout_seconds=2.0)))
    assert (driver.progress.phase, driver.plan.stable) == ("promoted", TWO)
    canary = replace(driver.document.canary, target=THREE)
    driver.on(Edited(replace(driver.document, stable=TWO, canary=canary)))
    assert (driver.progress.phase, driver.plan.stable, driver.plan.canary) == ("progressing", TWO, THREE)
    assert driver.plan.warm == (ONE,)


def test_an_edit_of_something_else_keeps_the_step_and_begins_its_evidence_anew():
    driver = Driver(rollout(SetWeight(10), Prove(30), SetWeight(50)))
    driver.tick(20)
    before = driver.progress
    effects = driver.on(Edited(replace(driver.document, guards=(LatencyGuard(1.5),))))
    assert effects[0].kind == "edited"
    after = driver.progress
    assert (after.phase, after.step, after.weight) == (before.phase, before.step, before.weight)
    assert after.waited_seconds == 0.0
    assert after.stage == after.evidence_stage == before.stage + 1


def test_another_candidate_or_other_steps_start_from_the_first_step():
    driver = Driver(rollout(SetWeight(10), Prove()))
    driver.tick(5)
    driver.on(Edited(rollout(SetWeight(5), SetWeight(10), Prove())))
    assert (driver.progress.step, driver.plan.weight) == (0, 5.0)
    driver.on(Edited(rollout(canary=None)))
    assert (driver.progress.phase, driver.plan.canary) == ("idle", None)


def test_any_change_of_the_document_gives_a_rolled_back_candidate_another_chance():
    driver = Driver(rollout(Prove()))
    driver.tick(1, "harmful")
    driver.on(Edited(replace(driver.document, guards=(LatencyGuard(2.0),))))
    assert driver.progress.phase == "progressing"


BESIDE = {
    "examples": Examples(keep=7),
    "record": Record(),
    "shadows": (Shadow(THREE),),
    "keep_warm_seconds": 1.0,
    "canary": "mirror",
}


def beside(document: Rollout, field: str) -> Rollout:
    value = replace(document.canary, mirror=77.0) if field == "canary" else BESIDE[field]
    return replace(document, **{field: value})


def test_how_a_server_is_asked_is_edited_without_beginning_again():
    there = Target("digits/1", "http://triton")
    driver = Driver(rollout(SetWeight(10), PauseStep(60.0), stable=there))
    driver.on(Tick(driver.now, ready=True))
    before = driver.progress
    asked = replace(there, server=Server(connections=3))
    driver.on(Edited(replace(driver.document, stable=asked)))
    after = driver.progress
    assert (after.phase, after.step, after.weight) == (before.phase, before.step, before.weight)
    assert (after.stable, after.warm) == (asked, ()), "it is the same server, of which nothing is kept warm"
    assert after.evidence_stage == after.stage == before.stage + 1
    assert from_json(json.loads(json.dumps(to_json(after)))) == after
    assert to_json(before)["stable"] == {"model": "digits/1", "url": "http://triton"}, "as releases before"


def test_another_model_of_the_same_server_is_another_stable():
    there = Target("digits/1", "http://triton")
    driver = Driver(rollout(SetWeight(10), PauseStep(60.0), stable=there))
    driver.on(Edited(replace(driver.document, stable=replace(there, server=Server(version="4")))))
    assert driver.progress.warm[0].target == there


@pytest.mark.parametrize("field", BESIDE)
def test_an_edit_beside_what_is_judged_leaves_clock_and_evidence_alone(field):
    driver = Driver(rollout(SetWeight(10), PauseStep(30)))
    driver.tick(20)
    before = driver.progress
    assert driver.on(Edited(beside(driver.document, field)))[0].kind == "edited"
    assert driver.progress == before
    driver.tick(1, "harmful")
    driver.on(Edited(beside(driver.document, field if field == "examples" else "examples")))
    assert driver.progress.phase == "rolled_back", "what was taken off for harm stays off"


def test_an_edit_of_a_guard_leaves_the_clock_of_a_pause_alone():
    driver = Driver(rollout(SetWeight(10), PauseStep(30)))
    driver.tick(20)
    before = driver.progress
    driver.on(Edited(replace(driver.document, guards=(LatencyGuard(1.5),))))
    assert driver.progress.waited_seconds == before.waited_seconds > 0
    assert driver.progress.evidence_stage == before.stage + 1


def test_a_new_stable_leaves_the_old_one_warm():
    driver = Driver(rollout(canary=None))
    driver.on(Edited(rollout(canary=None, stable=THREE)))
    assert (driver.plan.stable, driver.plan.warm) == (THREE, (ONE,))
    driver.on(Edited(rollout(canary=None)))
    assert (driver.plan.stable, driver.plan.warm) == (ONE, (THREE,))


# ------------------------------------------------------------------ A/A
AA = StartAA(weight=20.0, mirror=50.0, seconds=30.0, requests=1000, by="anna")


def in_aa(**fields) -> Driver:
    driver = Driver(rollout(canary=None, **fields))
    driver.on(AA)
    return driver


def test_stable_is_its_own_canary_for_a_while_and_then_as_if_it_had_not_been():
    driver = Driver(rollout(canary=None, shadows=(Shadow(THREE),)))
    before, plan = driver.progress, driver.plan
    assert [effect.kind for effect in driver.on(AA)] == ["aa_started"]
    assert (driver.plan.stable, driver.plan.canary) == (ONE, ONE)
    assert (driver.plan.weight, driver.plan.mirror, driver.plan.shadows) == (20.0, 50.0, plan.shadows)
    assert {guard.name for guard in driver.plan.rollout.guards} == {"errors", "latency"}
    assert driver.progress.judged_from == driver.progress.stage == before.stage + 1
    said = "A/A: digits/1 against itself at 20%, 0 of 30 s (started by anna)"
    assert status_sentence(driver.document, driver.progress) == said
    assert driver.tick(30) == ()
    [ended] = driver.tick()
    assert (ended.kind, ended.text) == ("aa_ended", "the A/A of digits/1 against itself ended: after 30 s")
    assert replace(driver.progress, ticked_at=None, stage=before.stage) == before
    assert replace(driver.plan, stage=plan.stage) == plan


def test_no_verdict_moves_an_aa():
    driver = in_aa()
    assert driver.tick(10, "harmful", "7 of 61 failed") == ()
    assert driver.tick(10, "proven") == ()
    assert driver.progress.phase == "aa"


def test_an_aa_ends_by_its_requests_too():
    driver = in_aa()
    driver.now += 1.0
    assert driver.on(Tick(driver.now, counted=999)) == ()
    [ended] = driver.on(Tick(driver.now, counted=1000))
    assert ended.text.endswith("1,000 requests were counted")


def test_an_aa_whose_copy_never_starts_ends_and_says_why():
    driver = in_aa()
    assert driver.tick(int(AA_UNREADY_SECONDS), ready=False) == ()
    driver.now += 1.0
    [ended] = driver.on(Tick(driver.now, ready=False, unready="out of memory"))
    assert ended.text.endswith("its copy was ready nowhere for 120 s: out of memory")
    assert driver.progress.phase == "idle"


def test_an_edit_ends_an_aa_and_the_same_document_does_not():
    driver = in_aa()
    assert driver.on(Edited(driver.document)) == ()
    assert driver.progress.phase == "aa"
    driver.on(Edited(replace(driver.document, examples=Examples(keep=7))))
    assert (driver.progress.phase, driver.progress.aa, driver.plan.canary) == ("idle", None, None)
    driver = in_aa()
    driver.on(Edited(rollout(weight=5.0)))
    assert (driver.progress.phase, driver.plan.canary) == ("idle", TWO)
    driver = in_aa()
    driver.on(Edited(driver.document, other_bytes=True))
    assert driver.progress.aa is None


def test_an_aa_of_a_url_is_refused_with_the_reason():
    driver = Driver(rollout(canary=None, stable=Target("digits/1", "http://triton:8000")))
    with pytest.raises(IllegalTransition, match="stable is behind a URL"):
        driver.on(AA)


# ------------------------------------------------------------------ the table
def in_phase(phase: str) -> Driver:
    if phase == "empty":
        return Driver(rollout(canary=None))
    if phase == "promoted":
        return promoted()
    if phase == "aa":
        return in_aa()
    driver = Driver(rollout(weight=1.0) if phase == "idle" else rollout(Prove()))
    event = {"paused": Pause("x"), "promoting": Promote("x"), "rolled_back": Abort("x")}.get(phase)
    if event is not None:
        driver.on(event)
    return driver


LEGAL = {
    "empty": set(),
    "idle": {Promote, Abort, Failed},
    "progressing": {Pause, Promote, Abort, Failed},
    "paused": {Resume, Promote, Abort, Failed},
    "promoting": {TargetsReady, PromotionFailed, Abort, Failed},
    "promoted": {Abort},
    "rolled_back": {Resume},
    "aa": {Abort, Failed},
}
PEOPLE = (Pause("x"), Resume(), Promote("x"), Abort("x"), TargetsReady(), Failed("x"), PromotionFailed("x"))


@pytest.mark.parametrize("phase", LEGAL)
@pytest.mark.parametrize("event", PEOPLE, ids=lambda event: type(event).__name__)
def test_what_the_table_does_not_have_is_refused_and_changes_nothing(phase, event):
    driver = in_phase(phase)
    before = driver.progress
    if type(event) in LEGAL[phase]:
        assert driver.on(event)
        return
    with pytest.raises(IllegalTransition, match="does not apply to 'digits': ") as refused:
        driver.on(event)
    assert refused.value.status == 409
    assert driver.progress == before


@pytest.mark.parametrize("phase", sorted(LEGAL.keys() - {"empty"}))
def test_an_aa_is_refused_where_there_is_a_canary_or_another_one(phase):
    driver = in_phase(phase)
    with pytest.raises(IllegalTransition, match="no A/A of 'digits': "):
        driver.on(AA)


def test_what_is_not_a_progress_is_refused():
    for value in ({}, {"stable": None, "warm": []}, {**to_json(begin(rollout())), "extra": 1}):
        with pytest.raises(ValueError, match="not a progress"):
            from_json(value)


# ------------------------------------------------------------------ any history
TARGETS = st.sampled_from([ONE, TWO, THREE, Target("digits/2", "http://triton:8000")])
STEPS = st.lists(
    st.one_of(
        st.builds(SetWeight, st.sampled_from([0.0, 0.1, 10.0, 50.0, 100.0])),
        st.builds(PauseStep, st.sampled_from([None, 0.5, 7.0])),
        st.builds(Prove, st.sampled_from([None, 6.0]), st.sampled_from(["pause", "rollback"])),
    ),
    min_size=1,
    max_size=5,
).map(tuple)
CANARIES = st.one_of(
    st.builds(Canary, TARGETS, st.none(), STEPS, st.just(5.0)),
    st.builds(Canary, TARGETS, st.sampled_from([0.0, 20.0])),
)
ROLLOUTS = st.builds(
    Rollout,
    st.just("digits"),
    TARGETS,
    canary=st.one_of(st.none(), CANARIES),
    shadows=st.sampled_from([(), (Shadow(THREE),)]),
    sticky_header=st.sampled_from([None, "x-user", "x-session"]),
    keep_warm_seconds=st.sampled_from([0.0, 8.0]),
)


# ------------------------------------------------------------------ sticky users
def test_a_draw_remembers_the_greatest_weight_that_it_had():
    driver = Driver(rollout(SetWeight(5), SetWeight(50), SetWeight(10), PauseStep(), **STICKY))
    seen = [(driver.plan.weight, driver.plan.used)]
    for _ in range(2):
        driver.tick()
        seen.append((driver.plan.weight, driver.plan.used))
    assert seen == [(5, 0), (50, 5), (10, 50)]
    driver.on(Edited(replace(driver.document, timeout_seconds=2.0)))
    assert (driver.plan.weight, driver.plan.used, driver.plan.draw) == (10, 50, 0), "an edit keeps it"
    assert from_json(json.loads(json.dumps(to_json(driver.progress)))) == driver.progress


def test_a_fixed_weight_that_is_edited_keeps_the_users():
    driver = Driver(rollout(weight=10, **STICKY))
    for weight, used in ((30, 10), (20, 30), (40, 30)):
        driver.on(Edited(rollout(weight=weight, **STICKY)))
        assert (driver.plan.draw, driver.plan.weight, driver.plan.used) == (0, weight, used)


def _abort_and_resume(driver: Driver):
    driver.on(Abort("x"))
    driver.on(Resume())


def _steps_from_below(driver: Driver):
    driver.on(Edited(rollout(SetWeight(1), SetWeight(50), **STICKY)))


def _other_bytes(driver: Driver):
    driver.on(Edited(driver.document, other_bytes=True))


def _another_and_back(driver: Driver):
    other = replace(driver.document.canary, target=THREE)
    before = driver.document
    driver.on(Edited(replace(before, canary=other)))
    driver.on(Edited(before))


def _another_header(driver: Driver):
    driver.on(Edited(replace(driver.document, sticky_header="x-session")))


@pytest.mark.parametrize(
    "change", [_abort_and_resume, _steps_from_below, _other_bytes, _another_and_back, _another_header]
)
def test_users_are_drawn_anew_where_they_go_back_to_stable_anyway(change):
    driver = Driver(rollout(SetWeight(30), PauseStep(), **STICKY))
    driver.tick()
    change(driver)
    assert (driver.plan.draw, driver.plan.used) == (driver.plan.stage, 0)


def test_an_edit_that_makes_users_free_leaves_nobody_out():
    driver = Driver(rollout(weight=50, **STICKY))
    driver.on(Edited(rollout(SetWeight(10), PauseStep())))
    assert (driver.progress.draw, driver.progress.used) == (0, 0)


def test_steps_that_begin_again_no_lower_keep_the_users():
    driver = Driver(rollout(weight=10, **STICKY))
    driver.on(Edited(rollout(SetWeight(10), PauseStep(), **STICKY)))
    assert (driver.plan.draw, driver.plan.used) == (0, 10)


def test_an_aa_draws_users_of_its_own_and_leaves_no_draw_behind():
    driver = Driver(Rollout("digits", ONE, **STICKY))
    for stage in (2, 4):
        driver.on(StartAA(10.0, 100.0, 60.0, None, "anna"))
        assert (driver.plan.draw, driver.plan.used) == (stage, 0)
        driver.on(Abort("x"))
        assert (driver.progress.draw, driver.progress.used) == (0, 0)


def test_without_sticky_users_no_draw_is_remembered():
    driver = Driver(rollout(SetWeight(5), SetWeight(50), PauseStep()))
    driver.tick(2)
    _abort_and_resume(driver)
    driver.tick()
    assert (driver.progress.draw, driver.progress.used) == (0, 0)
    assert not {"draw", "used"} & to_json(driver.progress).keys()


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, in whatever order, keeps the law at the head of `control.rollouts.progress`."""

    @initialize(document=ROLLOUTS)
    def start(self, document):
        self.document = document
        self.progress = begin(document)
        self.now = 0.0
        self.ticked = 0.0  # seconds of ticks, each bounded, since the step began to wait
        self.plans = {self.progress.stage: self.served()}
        self.promotable = False  # by a person, or by the end of the steps
        self.drawn: dict[
            tuple[object, ...], tuple[int, float]
        ] = {}  # by draw: latest stage and greatest weight

    def served(self):
        now = served_by(self.document, self.progress)
        return (_judged(self.document), now.stable, now.canary, now.weight)

    def on(self, event: Event) -> Progress:
        """Apply an event, check what holds for every one, and return the progress before it."""
        before = self.progress
        document = event.rollout if isinstance(event, Edited) else self.document
        try:
            self.progress, effects = advance(self.document, before, event)
        except IllegalTransition:
            assert self.progress is before
            return before
        quiet = replace(
            self.progress,
            waited_seconds=before.waited_seconds,
            unready_seconds=before.unready_seconds,
            ticked_at=before.ticked_at,
            warm=before.warm,
        )
        if not effects:
            assert quiet == before
        self.document = document
        after = self.progress
        if after.waited_seconds == 0.0:
            self.ticked = 0.0
        begun = event.stage if isinstance(event, EpochBegun) else 0
        assert before.stage <= after.stage <= max(before.stage + 1, begun)
        if after.stage > before.stage:
            assert after.stage not in self.plans
        assert self.plans.setdefault(after.stage, self.served()) == self.served()
        assert from_json(json.loads(json.dumps(to_json(after)))) == after
        return before

    @rule(
        seconds=st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0, 3600.0, -3600.0]),
        verdict=st.sampled_from([None, "undecided", "undecided", "proven", "proven", "harmful"]),
        ready=st.sampled_from([True, True, False]),
        age=st.sampled_from([0, 0, 0, 1, 2]),
        served=st.sampled_from([True, True, True, False]),
    )
    def tick(self, seconds, verdict, ready, age, served):
        stage = self.progress.stage - age
        if verdict is not None and age > 0:
            before = self.progress
            with pytest.raises(ForeignVerdict):
                advance(self.document, before, Tick(self.now, verdict, "because", stage, ready))
            return
        self.now += seconds
        if served:
            self.ticked += min(max(seconds, 0.0), MAX_TICK_SECONDS)
        ticked = self.ticked
        before = self.on(Tick(self.now, verdict, "because", stage, ready, served=served))
        after = self.progress
        if not served and after.phase == before.phase:
            assert (after.step, after.waited_seconds) == (before.step, before.waited_seconds)
        if before.aa is not None:
            ended = ticked >= before.aa.seconds or not ready
            assert after.phase == "aa" or (after.phase == "idle" and ended)
            assert (after.stable, after.evidence_stage) == (before.stable, before.evidence_stage)
            return
        if verdict == "harmful" and before.live:
            assert after.phase == "rolled_back"
            return
        if after.step == before.step:
            assert after.stable == before.stable
            return
        assert before.phase == "progressing"
        assert after.step == before.step + 1
        assert served
        match self.document.canary.steps[before.step]:
            case SetWeight(percent):
                assert ready
                assert before.weight == percent
            case PauseStep(length):
                assert length is not None
                assert ticked >= length
            case Prove():
                assert verdict == "proven"

    @rule(passed_by=st.sampled_from([1, 1000]))
    def begin_epoch(self, passed_by):
        stage = self.progress.stage + passed_by
        before = self.on(EpochBegun(stage))
        after = self.progress
        assert after.stage == after.judged_from == stage, "nothing that was counted before speaks about it"
        assert (after.phase, after.step, after.weight) == (before.phase, before.step, before.weight)
        assert (after.stable, after.candidate, after.warm) == (before.stable, before.candidate, before.warm)

    @rule(document=ROLLOUTS)
    def edit(self, document):
        self.on(Edited(document))

    @rule(timeout=st.sampled_from([1.0, 2.0]))
    def edit_in_passing(self, timeout):
        before = self.on(Edited(replace(self.document, timeout_seconds=timeout)))
        after = self.progress
        if before.phase not in {"rolled_back", "aa"}:
            assert (after.phase, after.step, after.stable) == (before.phase, before.step, before.stable)

    @rule(cause=st.sampled_from(["person", "mismatch", "foreign"]))
    def pause(self, cause):
        before = self.on(Pause("x", cause, self.progress.stage))
        assert self.progress.step == before.step
        assert self.progress.waited_seconds == before.waited_seconds

    @precondition(lambda self: self.progress.phase in {"paused", "rolled_back"})
    @rule()
    def resume(self):
        before = self.on(Resume())
        self.promotable = self.promotable or before.cause == "load"
        behind = before.phase == "paused" and before.cause == "step"
        expected = 0 if before.phase == "rolled_back" else before.step + behind
        assert self.progress.step == expected
        assert self.progress.stable == before.stable

    @rule()
    def promote(self):
        before = self.on(Promote("x"))
        assert self.progress.stable == before.stable
        self.promotable = self.promotable or self.progress.phase == "promoting"

    @rule(seconds=st.sampled_from([1.0, 12.0]))
    def start_aa(self, seconds):
        before = self.on(StartAA(10.0, 100.0, seconds, None, "x"))
        possible = before.candidate is None and before.stable.url is None
        assert (self.progress.aa is not None) == (possible or before.aa is not None)
        assert self.progress.evidence_stage == before.evidence_stage

    @rule(event=st.sampled_from([Abort("x"), Failed("x")]))
    def end(self, event):
        self.on(event)

    @rule()
    def promotion_failed(self):
        before = self.on(PromotionFailed("x"))
        after = self.progress
        assert (after.stable, after.weight, after.step) == (before.stable, before.weight, before.step)
        assert after.phase == ("paused" if before.phase == "promoting" else before.phase)

    @rule()
    def targets_ready(self):
        before = self.on(TargetsReady())
        if self.progress.phase == "promoted" != before.phase:
            assert self.promotable or before.step == len(self.document.canary.steps)
            assert self.progress.stable == self.document.canary.target

    @invariant()
    def what_is_served_fits_the_phase(self):
        progress, now = self.progress, served_by(self.document, self.progress)
        if progress.phase != "promoting":
            self.promotable = False
        assert (now.canary is not None) == progress.live
        assert (progress.aa is not None) == (progress.phase == "aa")
        assert progress.aa is None or (self.document.canary, now.canary) == (None, now.stable)
        assert now.weight == 0.0 or progress.live
        assert 0.0 <= now.weight <= 100.0
        assert now.stable == (
            self.document.canary.target if progress.phase == "promoted" else self.document.stable
        )
        assert now.stable not in {entry.target for entry in progress.warm}
        assert all(0.0 < entry.seconds_left <= 8.0 for entry in progress.warm)
        assert len(set(now.warm)) == len(now.warm)
        assert 0.0 <= progress.waited_seconds <= self.ticked
        assert (progress.cause is not None) == (progress.phase == "paused")
        assert progress.evidence_stage <= progress.stage
        assert status_sentence(self.document, progress)

    @invariant()
    def nobody_counts_twice(self):
        """Of one draw of sticky users, the greatest weight of the stages before is known."""
        progress = self.progress
        if self.document.sticky_header is None:
            assert progress.used == 0.0, "where nobody is drawn for good, nobody is left out of the counts"
        if not progress.live or self.document.sticky_header is None:
            return
        draw = progress.candidate, progress.draw, self.document.sticky_header
        stage, greatest = self.drawn.get(draw, (progress.stage, 0.0))
        assert stage <= progress.stage
        if stage < progress.stage:
            assert progress.used == greatest
        self.drawn[draw] = progress.stage, max(greatest, progress.weight)


AnyHistory.TestCase.settings = settings(max_examples=examples(300), stateful_step_count=40, deadline=None)
TestAnyHistory = AnyHistory.TestCase


@given(ROLLOUTS, st.lists(st.sampled_from(PEOPLE), max_size=6), st.data())
def test_killed_between_any_two_events_a_rollout_goes_on_as_if_it_had_not_been(document, events, data):
    straight = restarted = begin(document)
    for event in events:
        now = data.draw(st.floats(0, 1e6))
        verdict = data.draw(st.sampled_from(["proven", "undecided"]))
        for each in (Tick(now, verdict, stage=straight.stage), event):
            try:
                straight, _ = advance(document, straight, each)
                restarted, _ = advance(document, from_json(json.loads(json.dumps(to_json(restarted)))), each)
            except IllegalTransition:
                continue
    assert straight == restarted


TICKS = st.tuples(st.booleans(), st.booleans(), st.sampled_from(["undecided", "proven"]))


@given(ROLLOUTS, st.lists(TICKS, max_size=30))
def test_the_time_of_a_step_never_begins_before_it_is_served(document, ticks):
    """A step has waited for no longer than it was served, and ends in no tick in which it is not."""
    driver, seconds = Driver(document), 0.0
    for served, ready, verdict in ticks:
        before = driver.progress
        driver.now += 1.0
        driver.on(Tick(driver.now, verdict, "because", before.stage, ready, served=served))
        after = driver.progress
        if not served and before.phase == "progressing" and after.phase == "progressing":
            assert (after.step, after.waited_seconds) == (before.step, before.waited_seconds)
        seconds = seconds + served if after.step == before.step else 0.0
        assert after.waited_seconds <= seconds
