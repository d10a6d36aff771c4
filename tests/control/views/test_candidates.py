from dataclasses import replace

import pytest

from control.judging.outcomes.best import best_of
from control.judging.outcomes.side_sums import SideSums
from control.judging.verdicts import GuardVerdict, Judgement
from control.rollouts.progress import begin
from control.views.candidates import Judged, best_view, candidates_view
from control.views.needs import needs
from control.views.schemas import BestView, CandidateView
from router.rollout.parser import of_our_own
from router.rollout.snapshot import Arm, ServedRollout

DOCUMENT = {
    "stable": "m/1",
    "candidates": [
        {"model": "m/2", "weight": 20},
        {"model": "m/3", "weight": 30, "mirror": 50},
    ],
    "outcomes": {"paid": {"kind": "binary", "within": "1h"}},
    "best": {"outcome": "paid", "max": "14d"},
}
ERRORS = GuardVerdict("errors", "enforce", "harmful", "harmful: it fails")
HARMFUL = Judgement("harmful", "errors: harmful: it fails", (ERRORS,))


@pytest.fixture
def rollout():
    return of_our_own("m", DOCUMENT, "test")


def served(rollout, *numbers):
    arms = [
        Arm(number, each.target, each.weight, each.mirror)
        for number, each in enumerate(rollout.candidates, 1)
        if number in numbers
    ]
    return ServedRollout(rollout, 1, rollout.stable, arms=tuple(arms))


def taken_off(rollout, target, reason="errors: harmful"):
    progress = begin(rollout)
    arms = [replace(arm, off_reason=reason) if arm.target == target else arm for arm in progress.arms]
    return replace(progress, arms=tuple(arms))


def test_each_candidate_keeps_its_number_and_says_why_it_was_taken_off(rollout):
    ready = {"m/3": {"w1": True, "w2": False}}
    off = taken_off(rollout, "m/2")
    gone, going_on = candidates_view(rollout, off, served(rollout, 2), ready, {"m/3": HARMFUL})
    assert (gone["number"], gone["on"], gone["reason"], gone["ready"]) == (1, False, "errors: harmful", {})
    assert (going_on["number"], going_on["on"], going_on["mirror"]) == (2, True, 50.0)
    assert going_on["judgement"]["guards"][0]["guard"] == "errors"
    for each in (gone, going_on):
        CandidateView.model_validate(each)


def test_what_was_judged_of_a_candidate_that_is_off_is_not_shown_as_if_it_were_judged_now(rollout):
    off = taken_off(rollout, "m/2")
    gone, _ = candidates_view(rollout, off, served(rollout, 2), {}, {"m/2": HARMFUL})
    assert gone["judgement"] is None


def test_a_rollout_without_candidates_has_none_and_no_best():
    plain = of_our_own("m", {"stable": "m/1", "canary": {"model": "m/2", "weight": 5}}, "test")
    progress = begin(plain)
    assert candidates_view(plain, progress, ServedRollout(plain, 1, plain.stable), {}, {}) == []
    assert best_view(plain, progress, None) is None


def test_the_best_is_said_before_and_after_it_is_found(rollout):
    progress = replace(begin(rollout), waited_seconds=86_400.0)
    before = best_view(rollout, progress, None)
    assert (before["found"], before["leader"], before["sides"]) == (None, None, [])
    assert before["seconds_left"] == 13 * 86_400.0
    sums = SideSums.nothing([0.5, 0.2, 0.3])
    sums.units[:] = 100, 150, 60
    found = best_of(rollout.outcomes[0], ["m/1", "m/2", "m/3"], {0, 1, 2}, [sums], 0.05)
    after = best_view(rollout, replace(progress, best="m/2"), found)
    assert (after["found"], after["leader"], after["seconds_left"]) == ("m/2", "m/2", None)
    assert after["sides"][1]["to_stable"] == pytest.approx(150 / 0.2 / (100 / 0.5))
    assert "m/2 is better than each of the others" in after["reason"]
    for each in (before, after):
        BestView.model_validate(each)


def test_who_takes_part_and_who_was_found_needs_a_person_in_words(rollout):
    progress = begin(rollout)
    assert needs(progress, "", (), Judged()) == ()
    [found] = needs(replace(progress, best="m/2", reason="m/2 is the best: it is"), "", (), Judged())
    assert (found.kind, found.target) == ("best_found", "m/2")
    assert found.sentence == "m/2 is the best: it is; promote it, or abort the test"
    [stable] = needs(replace(progress, best="m/1", reason="m/1 is the best"), "", (), Judged())
    assert stable.sentence == "m/1 is the best; abort the test"
    [ended] = needs(replace(progress, phase="ended", reason="undecided after 14d"), "", (), Judged())
    assert (ended.kind, "undecided after 14d" in ended.sentence) == ("test_ended", True)
    [none] = needs(replace(progress, phase="rolled_back", reason="m/2: harm; m/3: harm"), "", (), Judged())
    assert (none.kind, "every candidate was taken off (m/2: harm" in none.sentence) == ("taken_off", True)


def test_a_guard_that_only_observes_harm_names_its_candidate(rollout):
    observed = replace(HARMFUL, verdict="undecided", guards=(replace(ERRORS, mode="observe"),))
    [need] = needs(begin(rollout), "", (), Judged(arms={"m/3": observed}))
    assert (need.kind, need.target) == ("harm_observed", "m/3")
    assert need.sentence == "m/3: errors only observes: harmful: it fails"
    [off] = needs(
        begin(rollout), "", (), Judged(arms={"m/2": replace(HARMFUL, guards=(), hold="drawn too often")})
    )
    assert (off.kind, off.sentence) == (
        "sample_ratio",
        "m/2: drawn too often; no verdict on it can be trusted",
    )
