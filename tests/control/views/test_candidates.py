import pytest

from control.judging.verdicts import GuardVerdict, Judgement
from control.views.candidates import Best, Side, best_view, candidates_view
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


def test_each_candidate_keeps_its_number_and_says_why_it_was_taken_off(rollout):
    off = {"m/2": "errors: harmful"}
    ready = {"m/3": {"w1": True, "w2": False}}
    gone, going_on = candidates_view(rollout, served(rollout, 2), off, ready, {"m/3": HARMFUL})
    assert (gone["number"], gone["on"], gone["reason"], gone["ready"]) == (1, False, "errors: harmful", {})
    assert (going_on["number"], going_on["on"], going_on["mirror"]) == (2, True, 50.0)
    assert going_on["judgement"]["guards"][0]["guard"] == "errors"
    for each in (gone, going_on):
        CandidateView.model_validate(each)


def test_what_was_judged_of_a_candidate_that_is_off_is_not_shown_as_if_it_were_judged_now(rollout):
    gone, _ = candidates_view(rollout, served(rollout, 2), {}, {}, {"m/2": HARMFUL})
    assert gone["judgement"] is None


def test_a_rollout_without_candidates_has_none_and_no_best():
    plain = of_our_own("m", {"stable": "m/1", "canary": {"model": "m/2", "weight": 5}}, "test")
    assert candidates_view(plain, ServedRollout(plain, 1, plain.stable), {}, {}, {}) == []
    assert best_view(plain, None) is None


def test_the_best_is_said_before_and_after_it_is_found(rollout):
    before = best_view(rollout, None)
    assert (before["found"], before["leader"], before["sides"]) == (None, None, [])
    sides = Side("m/1", 400, 0.1), Side("m/2", 200, 0.12), Side("m/3", 300, None)
    after = best_view(rollout, Best(sides, "m/2", "m/2", "m/2 is better than each other side", 60.0))
    assert (after["found"], after["sides"][2]["value"], after["seconds_left"]) == ("m/2", None, 60.0)
    for each in (before, after):
        BestView.model_validate(each)
