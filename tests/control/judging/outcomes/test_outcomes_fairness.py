"""Differences between groups, with intervals that hold at every look."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.betting import excess_bets
from control.judging.evidence import bets_test
from control.judging.outcomes.fairness import BETS, differences, mean_intervals
from harness.search import examples

COUNTS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=3)


@given(COUNTS)
def test_an_interval_is_about_its_estimate_and_mirrors(counts) -> None:
    found = mean_intervals([0, 1], counts, 0.05)
    turned = mean_intervals([0, 1], [(right, wrong) for wrong, right in counts], 0.05)
    np.testing.assert_allclose(found.least, 1 - turned.most, atol=1e-9)
    some = np.array(counts).sum(axis=1) > 0
    assert np.all((found.least <= found.estimate + 1e-9)[some] & (found.estimate <= found.most + 1e-9)[some])
    assert np.all((found.least[~some] < 1e-9) & (found.most[~some] > 1 - 1e-9))
    assert np.all(np.isnan(found.estimate[~some]))


def test_ends_are_where_bets_reach_their_line() -> None:
    values, units = np.array([-1.0, 0.0, 1.0]), np.array([20.0, 100.0, 40.0])
    found = mean_intervals(values, [units], 0.05)
    for end, side in ((found.least[0], 1.0), (found.most[0], -1.0)):
        room = end + 1.0 if side > 0 else 1.0 - end
        won = bets_test(excess_bets(side * (values - end), room, units, BETS))
        assert won == pytest.approx(np.log(2 / 0.05), abs=1e-6)
    assert found.estimate[0] == pytest.approx(20 / 160)


def test_more_groups_have_wider_intervals_and_more_values_narrower_ones() -> None:
    def width(groups, values):
        found = mean_intervals([0, 1], [(values, values)] * groups, 0.05)
        return float(found.most[0] - found.least[0])

    assert width(1, 100) < width(5, 100)
    assert width(1, 100) > width(1, 1_000) > width(1, 100_000)
    assert width(1, 100_000) < 0.01


def test_differences_hold_what_their_groups_allow() -> None:
    found = differences(mean_intervals([0, 1], [(10, 90), (50, 50)], 0.05))
    assert found.estimate[0, 1] == pytest.approx(0.4)
    assert 0.0 < found.least[0, 1] < 0.4 < found.most[0, 1]
    np.testing.assert_allclose(found.least, -found.most.T)


def test_all_intervals_cover_at_all_looks() -> None:
    """Two groups, 100 runs, a look at 5 places: at most alpha and three standard errors miss anywhere."""
    rng, missed, alpha, rates = np.random.default_rng(5), 0, 0.05, np.array([0.02, 0.5])
    runs = examples(100)
    for _ in range(runs):
        right = (rng.random((2, 500)) < rates[:, None]).cumsum(axis=1)
        for look in range(49, 500, 100):
            found = mean_intervals([0, 1], [(look + 1 - r, r) for r in right[:, look]], alpha)
            if np.any((found.least > rates) | (found.most < rates)):
                missed += 1
                break
    assert missed / runs <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)
