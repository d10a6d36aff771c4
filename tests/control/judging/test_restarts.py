"""A change that comes late is found soon, and the sum of all beginnings is still an e-value."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.judging.evidence import GRID, bets_test, label_ratios, limit_ratios
from control.judging.restarts import Remembered, Restarts

ratios = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array)


def written_out(ticks, now):
    """The mixture as its definition has it: a stake that begins at each tick, and what is still kept."""
    total = 0.0
    for begin in range(len(ticks) + 1):
        grown = sum(ticks[begin:], np.zeros(3)) + now
        total += np.exp(grown).mean() / ((begin + 1) * (begin + 2))
    return total + 1 / (len(ticks) + 2)


@settings(max_examples=50)
@given(st.lists(ratios, max_size=6), ratios)
def test_it_is_the_sum_of_stakes_that_begin_at_each_tick(ticks, now):
    test = Restarts()
    for brought in ticks:
        test = test.ended(brought)
    assert math.exp(float(test.log_e(now))) == pytest.approx(written_out(ticks, now))


@settings(max_examples=50)
@given(st.lists(ratios, min_size=1, max_size=6), ratios)
def test_what_is_remembered_takes_ratios_over_everything(ticks, now):
    test, over_everything = Remembered(), np.cumsum(ticks, axis=0)
    for ratios_now in over_everything:
        test = test.ended(ratios_now)
    plain = Restarts()
    for brought in ticks:
        plain = plain.ended(brought)
    assert float(test.log_e(over_everything[-1] + now)) == pytest.approx(float(plain.log_e(now)))
    again = Restarts.from_json(test.restarts.to_json())
    assert again == test.restarts


def test_without_news_it_stays_at_one_however_many_ticks_pass():
    test = Restarts()
    for _ in range(1000):
        assert float(test.log_e(np.zeros(9))) == pytest.approx(0.0, abs=1e-9)
        test = test.ended(np.zeros(9))


def test_many_counts_at_once_are_looked_at_like_one_after_the_other():
    test = Restarts().ended(np.linspace(-1, 1, 9))
    ahead = np.random.default_rng(1).normal(size=(9, 4))
    assert test.log_e(ahead) == pytest.approx([float(test.log_e(ahead[:, i])) for i in range(4)])


def test_after_a_day_of_good_service_a_dead_canary_is_harmful_within_twenty_requests():
    """E4: 100 requests/s, w = 10%, both fail 0.5%, line 300; then the canary fails everything."""
    line, per_minute = math.log(300), 6000
    test, plain, errors = Remembered(), 0.0, np.zeros(2)
    for _ in range(24 * 60):
        errors += per_minute * 0.005 * np.array([0.1, 0.9])
        test = test.ended(label_ratios([0.1], [errors[0]], [errors[1]], 1.5))
    requests = np.arange(1, 4000)
    canary, stable = errors[0] + requests[:, None], errors[1] + requests[:, None] * 9 * 0.005
    found = label_ratios([0.1], canary, stable, 1.5)
    soon = int(np.argmax(test.log_e(found) >= line)) + 1
    assert soon <= 20
    plain = int(np.argmax(bets_test(found) >= line)) + 1
    assert plain > 2000, "without restarts"
    five = label_ratios([0.1], errors[0] + requests[:, None] * 0.05, stable, 1.5)
    assert int(np.argmax(test.log_e(five) >= line)) + 1 <= 1000


def test_against_a_limit_too():
    test = Remembered()
    for tick in range(1, 24 * 60 + 1):
        test = test.ended(limit_ratios(tick * 3.0, tick * 600.0, 0.01))
    requests = np.arange(1, 1000.0)
    dead = limit_ratios(24 * 60 * 3.0 + requests, 24 * 60 * 600.0 + requests, 0.01)
    assert int(np.argmax(test.log_e(dead) >= math.log(300))) + 1 <= 20


@pytest.mark.parametrize("limit", [0.001, 0.02, 0.5, 0.99, 0.999])
@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_the_limits_ratios_expect_at_most_one_where_the_limit_is_kept(limit, rate):
    p = limit * rate
    expected = p * np.exp(limit_ratios(1, 1, limit)) + (1 - p) * np.exp(limit_ratios(0, 1, limit))
    assert expected.shape == GRID.shape
    assert np.all(expected <= 1 + 1e-12)
