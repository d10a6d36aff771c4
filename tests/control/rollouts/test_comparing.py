import json
from dataclasses import replace

import pytest

from control.rollouts.events import (
    Abort,
    BestFound,
    Edited,
    Event,
    Pause,
    Promote,
    PromotionFailed,
    Resume,
    StartAA,
    TakenOff,
    TargetsReady,
    Tick,
)
from control.rollouts.progress import (
    MAX_TICK_SECONDS,
    ForeignVerdict,
    IllegalTransition,
    advance,
    begin,
    possible,
    served_by,
)
from control.rollouts.state import from_json, status_sentence, to_json
from control.rollouts.writer import Entry
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.snapshot import Arm
from router.rollout.values import Best, Canary, Outcome, Rollout, Target

ONE, TWO, THREE, FOUR = (Target(f"digits/{version}") for version in range(1, 5))
SOLD = Outcome("sold", "binary", 3600.0)


def rollout(*weights: float, best: Best | None = None, **fields) -> Rollout:
    targets = TWO, THREE, FOUR
    candidates = tuple(
        Canary(target, weight=weight, mirror=5.0)
        for target, weight in zip(targets, weights or (20.0, 30.0), strict=False)
    )
    return Rollout("digits", ONE, candidates=candidates, best=best, outcomes=(SOLD,), **fields)


class Driver:
    def __init__(self, document: Rollout) -> None:
        self.document, self.progress, self.now = document, begin(document), 1000.0

    def on(self, event: Event):
        self.progress, effects = advance(self.document, self.progress, event)
        if isinstance(event, Edited):
            self.document = event.rollout
        return [effect.kind for effect in effects]

    def harm(self, target: Target, why: str = "7 of 61 failed"):
        return self.on(TakenOff(target.key, why, self.progress.stage))

    def best(self, target: Target):
        return self.on(BestFound(target.key, f"{target.key} is the best", self.progress.stage))

    def tick(self, seconds: float):
        happened = []
        for _ in range(int(seconds)):
            self.now += 1.0
            happened += self.on(Tick(self.now))
        return happened

    @property
    def served(self):
        return served_by(self.document, self.progress)

    @property
    def sentence(self):
        return status_sentence(self.document, self.progress)


def test_each_candidate_has_its_share_and_its_number():
    driver = Driver(rollout())
    assert driver.served.arms == (Arm(1, TWO, 20.0, 5.0), Arm(2, THREE, 30.0, 5.0))
    assert (driver.served.canary, driver.served.weight, driver.progress.stage) == (None, 0.0, 1)
    assert driver.sentence == "digits/2 at 20% and digits/3 at 30%, against digits/1 and each other"
    assert possible(driver.document, driver.progress) == ["promote", "abort"]


def test_harm_takes_off_one_and_leaves_the_others_their_shares_and_numbers():
    driver = Driver(rollout())
    assert driver.harm(TWO) == ["taken_off"]
    assert driver.served.arms == (Arm(2, THREE, 30.0, 5.0),)
    assert (driver.progress.phase, driver.progress.stage, driver.progress.evidence_stage) == (
        "comparing",
        2,
        1,
    )
    assert driver.sentence == "digits/3 at 30%, against digits/1 and each other, digits/2 taken off"
    with pytest.raises(IllegalTransition, match="digits/2 takes no part"):
        driver.harm(TWO)


def test_without_a_candidate_left_it_is_rolled_back_with_every_reason():
    driver = Driver(rollout())
    driver.harm(TWO)
    assert driver.harm(THREE, "it hangs") == ["rolled_back"]
    assert driver.served.arms == ()
    assert driver.sentence == (
        "digits/2 and digits/3 are taken off, digits/1 is stable"
        " (digits/2: 7 of 61 failed; digits/3: it hangs)"
    )
    assert driver.on(Resume()) == ["started"]
    assert [arm.number for arm in driver.served.arms] == [1, 2]
    assert driver.progress.evidence_stage == driver.progress.stage == 4


@pytest.mark.parametrize("event", [TakenOff, BestFound])
def test_what_was_seen_in_another_stage_is_refused_and_changes_nothing(event):
    driver = Driver(rollout())
    driver.harm(TWO)
    before = driver.progress
    with pytest.raises(ForeignVerdict):
        driver.on(event(THREE.key, "x", 1))
    assert driver.progress is before


