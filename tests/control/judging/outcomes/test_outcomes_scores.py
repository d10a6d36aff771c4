"""Scores: unbiased for any expectation, within their bounds, and exact bets on them."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.scores import Answered, bounded_value_bets, score_bounds, scores
from harness.adversary import worst_expectation

WEIGHTS = st.floats(0.01, 0.99)
SHARES = st.floats(0.0, 1.0)
DROPS = st.floats(0.0, 0.9)


@given(WEIGHTS, st.floats(-100, 100), st.floats(-100, 100), st.floats(-100, 100), DROPS)
def test_the_mean_is_the_difference_whatever_was_expected(w, canary, stable, expected, drop) -> None:
    """Expectation over the draw of one request, whose value would be `canary` or `stable`."""
    psi = scores(Answered([canary, stable], [True, False], w, expected), drop)
    assert w * psi[0] + (1 - w) * psi[1] == pytest.approx(canary - (1 - drop) * stable, abs=1e-6)


@given(WEIGHTS, SHARES, SHARES, st.booleans(), DROPS, st.sampled_from([1.0, 500.0]))
def test_scores_keep_within_their_bounds_and_reach_them(w, value, expected, at_canary, drop, most) -> None:
    least, greatest = score_bounds(w, expected * most, most, drop)
    psi = scores(Answered(value * most, at_canary, w, expected * most), drop)
    assert least - 1e-9 * most <= psi <= greatest + 1e-9 * most
    corners = [
        float(scores(Answered(y, a, w, expected * most), drop)) for y in (0.0, most) for a in (True, False)
    ]
    assert (min(corners), max(corners)) == (pytest.approx(float(least)), pytest.approx(float(greatest)))


def test_without_expectation_the_bounds_are_those_of_the_page() -> None:
    assert score_bounds(0.1, 0.0, 2.0) == (pytest.approx(-2.0 / 0.9), pytest.approx(2.0 / 0.1))


@pytest.mark.parametrize(("drop", "margin"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.1)])
@pytest.mark.parametrize("side", ["harm", "safe"])
def test_no_choice_of_what_comes_and_of_stopping_makes_more_than_one(side, drop, margin) -> None:
    """The adversary picks weights, expectations and how values spread, all from the past."""

    def move(w, expected, stable, high):
        canary = (1 - drop) * stable - margin  # the canary's mean, of values 0 and `high`
        return [
            (w * canary / high, (high, True, w, expected)),
            (w * (1 - canary / high), (0.0, True, w, expected)),
            ((1 - w) * stable, (1.0, False, w, expected)),
            ((1 - w) * (1 - stable), (0.0, False, w, expected)),
        ]

    @cache
    def bets(*answered):
        return bounded_value_bets(Answered(*([each] for each in answered)), 1.0, max_drop=drop, margin=margin)

    def e_value(seen):
        won = [bets(*step) for step in seen]
        return float(np.exp(getattr(sum(won[1:], won[0]).evidence(), side))) if won else 1.0

    moves = [move(0.1, 0.0, 0.5, 1.0), move(0.5, 0.4, 0.3, 0.5), move(0.5, 2.0, 0.9, 1.0)]
    assert worst_expectation(e_value, moves, 4) == pytest.approx(1.0, abs=1e-9)


def test_requests_without_an_outcome_may_come_together() -> None:
    at_once = bounded_value_bets(Answered([0.0, 0.0, 3.0], [True, False, True], 0.1, 0.2, [2, 5, 1]), 10.0)
    canary = [True] * 2 + [False] * 5 + [True]
    one_by_one = bounded_value_bets(Answered([0.0] * 7 + [3.0], canary, 0.1, 0.2), 10.0)
    np.testing.assert_allclose(at_once.harm, one_by_one.harm)
    np.testing.assert_allclose(at_once.safe, one_by_one.safe)


@pytest.mark.parametrize("value", [-0.1, 10.1])
def test_a_value_out_of_range_is_refused(value) -> None:
    with pytest.raises(ValueError, match="between 0 and 10"):
        bounded_value_bets(Answered([value], [True], 0.5), 10.0)
