"""Sums of outcomes by stage: of any order, exact in a range, on the side that is worse."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.judging.outcomes.amounts import Baseline, amount_sums
from control.judging.outcomes.scores import Answered, bounded_value_bets, scores
from control.judging.outcomes.stage_outcomes import StageOutcomes, matured_outcomes
from harness.adversary import worst_expectation
from router.rollout.values import Outcome

CONVERSION = Outcome("conversion", "binary", 3600)
PAID = Outcome("paid", "number", 3600, range=(0, 10))
REVENUE = Outcome("revenue", "number", 3600)
COST = Outcome("cost", "number", 3600, better="lower", range=(-2, 10))
EACH = [CONVERSION, PAID, REVENUE, COST]
units = st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=20)


def added(outcome, some, weight=0.1, limit=0.05, cut=8.0):
    values, at_canary = zip(*some, strict=True) if some else ((), ())
    if outcome.kind == "binary":
        values = [float(value > 5) for value in values]
    return matured_outcomes(outcome, limit, weight, values, at_canary, cut)


def numbers(found):
    def flat(value):
        if isinstance(value, dict):
            return [each for key in sorted(value) for each in flat(value[key])]
        return [each for one in value for each in flat(one)] if isinstance(value, list) else [value]

    return np.array(flat(found.to_json()))


@settings(deadline=None)
@given(st.sampled_from(EACH), units, st.data())
def test_neither_order_nor_how_they_come_together_matters(outcome, some, data) -> None:
    shuffled = data.draw(st.permutations(some))
    cut = data.draw(st.integers(0, len(some)))
    apart = added(outcome, shuffled[:cut]) + added(outcome, shuffled[cut:])
    np.testing.assert_allclose(numbers(apart), numbers(added(outcome, some)), atol=1e-9)


@settings(deadline=None)
@given(st.sampled_from(EACH), units)
def test_sums_are_kept_as_json(outcome, some) -> None:
    found = added(outcome, some)
    again = StageOutcomes.from_json(json.loads(json.dumps(found.to_json())))
    np.testing.assert_array_equal(numbers(again), numbers(found))


@settings(deadline=None)
@given(units, st.floats(0.01, 0.99), st.floats(0, 0.9))
def test_of_amounts_the_scores_are_those_of_the_room(some, weight, drop) -> None:
    values, at_canary = (np.array(each) for each in zip(*(*some, (1.0, True)), strict=True))
    answered = Answered(values, at_canary, weight)
    nonzero = answered._replace(value=values[values != 0], at_canary=at_canary[values != 0])
    exact = matured_outcomes(PAID, drop, weight, values, at_canary)
    held = bounded_value_bets(nonzero, 10.0, max_drop=drop)
    np.testing.assert_allclose(exact.bets.harm, held.harm, atol=1e-9)
    np.testing.assert_allclose(exact.bets.safe, held.safe, atol=1e-9)
    found = matured_outcomes(REVENUE, drop, weight, values, at_canary, 8.0).sums
    held_sums = amount_sums(nonzero, Baseline(8.0, 0.0), drop)
    assert found.to_json() == pytest.approx(held_sums.to_json())
    less = matured_outcomes(COST, drop, weight, values, at_canary)
    assert less.bets.total == pytest.approx(-float(scores(answered, -drop).sum()))


@pytest.mark.parametrize("outcome", [PAID, COST])
@pytest.mark.parametrize("side", ["harm", "safe"])
@pytest.mark.parametrize("limit", [0.0, 0.2])
def test_no_choice_of_what_comes_makes_more_than_one(outcome, side, limit) -> None:
    """At the tolerance, where the canary has just the mean that is tolerated; stages of any weight."""
    ratio = 1 + limit if outcome.better == "lower" else 1 - limit
    least, most = outcome.range

    def move(w, stable, high, low):
        mean = ratio * stable
        chance = (mean - low) / (high - low)
        return [
            (w * chance, (w, high, True)),
            (w * (1 - chance), (w, low, True)),
            ((1 - w) * stable / most, (w, float(most), False)),
            ((1 - w) * (1 - stable / most), (w, 0.0, False)),
        ]

    @cache
    def bets(weight, value, canary):
        return matured_outcomes(outcome, limit, weight, [value], [canary]).bets

    def e_value(seen):
        sums = [bets(*step) for step in seen]
        return float(np.exp(getattr(sum(sums[1:], sums[0]).evidence(), side))) if sums else 1.0

    low = float(min(least, 0))
    moves = [move(0.1, 5.0, 10.0, low), move(0.5, 3.0, 9.0, 0.0), move(0.9, 4.0, 10.0, 0.0)]
    assert worst_expectation(e_value, moves, 4) == pytest.approx(1.0, abs=1e-9)


def test_without_a_draw_or_a_baseline_there_is_nothing() -> None:
    for weight in (0.0, 1.0):
        assert added(CONVERSION, [(9.0, True)], weight).canary == 0.0
    found = matured_outcomes(REVENUE, 0.05, 0.1, [5.0, 7.0], [True, False])
    assert (found.canary, found.stable_total, found.sums.events) == (1.0, 7.0, 0.0)


def test_a_value_beyond_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond its bounds"):
        matured_outcomes(PAID, 0.05, 0.1, [10.5], [True])
