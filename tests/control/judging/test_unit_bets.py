"""Units weigh the same, however many requests are in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.betting import harm_bets, safe_bets
from control.judging.evidence import bets_test
from control.judging.unit_bets import TimedUnits, UnitBets, weighed


def test_units_of_time_are_at_least_as_long_as_said():
    units = TimedUnits()
    for second, pair in ((3, (10, 1)), (4, (30, 3)), (5, (8, 8)), (9, (2, 2)), (9, (5, 5)), (11, (1, 0))):
        units = units.taken(second, *pair, 2, 0.1)
    # Seconds 3 and 4 are a unit, 5 one that the gap ends, 9 one that 11 ends; 9 is taken once.
    assert (units.bets.units, units.bets.shares) == (3.0, pytest.approx(0.1 + 1.0 + 1.0))
    expected = harm_bets([0.1, 1.0], [1, 2], 0.1)
    np.testing.assert_allclose(units.bets.harm, expected)


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.001, 0.5))
def test_what_units_won_does_not_depend_on_how_they_are_added_up(shares, limit):
    whole = sum((weighed({share: 1.0}, limit) for share in shares), UnitBets())
    at_once = weighed({share: float(shares.count(share)) for share in shares}, limit)
    assert whole.units == at_once.units == len(shares)
    np.testing.assert_allclose(whole.harm, at_once.harm, atol=1e-9)
    np.testing.assert_allclose(whole.safe, at_once.safe, atol=1e-9)


@pytest.mark.parametrize("limit", [0.02, 0.2])
def test_at_the_limit_the_expected_factor_is_one(limit):
    for bets in (harm_bets, safe_bets):
        by_share = np.exp([bets([share], [1], limit) for share in (0.0, 1.0)])
        np.testing.assert_allclose((1 - limit) * by_share[0] + limit * by_share[1], 1.0)


def test_so_many_users_without_any_difference_prove():
    """Statistics, 8.1, R7: about 320 units at 2% and alpha 1%."""
    least = next(n for n in range(1, 2000) if bets_test(weighed({0.0: n}, 0.02).safe) >= np.log(100))
    assert 300 < least < 340