def test_a_person_promotes_one_by_its_name_and_all_go_on_until_it_is_loaded():
    driver = Driver(rollout())
    with pytest.raises(IllegalTransition, match="say a target: digits/2 and digits/3"):
        driver.on(Promote("x"))
    with pytest.raises(IllegalTransition, match="'digits/9' is no candidate"):
        driver.on(Promote("x", "digits/9"))
    assert driver.on(Promote("it sells", "digits/3")) == ["promoting"]
    assert [arm.target for arm in driver.served.arms] == [TWO, THREE]
    assert (driver.served.warm, driver.progress.stage) == ((THREE,), 1)
    assert driver.on(TargetsReady()) == ["promoted"]
    assert (driver.served.stable, driver.served.arms, driver.progress.stage) == (THREE, (), 2)
    assert [arm.off_reason for arm in driver.progress.arms] == ["digits/3 was promoted", ""]
    assert driver.on(Abort("no")) == ["rolled_back"]
    assert driver.served.stable == ONE
    assert not driver.progress.on


def test_one_that_was_taken_off_is_not_promoted():
    driver = Driver(rollout())
    driver.harm(THREE)
    with pytest.raises(IllegalTransition, match="digits/3 was taken off: 7 of 61 failed; to promote it"):
        driver.on(Promote("x", "digits/3"))


def test_harm_of_the_one_that_is_promoted_ends_its_promotion_and_not_the_test():
    driver = Driver(rollout())
    driver.on(Promote("x", "digits/3"))
    assert driver.harm(THREE) == ["taken_off"]
    assert (driver.progress.phase, driver.progress.candidate, driver.served.warm) == ("comparing", None, ())
    driver.on(Promote("x", "digits/2"))
    with pytest.raises(IllegalTransition):
        driver.harm(THREE)
    assert driver.progress.phase == "promoting"


def test_a_promotion_that_cannot_be_loaded_leaves_all_as_they_were_until_a_person_says_more():
    driver = Driver(rollout(best=Best("sold", 60.0)))
    driver.on(Promote("x", "digits/3"))
    assert driver.on(PromotionFailed("out of memory")) == ["paused"]
    assert len(driver.served.arms) == 2
    assert driver.sentence == (
        "digits/3 could not be promoted, digits/2 and digits/3 keep their shares (out of memory)"
    )
    assert driver.tick(100) == []
    assert driver.on(Resume()) == ["promoting"]
    driver.on(PromotionFailed("out of memory"))
    assert driver.on(Promote("then that", "digits/2")) == ["promoting"]
    assert driver.progress.candidate == "digits/2"


def test_the_best_is_shown_and_waits_for_a_person_whatever_the_time():
    driver = Driver(rollout(best=Best("sold", 60.0)))
    assert driver.best(THREE) == ["best_found"]
    assert driver.best(TWO) == [], "what was found stays so"
    assert driver.sentence.endswith("(digits/3 is the best)")
    assert driver.tick(100) == []
    assert driver.harm(THREE) == ["taken_off"]
    assert driver.progress.best == ""
    assert driver.tick(100) == ["ended"]


def test_the_best_is_promoted_at_once_where_the_document_says_so():
    driver = Driver(rollout(best=Best("sold", 60.0, promote=True)))
    assert driver.best(THREE) == ["promoting"]
    assert driver.on(TargetsReady()) == ["promoted"]


def test_where_stable_is_the_best_there_is_nothing_to_promote():
    driver = Driver(rollout(best=Best("sold", promote=True)))
    assert driver.best(ONE) == ["ended"]
    assert driver.sentence == (
        "the test of digits/2 and digits/3 has ended, digits/1 answers all (digits/1 is the best)"
    )


def test_to_say_promote_after_the_best_was_found_is_soon_enough():
    driver = Driver(rollout(best=Best("sold")))
    driver.best(THREE)
    assert driver.on(Edited(rollout(best=Best("sold", promote=True)))) == ["edited"]
    assert driver.tick(1) == ["promoting"]


def test_without_a_best_in_time_it_ends_undecided_and_a_jump_of_the_clock_ends_nothing():
    driver = Driver(rollout(best=Best("sold", 60.0)))
    driver.tick(1)
    driver.now += 3600.0
    driver.tick(58 - MAX_TICK_SECONDS)
    assert driver.progress.phase == "comparing"
    assert driver.tick(3) == ["ended"]
    assert (driver.progress.reason, driver.served.arms) == ("undecided after 1m", ())
    assert possible(driver.document, driver.progress) == ["resume"]
    assert driver.on(Resume()) == ["started"]
    assert driver.progress.waited_seconds == 0.0


