"""Effects with intervals: the tests of the guards turned around, and right at every look."""

from math import log

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.console import Console

from control.judging.evidence import label_test, limit_test
from control.judging.guard_evidence import Past
from control.judging.guards.effects import (
    accuracy_effect,
    amounts_effect,
    change_effect,
    first,
    ratio_effect,
    share_effect,
)
from control.judging.judge import judge
from control.judging.outcomes.amounts import asymptotic_test
from control.judging.outcomes.conversions import GRID as CONVERSIONS
from control.judging.outcomes.conversions import conversion_test
from control.judging.outcomes.paired_labels import PairedLabels, accuracy_bets
from control.judging.outcomes.stage_outcomes import StageOutcomes, matured_outcomes
from control.judging.verdicts import Effect, guards_as_json
from control.views.schemas import GuardView
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import LatencyGuard
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard
from router.rollout.values import Outcome
from understudy.commands.watch import evidence_tables

LINE = log(100.0)
NEAR = 1e-3  # of the place of an end, far more than the search leaves open
WEIGHTS = st.sampled_from([0.01, 0.1, 0.5, 0.9])
rows = st.lists(st.tuples(WEIGHTS, st.integers(0, 300), st.integers(0, 3000)), min_size=1, max_size=4)


# ------------------------------------------------------------------ the tests, turned around


@settings(deadline=None)
@given(rows)
def test_a_ratio_within_the_interval_is_not_rejected_and_one_beyond_it_is(found) -> None:
    effect = ratio_effect(*np.array(found, float).T, LINE)
    if effect.least > 0.0:
        assert label_test(*np.array(found, float).T, effect.least * (1 - NEAR)).harm >= LINE
        assert label_test(*np.array(found, float).T, effect.least * (1 + NEAR)).harm < LINE
    if effect.greatest is not None:
        assert label_test(*np.array(found, float).T, effect.greatest * (1 + NEAR)).safe >= LINE
        assert label_test(*np.array(found, float).T, effect.greatest * (1 - NEAR)).safe < LINE
    if effect.estimate is not None:
        assert effect.least <= effect.estimate * (1 + NEAR)
        assert effect.greatest is None or effect.estimate <= effect.greatest * (1 + NEAR)


@settings(deadline=None)
@given(rows, st.floats(0.0, 0.9))
def test_what_the_guard_proves_is_within_the_interval(found, drop) -> None:
    """The guard's own tolerance, at the same line: proven means that it is below the least."""
    counts = np.array(found, float).T
    effect = change_effect(*counts, LINE, CONVERSIONS)
    harm, safe = (float(side) for side in conversion_test(*counts, drop))
    assume(abs(harm - LINE) > 0.01)
    assume(abs(safe - LINE) > 0.01)
    assert (safe >= LINE) == (effect.least > -drop)
    assert (harm >= LINE) == (effect.greatest is not None and effect.greatest < -drop)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 20_000), st.integers(0, 300), st.floats(0.0, 0.5))
def test_of_labels_the_guard_and_the_interval_say_the_same(gained, same, lost, margin) -> None:
    labels = PairedLabels(gained, same, lost)
    assume(labels.labels > 0)
    effect = accuracy_effect(labels, LINE)
    assert effect.least - NEAR <= effect.estimate <= effect.greatest + NEAR
    harm, safe = (float(side) for side in accuracy_bets(labels, margin).evidence())
    assume(abs(harm - LINE) > 0.01)
    assume(abs(safe - LINE) > 0.01)
    assert (safe >= LINE) == (effect.least > -margin)
    assert (harm >= LINE) == (effect.greatest < -margin)


@settings(deadline=None)
@given(st.integers(1, 50_000), st.floats(0, 1), st.floats(1e-4, 0.999))
def test_a_share_within_the_interval_is_not_rejected_and_one_beyond_it_is(trials, share, limit) -> None:
    events = round(trials * share)
    effect = share_effect(events, trials, LINE)
    harm, safe = (float(side) for side in limit_test(events, trials, limit))
    assume(abs(harm - LINE) > 0.01)
    assume(abs(safe - LINE) > 0.01)
    assert (harm >= LINE) == (effect.least > limit)
    assert (safe >= LINE) == (effect.greatest < limit)
    assert effect.least - NEAR <= events / trials <= effect.greatest + NEAR


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 5.0), st.sampled_from([0.1, 0.5]), st.floats(0.0, 0.5))
def test_of_amounts_the_guard_and_the_interval_say_the_same(seed, factor, weight, drop) -> None:
    rng = np.random.default_rng(seed)
    at_canary = rng.random(3000) < weight
    values = rng.gamma(2, 3, 3000) * np.where(at_canary, factor, 1.0)
    stage = matured_outcomes(Outcome("revenue", "number", 60), drop, weight, values, at_canary, 1e9)
    effect = amounts_effect([stage], LINE)
    assert effect is not None
    assert effect.asymptotic
    harm, safe = (float(side) for side in asymptotic_test(stage.sums, 0.01))
    assume(abs(harm - LINE) > 0.01)
    assume(abs(safe - LINE) > 0.01)
    assert (safe >= LINE) == (effect.least > -drop)
    assert (harm >= LINE) == (effect.greatest is not None and effect.greatest < -drop)


