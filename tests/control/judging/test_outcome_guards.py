"""Guards on outcomes through the judge: verdicts, words, what is missing, and how long it may take yet."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.judging.guard_evidence import Past
from control.judging.judge import judge, remembered
from control.judging.outcomes.mean_bets import MeanBets
from control.judging.outcomes.paired_labels import PairedLabels, loss_bets
from control.judging.outcomes.stage_outcomes import StageOutcomes, matured_outcomes
from harness.search import examples
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard
from router.rollout.values import Outcome

ACCURACY = AccuracyGuard("accuracy", "label", 0.01)
CONVERSION = Outcome("conversion", "binary", 3600)
COMPLAINT = Outcome("complaint", "binary", 3600, better="lower")
PAID = Outcome("paid", "number", 3600, range=(0, 10))
REVENUE = Outcome("revenue", "number", 3600)
CONVERSIONS = OutcomeGuard("conversions", "conversion", max_drop=0.05)
COMPLAINTS = OutcomeGuard("complaints", "complaint", max_rise=0.05)


def counts(weight=0.1):
    return StageCounts(weight, RoleCounts(90, 90), RoleCounts(10, 10))


def one(guard, *stages, tests=None, sticky=False, weight=0.1):
    past = Past(tests=tests or {}, outcomes={guard.name: stages})
    return judge([guard], [counts(weight)], 0.01, None, past, sticky=sticky).guards[0]


def happened(canary, stable, weight=0.1, outcome=CONVERSION):
    return StageOutcomes(weight, canary, stable, canary, stable, outcome=outcome)


def amounts(outcome, seed, factor, number=4000, weight=0.5, limit=0.05, cut=50.0):
    """Of so many answers each: a tenth brings something."""
    rng = np.random.default_rng(seed)
    at_canary = rng.random(number) < weight
    values = np.where(rng.random(number) < 0.1, rng.gamma(2, 1.2, number), 0.0)
    values = np.minimum(np.where(at_canary, factor, 1.0) * values, 10.0)
    return matured_outcomes(outcome, limit, weight, values, at_canary, cut)


# ------------------------------------------------------------------ what happens or does not


def test_a_canary_that_converts_much_less_is_harmful_in_words_with_numbers():
    found = one(CONVERSIONS, happened(7, 112, 0.2))
    assert found.verdict == "harmful"
    assert found.reason.startswith(
        "harmful: conversion: 7 of the canary's answers and 112 of stable's at a weight of 20%, where an"
        " equal canary would have about 23.8; tolerated is 5% less than stable's; e-value "
    )
    assert found.more_to_harm == 0


def test_a_canary_that_converts_alike_is_proven_once_there_is_enough():
    assert one(CONVERSIONS, happened(100, 900)).verdict == "undecided"
    found = one(CONVERSIONS, happened(30_000, 30_000, 0.5))
    assert found.verdict == "proven"
    assert "for at most 5% less than stable's, needed 100" in found.reason


def test_where_less_is_better_it_is_the_other_way_round():
    more, fewer = happened(200, 400, 0.2, COMPLAINT), happened(20, 400, 0.2, COMPLAINT)
    assert one(COMPLAINTS, more).verdict == "harmful"
    assert one(COMPLAINTS, fewer).verdict == "proven"
    assert "tolerated is 5% more than stable's" in one(COMPLAINTS, fewer).reason


def test_stages_of_all_weights_count_and_those_without_a_draw_do_not():
    stages = happened(1, 300, 0.02), happened(10, 150, 0.2), happened(5000, 0, 1.0)
    found = one(CONVERSIONS, *stages, weight=0.2)
    assert "11 of the canary's answers and 450 of stable's at weights of 2% to 20%" in found.reason
    assert found.log_harm == pytest.approx(one(CONVERSIONS, *stages[:2], weight=0.2).log_harm)
    users = one(CONVERSIONS, *stages, weight=0.2, sticky=True)
    assert "11 of the canary's users" in users.reason


@settings(deadline=None, max_examples=examples(30))
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.01, 0.1, 0.5]), st.integers(0, 50), st.integers(0, 500)),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_stages_does_not_matter(rows, random):
    stages = [happened(canary, stable, weight) for weight, canary, stable in rows]
    shuffled = list(stages)
    random.shuffle(shuffled)
    found, again = one(CONVERSIONS, *stages), one(CONVERSIONS, *shuffled)
    assert found.verdict == again.verdict
    if found.log_harm is not None:
        assert (found.log_harm, found.log_safe) == (
            pytest.approx(again.log_harm),
            pytest.approx(again.log_safe),
        )


def test_a_change_that_comes_late_is_found_as_soon_as_one_that_was_there_from_the_start():
    """After a week of good service; each look is a tick, at which the tests are remembered."""
    good, tests = happened(10_000, 90_000), {}
    past = Past(outcomes={CONVERSIONS.name: [good]})
    for _ in range(100):
        tests = remembered([CONVERSIONS], [counts()], replace(past, tests=tests))
    late = one(CONVERSIONS, replace(good, stable=good.stable + 400), tests=tests)
    assert late.verdict == "harmful"
    assert one(CONVERSIONS, replace(good, stable=good.stable + 400)).verdict != "harmful"


@pytest.mark.parametrize(
    "stage", [happened(300, 2700), happened(40, 500), happened(65, 900, 0.1), happened(900, 900, 0.5)]
)
def test_the_forecast_comes_true_at_the_same_rates(stage):
    found = one(CONVERSIONS, stage, weight=stage.weight)
    for more, side in ((found.more_to_proof, "proven"), (found.more_to_harm, "harmful")):
        if more:
            times = 1 + more / (stage.canary + stage.stable)
            after = happened(stage.canary * times, stage.stable * times, stage.weight)
            assert one(CONVERSIONS, after, weight=stage.weight).verdict == side
            before = happened(*(each * (1 + (times - 1) * 0.85) for each in (stage.canary, stage.stable)))
            before = replace(before, weight=stage.weight)
            assert one(CONVERSIONS, before, weight=stage.weight).verdict == "undecided"
    assert found.more_to_proof or found.more_to_harm


# ------------------------------------------------------------------ amounts


def test_amounts_in_a_range_are_judged_exactly():
    guard = OutcomeGuard("revenue", "paid", max_drop=0.05)
    harmful = one(guard, amounts(PAID, 1, 0.4), weight=0.5)
    assert harmful.verdict == "harmful"
    assert " of the canary's answers and " in harmful.reason
    assert harmful.doubt == ""
    proven = one(guard, amounts(PAID, 2, 2.0), weight=0.5)
    assert proven.verdict == "proven"
    assert one(guard, amounts(PAID, 3, 1.0), weight=0.5).verdict == "undecided"


def test_amounts_without_a_range_are_an_approximation_and_say_so():
    guard = OutcomeGuard("revenue", "revenue", max_drop=0.05)
    few = one(guard, amounts(REVENUE, 1, 1.0, number=1000), weight=0.5)
    assert few.verdict == "undecided"
    assert "before 500 amounts other than 0, 50 of each side" in few.reason
    assert few.log_harm is None
    no_baseline = one(guard, amounts(REVENUE, 1, 1.0, cut=None), weight=0.5)
    assert "too few of those (give the outcome a `range`" in no_baseline.reason
    harmful = one(guard, amounts(REVENUE, 1, 0.4, number=20_000), weight=0.5)
    assert harmful.verdict == "harmful"
    assert "an approximation for many amounts" in harmful.doubt
    proven = one(guard, amounts(REVENUE, 1, 1.5, number=20_000), weight=0.5)
    assert proven.verdict == "proven"
    assert "an approximation for many amounts" in proven.reason


def test_where_less_is_better_amounts_are_turned_around():
    cost = Outcome("cost", "number", 3600, better="lower", range=(0, 10))
    guard = OutcomeGuard("cost", "cost", max_rise=0.05)
    assert one(guard, amounts(cost, 1, 2.0), weight=0.5).verdict == "harmful"
    assert one(guard, amounts(cost, 2, 0.3), weight=0.5).verdict == "proven"


# ------------------------------------------------------------------ labels


def test_labels_are_judged_by_pairs():
    harmful = one(ACCURACY, StageOutcomes(0.0, labels=PairedLabels(5, 900, 95)))
    assert harmful.verdict == "harmful"
    assert harmful.reason.startswith(
        "harmful: of 1,000 labels of label only the canary was right about 5 and only stable about 95;"
        " tolerated are 1% of the labels fewer; e-value "
    )
    proven = one(ACCURACY, StageOutcomes(0.0, labels=PairedLabels(700, 20_000, 700)))
    assert proven.verdict == "proven"
    assert "for at most 1% of the labels fewer right" in proven.reason
    waiting = one(ACCURACY, StageOutcomes(0.0, labels=PairedLabels(7, 200, 7)))
    assert (waiting.verdict, waiting.more_to_harm) == ("undecided", None)
    assert 1000 < waiting.more_to_proof < 30_000


def test_labels_with_a_loss_are_judged_by_its_sums():
    rng = np.random.default_rng(1)
    worse = loss_bets(np.clip(rng.normal(-0.1, 0.1, 2000), -1, 1), 0.01)
    found = one(ACCURACY, StageOutcomes(0.0, bets=worse))
    assert found.verdict == "harmful"
    assert "over 2,000 labels of label the canary's mean loss was 1" in found.reason
    assert "% of the range more than stable's" in found.reason
    better = loss_bets(np.clip(rng.normal(0.05, 0.1, 2000), -1, 1), 0.01)
    proven = one(ACCURACY, StageOutcomes(0.0, bets=better))
    assert proven.verdict == "proven"
    assert "for a mean loss of at most 1% of the range more" in proven.reason


# ------------------------------------------------------------------ what is missing


def test_nothing_told_is_undecided_and_says_what_is_missing():
    nothing = "undecided: no conversion of an answer that was drawn was told yet (`POST /v1/outcomes`)"
    assert one(CONVERSIONS).reason == one(CONVERSIONS, happened(0, 0)).reason == nothing
    told = replace(happened(0, 0), waiting=3, matures_in=1800.0)
    assert one(CONVERSIONS, told).reason == (
        "undecided: 3 of conversion are told, and none is mature yet: the first is in 30 min"
    )
    some = replace(happened(5, 40), waiting=3)
    assert one(CONVERSIONS, some).reason.count("3 that are told are not mature yet") == 1


def test_a_label_without_a_pair_says_that_pairs_come_from_mirroring():
    nothing = one(ACCURACY)
    assert nothing.reason == (
        "undecided: no label of label was told yet (`POST /v1/outcomes`); only of a mirrored request both"
        " answers are known, and none was mirrored yet (`mirror` of the canary says how many are)"
    )
    alone = one(ACCURACY, StageOutcomes(0.0, waiting=12))
    assert "of 12 labels of label none is of a request that both answered" in alone.reason
    past = Past(outcomes={"accuracy": [StageOutcomes(0.0, waiting=12)]})
    mirrored = [replace(counts(), agreement={"label": (50, 1)})]
    assert "none was mirrored" not in judge([ACCURACY], mirrored, 0.01, None, past).reason


def test_where_nobody_is_drawn_anew_the_guard_says_so():
    stages = [StageCounts(0.1), StageCounts(0.0, beyond=0.1)]
    past = Past(outcomes={CONVERSIONS.name: [happened(3, 40)]})
    found = judge([CONVERSIONS], stages, 0.01, None, past, sticky=True).guards[0]
    assert "no user is drawn anew in this stage" in found.doubt
    assert found.more_to_proof is None


def test_bets_of_nothing_are_no_evidence():
    assert one(ACCURACY, StageOutcomes(0.0, bets=MeanBets())).log_harm is None
