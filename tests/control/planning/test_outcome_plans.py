"""What guards on outcomes should take: simulated by their tests, mature when they are, and in words."""

import pytest

from control.judging.guards.simulation import Behaviour, Least, ToldOutcome, Traffic
from control.judging.outcomes.conversions import conversion_test
from control.judging.outcomes.paired_labels import PairedLabels, accuracy_bets
from control.planning.harms import harms, left_out
from control.planning.outcomes import Share, beside, needed, told_outcomes, weights
from control.planning.plan import plan
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard
from router.rollout.parser import parse_one
from router.rollout.values import Pause, Prove, SetWeight

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, mirror: 20, steps: [setWeight: 10, prove: {max: 30m}, setWeight: 50, prove: {}]}
outcomes:
  label: {output: label, within: 7d}
  conversion: {kind: binary, within: 1h}
  complaint: {kind: binary, better: lower, within: 1h}
  revenue: {kind: number, within: 1d}
guards:
  accuracy: {outcome: label, margin: 1%}
  conversions: {outcome: conversion, maxDrop: 5%}
  complaints: {outcome: complaint, maxRise: 5%, mode: observe}
  revenue: {outcome: revenue, maxDrop: 5%}
"""
ROLLOUT = parse_one("digits", DOCUMENT, "test")
LEAST = Least(0.05, 1.5, 0.9)
SHARES = {"label": Share(0.1, 0.06), "conversion": Share(0.05), "revenue": Share(0.5)}
TRAFFIC = Traffic(50, 0.0, mirror=0.2, outcomes=told_outcomes(ROLLOUT, SHARES))
CONVERSIONS = OutcomeGuard("conversions", "conversion", max_drop=0.05)


def told(share, matures=0.0):
    return Traffic(100, 0.0, mirror=1.0, outcomes={"conversion": ToldOutcome(share, 0.05, matures)})


def test_what_is_needed_is_what_the_tests_take():
    by_guard = {(each.guard, each.weight): each for each in needed(ROLLOUT, TRAFFIC, LEAST)}
    assert by_guard.keys() == {
        (guard, weight) for guard in ("accuracy", "conversions") for weight in (10, 50)
    }
    labels = by_guard["accuracy", 10]
    expected = PairedLabels(
        0.03 * labels.proof.outcomes, 0.94 * labels.proof.outcomes, 0.03 * labels.proof.outcomes
    )
    assert 3.5 < float(accuracy_bets(expected, 0.01).evidence().safe) < 6.5  # of runs half are proven by then
    assert labels.proof.seconds == pytest.approx(labels.proof.outcomes / (50 * 0.9 * 0.2 * 0.1), rel=0.1)
    at_half = by_guard["conversions", 50]
    half = at_half.proof.outcomes / 2
    assert 3.5 < float(conversion_test([0.5], [half], [half], 0.05).safe) < 6.5
    assert at_half.proof.seconds == pytest.approx(at_half.proof.outcomes / (50 * 0.05), rel=0.1)
    assert by_guard["conversions", 10].proof.outcomes > 2 * at_half.proof.outcomes
    assert at_half.harm.outcomes < at_half.proof.outcomes


def test_needs_are_told_in_words_with_what_comes_on_top():
    words = [each.words() for each in needed(ROLLOUT, TRAFFIC, LEAST)]
    accuracy, conversions = words[:2]
    assert accuracy.startswith("accuracy at 10%: as good a canary is proven after about ")
    assert "3% of labels fewer right are found after about " in accuracy
    assert accuracy.endswith("; labels may come 7 d after their request")
    assert conversions.endswith("; each is mature 60 min after its request")
    slow = needed(ROLLOUT, Traffic(0.01, 0.0, outcomes=TRAFFIC.outcomes), LEAST)
    assert [each.guard for each in slow] == ["conversions", "conversions"]
    assert "is proven not within 365 d at this traffic" in slow[0].words()
    assert (
        slow[0]
        .words()
        .endswith("; that is long: a limit that tolerates more takes less, and so does a greater weight")
    )


def test_what_cannot_be_told_says_why():
    assert left_out(ROLLOUT, TRAFFIC) == ["revenue: how amounts of revenue are spread is not known"]
    quiet = Traffic(50, 0.0, outcomes=told_outcomes(ROLLOUT, {}))
    assert left_out(ROLLOUT, quiet)[:2] == [
        "accuracy: how many requests get a label is not known",
        "conversions: how often conversion comes about is not known",
    ]
    assert harms(ROLLOUT, TRAFFIC, LEAST).keys() == {"3% of labels fewer right", "20% worse outcomes"}
    alone = Traffic(50, 0.0, outcomes=TRAFFIC.outcomes)
    assert left_out(ROLLOUT, alone)[0] == "accuracy: nothing is mirrored, and so no label has two answers"
    said = beside(ROLLOUT, TRAFFIC)
    assert said[0] == (
        "step 2: conversions cannot be proven by then, 30 min after its weight was set: what becomes of an"
        " answer is judged 60 min after it"
    )
    assert said[1].startswith("step 2: revenue cannot be proven by then")
    paused = DOCUMENT.replace("setWeight: 10, ", "setWeight: 10, pause: {duration: 45m}, ")
    assert not any("conversions" in each for each in beside(parse_one("digits", paused, "test"), TRAFFIC))
    assert said[-1] == "say what share of requests have it: --outcome complaint=5%"
    sticky = parse_one("digits", f"{DOCUMENT}sticky: {{header: x}}\n", "test")
    assert any("users count once" in each for each in beside(sticky, TRAFFIC))


def test_weights_are_those_at_which_proofs_are_asked_for():
    assert weights(ROLLOUT) == [10, 50]
    no_proofs = parse_one(
        "d", "{stable: d/1, canary: {model: d/2, steps: [setWeight: 5, setWeight: 100]}}", "f"
    )
    assert weights(no_proofs) == [5]


def test_outcomes_are_mature_so_long_after_their_requests():
    steps = SetWeight(50), Prove(7200)
    at_once, later = (
        plan(steps, [CONVERSIONS], 0.01, told(0.5, matures), Behaviour(0.0), runs=50)[1]
        for matures in (0.0, 1000.0)
    )
    assert later.seconds_median == pytest.approx(at_once.seconds_median + 1000.0, rel=0.1)
    never = plan((SetWeight(50), Prove(900)), [CONVERSIONS], 0.01, told(0.5, 1000.0), Behaviour(0.0), runs=50)
    assert never[1].passed == 0.0


@pytest.mark.parametrize(
    ("guard", "harmful"),
    [
        (CONVERSIONS, Behaviour(0.0, worse_outcomes=0.5)),
        (OutcomeGuard("c", "conversion", max_rise=0.05), Behaviour(0.0, worse_outcomes=0.5)),
        (AccuracyGuard("a", "conversion", 0.01), Behaviour(0.0, less_accurate=0.1)),
    ],
)
def test_each_guard_catches_its_own_kind_of_harm_and_lets_good_ones_through(guard, harmful):
    steps = SetWeight(50), Pause(600), Prove(72_000)
    planned = plan(steps, [guard], 0.01, told(0.2), harmful, runs=100)
    assert planned[1].caught >= 0.98
    assert planned[2].passed >= 0.95


def test_a_canary_at_its_tolerance_is_seldom_taken_off_and_seldom_proven():
    """5 of 100 would be five times alpha: a canary that is just as bad as is tolerated."""
    at_limit = Behaviour(0.0, worse_outcomes=0.05)
    planned = plan(
        (SetWeight(50), Prove(20_000)), [CONVERSIONS], 0.01, told(0.2), at_limit, at_limit, runs=100
    )
    assert planned[1].caught <= 0.05
    assert planned[1].passed <= 0.05