def test_amounts_have_no_interval_before_there_are_enough_and_nothing_without_stable() -> None:
    of = Outcome("revenue", "number", 60)
    few = matured_outcomes(of, 0.05, 0.5, [2.0, 1.0], [True, False], 9.0)
    assert amounts_effect([few], LINE) == Effect("change", 1.0, None, None, 0.99, asymptotic=True)
    assert (
        amounts_effect([StageOutcomes(0.0), matured_outcomes(of, 0.05, 0.5, [2.0], [True], 9.0)], LINE)
        is None
    )


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 5))
def test_the_place_from_which_something_holds_is_found_from_before(place, low, length) -> None:
    found = first(lambda at: at >= place, low, low + length)
    if place <= low:
        assert found == low
    elif place > low + length:
        assert found == low + length
    else:
        assert place - 1e-5 * length <= found <= place


# ------------------------------------------------------------------ right at every look


@pytest.mark.parametrize(("weight", "ratio"), [(0.1, 0.95), (0.5, 1.0)])
def test_the_true_change_is_left_out_at_some_look_as_seldom_as_was_said(weight, ratio) -> None:
    """Each end by itself: 400 runs of 30 looks at alpha = 5%; 20 are expected at most, 33 is 3 sd more."""
    rng, line, runs = np.random.default_rng(7), log(20.0), 400
    at_canary = weight * ratio / (weight * ratio + 1 - weight)
    events = rng.multinomial(60, [at_canary, 1 - at_canary], (runs, 30)).cumsum(axis=1)
    tests = conversion_test(np.full((runs, 30, 1), weight), events[..., :1], events[..., 1:], 1 - ratio)
    below, above = (int((side >= line).any(axis=1).sum()) for side in (tests.safe, tests.harm))
    assert max(below, above) <= 33
    proven = tests.safe[:, -1] >= line
    for run in {*range(0, runs, 10), *np.flatnonzero(proven)}:
        last = change_effect([weight], events[run, -1:, 0], events[run, -1:, 1], line, CONVERSIONS)
        assert (last.least > ratio - 1) == proven[run]


# ------------------------------------------------------------------ through the judge, and in words


def judged(guard, stage, outcomes=()):
    return judge([guard], [stage], 0.01, None, Past(outcomes={guard.name: outcomes})).guards[0].effect


def test_guards_tell_their_effects() -> None:
    stage = StageCounts(
        0.1,
        RoleCounts(9000, 9000, 90, failures=90),
        RoleCounts(1000, 1000, 30, failures=30),
        {"label": (2000, 20)},
    )
    ratio = judged(ErrorsGuard(1.5), stage)
    assert (ratio.unit, ratio.estimate, ratio.confidence) == (
        "ratio",
        pytest.approx(3, 1e-4),
        pytest.approx(0.99),
    )
    assert 1 < ratio.least < 2
    assert 4 < ratio.greatest < 8
    assert judged(ErrorsGuard(max=0.01), stage).estimate == 0.03
    agreement = judged(AgreementGuard("label", 0.98), stage)
    assert agreement.words().startswith("1% (0.")
    outcome = Outcome("conversion", "binary", 60)
    change = judged(
        OutcomeGuard("c", "conversion", 0.05), stage, [StageOutcomes(0.1, 7, 112, outcome=outcome)]
    )
    assert change.unit == "change"
    assert change.estimate == pytest.approx(7 / 112 * 9 - 1, abs=1e-4)
    gain = judged(
        AccuracyGuard("a", "label", 0.01), stage, [StageOutcomes(0.0, labels=PairedLabels(20, 900, 10))]
    )
    assert (gain.unit, gain.estimate) == ("difference", pytest.approx(10 / 930))


def test_an_effect_is_in_the_view_of_a_guard_and_in_its_table(capsys) -> None:
    stage = StageCounts(0.1, RoleCounts(9000, 9000, 90, failures=90), RoleCounts(1000, 1000, 30, failures=30))
    found = judge([ErrorsGuard(1.5), LatencyGuard(1.25)], [stage], 0.01).guards
    views = [GuardView.model_validate(each).model_dump(mode="json") for each in guards_as_json(found)]
    assert (views[0]["effect"]["unit"], views[1]["effect"]) == ("ratio", None)
    Console(width=200).print(*evidence_tables(views))
    assert f" {found[0].effect.words()} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Effect("change", -0.031, -0.062, 0.004, 0.99), "-3.1% of stable's (-6.2% to +0.4%)"),
        (Effect("change", 0.5, -1.0, None, 0.99), "+50% of stable's (at least -100%)"),
        (Effect("change", 0.5, 0.1, 0.9, 0.99, asymptotic=True), "+50% of stable's (about +10% to +90%)"),
        (Effect("difference", 0.0, -0.01, 0.01, 0.99), "+0 points (-1 to +1)"),
        (Effect("ratio", 3.0, 1.5, 4.25, 0.99), "3 times stable's (1.5 to 4.25)"),
        (Effect("ratio", None, 0.0, None, 0.99), "? times stable's (at least 0)"),
        (Effect("share", 0.012, 0.01, 0.015, 0.99), "1.2% (1% to 1.5%)"),
        (Effect("difference", 0.01, None, None, 0.99), "+1 points"),
    ],
)
def test_an_effect_in_words(effect, words) -> None:
    assert effect.words() == words