def test_an_edit_beside_what_is_judged_leaves_clock_and_evidence_alone():
    driver = Driver(rollout(best=Best("sold", 60.0)))
    driver.tick(30)
    driver.harm(TWO)
    before = driver.progress
    less = replace(driver.document, timeout_seconds=driver.document.timeout_seconds)
    mirrors = tuple(replace(each, mirror=100.0) for each in less.candidates)
    assert driver.on(Edited(replace(less, candidates=mirrors, best=Best("sold", 90.0)))) == ["edited"]
    assert driver.progress == before
    assert driver.served.arms == (Arm(2, THREE, 30.0, 100.0),)


def test_another_guard_begins_the_evidence_and_brings_back_who_was_taken_off():
    driver = Driver(rollout(best=Best("sold", 60.0)))
    driver.best(THREE)
    assert driver.on(Edited(replace(driver.document, guards=(ErrorsGuard(1.5),)))) == ["edited"]
    assert (driver.progress.best, driver.progress.evidence_stage) == ("", 2)
    driver.harm(TWO)
    assert driver.on(Edited(replace(driver.document, guards=(ErrorsGuard(2.0),)))) == ["started"]
    assert len(driver.progress.on) == 2


@pytest.mark.parametrize(
    "edited",
    [rollout(20.0, 31.0), rollout(10.0, 10.0, 10.0), Rollout("digits", ONE, canary=Canary(TWO, weight=5.0))],
)
def test_other_candidates_or_shares_begin_another_test(edited):
    driver = Driver(rollout())
    driver.harm(TWO)
    assert driver.on(Edited(edited)) == ["started"]
    assert driver.progress.evidence_stage == driver.progress.stage == 3


def test_what_means_nothing_in_a_test_is_refused():
    driver = Driver(rollout())
    for event in (
        Pause("x"),
        Resume(),
        TargetsReady(),
        PromotionFailed("x"),
        StartAA(1.0, 1.0, 1.0, None, "x"),
    ):
        with pytest.raises(IllegalTransition):
            driver.on(event)


def test_progress_survives_a_restart_and_of_a_canary_is_written_as_before():
    driver = Driver(rollout(best=Best("sold")))
    driver.harm(TWO)
    driver.best(THREE)
    assert from_json(json.loads(json.dumps(to_json(driver.progress)))) == driver.progress
    canary = begin(Rollout("digits", ONE, canary=Canary(TWO, weight=5.0)))
    assert not {"arms", "best"} & to_json(canary).keys()


def test_each_candidate_is_seen_as_a_canary_with_its_chance_beside_stable_and_its_part_of_alpha():
    driver = Driver(rollout(10.0, 20.0, 30.0, alpha=0.03))
    entry = Entry(driver.document, driver.progress, 7)
    two, three, four = entry.each()
    assert (two.number, two.rollout.canary, two.rollout.candidates) == (1, Canary(TWO, 20.0, mirror=5.0), ())
    assert (two.rollout.alpha, two.revision, two.progress.live) == (0.01, 7, True)
    assert (three.progress.candidate, three.progress.weight) == ("digits/3", pytest.approx(100 / 3))
    driver.harm(FOUR)
    two, three = Entry(driver.document, driver.progress, 8).each()
    assert (two.progress.weight, two.rollout.alpha) == (pytest.approx(100 / 8), 0.01)
    assert four.number == 3
    alone = Entry(Rollout("digits", ONE), begin(Rollout("digits", ONE)), 1)
    assert alone.each() == (alone,)


def away(driver: Driver, seconds: int, *targets: Target):
    happened = []
    for _ in range(seconds):
        driver.now += 1.0
        happened += driver.on(Tick(driver.now, away={target.key: "it does not load" for target in targets}))
    return happened


def test_one_that_is_ready_nowhere_for_its_deadline_leaves_the_others_to_be_compared():
    driver = Driver(rollout())
    away(driver, 500, TWO)
    away(driver, 1)
    assert away(driver, 599, TWO) == []
    assert driver.progress.stage == 1
    assert away(driver, 1, TWO) == ["taken_off"]
    assert driver.progress.arms[0].off_reason == "it was ready nowhere for 600 s: it does not load"
    assert [arm.number for arm in driver.served.arms] == [2]


def test_where_nobody_is_ready_nobody_is_to_blame():
    driver = Driver(rollout(best=Best("sold", 2000.0)))
    assert away(driver, 1900, TWO, THREE) == []
    assert len(driver.served.arms) == 2
    assert away(driver, 200, TWO, THREE) == ["ended"]
