from dataclasses import replace

import pytest

from control.judging.verdicts import GuardVerdict, Judgement
from control.rollouts.state import AATest, Progress
from control.views.candidates import Judged
from control.views.needs import URGENCY, Unready, needs
from router.rollout.values import Target

STEADY = Progress("idle", Target("m/1"), "m/2", weight=10.0)
PAUSED = replace(STEADY, phase="paused", reason="because")
DEAD = Unready("m/2", "canary", 0, 2, "the sandbox does not answer")


def found(progress=STEADY, gap="", unready=(), judgement=None, *, keys_full=False):
    return needs(progress, gap, unready, Judged(judgement), keys_full=keys_full)


def test_a_rollout_that_is_well_needs_nobody():
    for phase in ("idle", "progressing", "promoting", "promoted"):
        assert found(replace(STEADY, phase=phase)) == ()


def test_a_dead_canary_needs_a_person_with_the_reason():
    [need] = found(unready=[DEAD])
    assert need.kind == "not_ready"
    assert need.sentence == "canary m/2 is ready in no process: the sandbox does not answer"
    [need] = found(unready=[replace(DEAD, ready=1, role="shadow")])
    assert need.title == "Shadow not ready"
    assert "in 1 of 2 processes only" in need.sentence


def test_a_pause_says_who_or_what_it_waits_for():
    causes = ("step", "person", "undecided", "mismatch", "load", "unready", "foreign")
    titles = {cause: found(replace(PAUSED, cause=cause))[0].title for cause in causes}
    assert len(set(titles.values())) == len(causes)
    assert titles["undecided"] == "Not proven"
    assert titles["person"] == "Paused by a person"
    assert all("because" in found(replace(PAUSED, cause=cause))[0].sentence for cause in causes)


def test_a_canary_that_is_held_because_it_is_ready_nowhere_is_said_once():
    assert len(found(replace(PAUSED, cause="unready"), unready=[DEAD])) == 1
    assert len(found(replace(PAUSED, cause="person"), unready=[DEAD])) == 2


def test_the_most_urgent_comes_first():
    everything = found(PAUSED, "1 of 2 workers do not serve m/1: nobody answers", [DEAD], keys_full=True)
    kinds = [need.kind for need in everything]
    assert kinds == sorted(kinds, key=lambda kind: URGENCY[kind])
    assert kinds[0] == "not_served"


def judged(verdict="undecided", mode="enforce", hold=None) -> Judgement:
    return Judgement("undecided", "", (GuardVerdict("latency", mode, verdict, "harmful: slow"),), hold)


def test_a_guard_in_doubt_needs_a_person_whatever_its_verdict():
    guard = GuardVerdict("agreement", "enforce", "proven", "proven: fine", doubt="bodies repeat")
    [need] = found(judgement=Judgement("proven", "", (guard,)))
    assert (need.kind, need.target, need.sentence) == ("doubtful", "agreement", "agreement: bodies repeat")


def test_harm_that_is_only_observed_needs_a_person_and_what_acts_does_not():
    assert [need.kind for need in found(judgement=judged("harmful", "observe"))] == ["harm_observed"]
    assert found(judgement=judged("harmful")) == ()
    assert found(judgement=judged("proven", "observe")) == ()


def test_a_false_alarm_of_an_aa_asks_nothing_of_anybody_and_its_draws_do():
    itself = replace(STEADY, phase="aa", candidate="m/1", aa=AATest(2, 100.0, 60.0, None, "anna"))
    assert found(itself, judgement=judged("harmful", "observe")) == ()
    assert [need.kind for need in found(itself, judgement=judged(hold="off"))] == ["sample_ratio"]


@pytest.mark.parametrize("phase", ["idle", "progressing", "promoting"])
def test_draws_that_do_not_fall_as_the_weight_says_need_a_person(phase):
    [need] = found(replace(STEADY, phase=phase), judgement=judged(hold="the draws are off"))
    assert need.kind == "sample_ratio"
    assert "the draws are off" in need.sentence


def test_a_candidate_that_was_taken_off_is_still_in_the_document():
    [need] = found(replace(STEADY, phase="rolled_back", reason="errors: harmful"))
    assert need.kind == "taken_off"
    assert "errors: harmful" in need.sentence
