"""The verdict in one word: what guards say now of the candidate that is asked for, or what became of it."""

from dataclasses import replace

import pytest

from control.judging.verdicts import Judgement
from control.rollouts.progress import begin
from control.rollouts.state import AATest
from control.rollouts.writer import Entry
from control.views.candidates import Judged
from control.views.schemas import VerdictView
from control.views.verdict import verdict_view
from router.rollout.parser import of_our_own
from serving.errors import InvalidInput

NOTHING = Judged()
ONE = {"stable": "m/1", "canary": {"model": "m/2", "weight": 10}}
SEVERAL = {"stable": "m/1", "candidates": [{"model": "m/2", "weight": 20}, {"model": "m/3", "weight": 30}]}
PROVEN, HARMFUL, UNDECIDED = (
    Judgement(word, f"it is {word}", ()) for word in ("proven", "harmful", "undecided")
)


def entry(document, **changes):
    rollout = of_our_own("m", document, "test")
    return Entry(rollout, replace(begin(rollout), **changes), 7)


def asked(found, seen=NOTHING, candidate=None):
    view = verdict_view(found, seen, candidate)
    VerdictView.model_validate(view)
    return view["verdict"], view["reason"]


@pytest.mark.parametrize("judgement", [PROVEN, HARMFUL, UNDECIDED])
def test_a_canary_is_what_its_guards_say(judgement):
    assert asked(entry(ONE), Judged(judgement)) == (judgement.verdict, judgement.reason)
    assert asked(entry(ONE), Judged(judgement), "m/2") == (judgement.verdict, judgement.reason)


def test_before_the_first_look_nothing_is_decided():
    assert asked(entry(ONE)) == ("undecided", "nothing was judged yet in stage 1")


def test_of_anyone_else_nothing_is_said():
    assert asked(entry(ONE), Judged(PROVEN), "m/9")[0] == "none"
    assert asked(entry(ONE), Judged(PROVEN), "m/1")[0] == "none"
    assert asked(entry({"stable": "m/1"}))[0] == "none"
    aa = AATest(stage=1, mirror=100.0, seconds=60.0, requests=None, by="ann")
    assert asked(entry(ONE, phase="aa", candidate="m/1", aa=aa), Judged(PROVEN))[0] == "none"


def test_what_became_of_it_outlasts_what_was_said_of_it():
    promoted = entry(ONE, phase="promoted")
    promoted = replace(promoted, progress=replace(promoted.progress, stable=promoted.rollout.canary.target))
    assert asked(promoted, Judged(PROVEN))[0] == "promoted"
    assert asked(entry(ONE, phase="rolled_back", reason="errors"), Judged(PROVEN)) == (
        "taken_off",
        "m/2 is taken off, m/1 is stable (errors)",
    )


def test_of_several_candidates_one_has_to_be_named():
    with pytest.raises(InvalidInput, match=r"name one, \?candidate="):
        asked(entry(SEVERAL))
    seen = Judged(arms={"m/2": HARMFUL, "m/3": PROVEN})
    assert asked(entry(SEVERAL), seen, "m/3") == ("proven", "it is proven")
    found = entry(SEVERAL)
    off = tuple(
        replace(arm, off_reason="errors" if arm.target == "m/2" else "") for arm in found.progress.arms
    )
    found = replace(found, progress=replace(found.progress, arms=off))
    assert asked(found, seen, "m/2") == ("taken_off", "errors")
    assert asked(found, Judged(), "m/3")[0] == "undecided"
