"""Bets on shares of units: at the edge of the null they are rarely wrong, whatever happens within a unit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.betting import HARM_BETS, SAFE_BETS, harm_bets, safe_bets
from control.judging.evidence import bets_test

LIMITS = st.floats(0.001, 0.999)


@given(LIMITS, st.sampled_from(HARM_BETS), st.floats(0.0, 1.0))
def test_at_the_limit_a_bet_is_fair(limit: float, bet: float, spread: float) -> None:
    """Of any two shares whose mean is the limit, the expected factor is 1."""
    low, high = limit * (1.0 - spread), limit + (1.0 - limit) * spread
    chance = 0.5 if high == low else (limit - low) / (high - low)
    for bets in (harm_bets, safe_bets):
        factors = [float(np.exp(bets([share], [1], limit, (bet,)))[0]) for share in (low, high)]
        assert (1.0 - chance) * factors[0] + chance * factors[1] == pytest.approx(1.0)


@given(LIMITS, st.lists(st.integers(0, 10), min_size=1, max_size=30))
def test_units_of_the_same_share_may_be_counted(limit: float, tenths: list[int]) -> None:
    one_by_one = sum(harm_bets([tenth / 10], [1], limit) for tenth in tenths)
    counted = harm_bets(np.arange(11) / 10, np.bincount(tenths, minlength=11), limit)
    np.testing.assert_allclose(counted, one_by_one, atol=1e-9)


@given(LIMITS)
def test_harm_of_a_share_is_safety_of_the_rest(limit: float) -> None:
    shares, units = np.array([0.0, 0.3, 1.0]), [4, 5, 6]
    np.testing.assert_allclose(
        harm_bets(shares, units, limit, SAFE_BETS), safe_bets(1.0 - shares, units, 1.0 - limit), atol=1e-9
    )


@pytest.mark.parametrize("limit", [0.02, 0.5])
def test_units_that_agree_or_differ_as_one_are_rarely_called_wrongly(limit: float) -> None:
    """At the limit, looked at after each of 2,000 units, in 400 runs: both sides at most alpha."""
    rng = np.random.default_rng(7)
    share = (rng.random((2_000, 400)) < limit).astype(float)
    for bets in (harm_bets, safe_bets):
        won = bets([0.0, 1.0], np.eye(2), limit)  # of a unit without, and of one with
        steps = np.where(share[np.newaxis] == 1.0, won[:, 1, None, None], won[:, 0, None, None])
        largest = bets_test(steps.cumsum(axis=1)).max(axis=0)
        assert (largest >= np.log(100.0)).mean() <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 400)


def test_a_run_without_any_event_proves_as_soon_as_it_should() -> None:
    """About 320 units at a limit of 2%, as decided."""
    log_e = bets_test(safe_bets([0.0], np.arange(1.0, 500.0)[:, np.newaxis], 0.02))
    assert 280 <= int(np.argmax(log_e >= np.log(100.0))) + 1 <= 340
