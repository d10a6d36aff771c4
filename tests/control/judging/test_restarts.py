"""A change that comes late is found soon, and the sum of all beginnings is still an e-value."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.judging.evidence import GRID, bets_test, label_ratios, limit_ratios
from control.judging.restarts import LATER, Remembered, Restarts, kept_after, within_first_tick
from harness.adversary import worst_expectation
from harness.search import examples

ratios = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(np.array)


def written_out(ticks, now):
    """The mixture as its definition has it: a stake that begins at each tick, and what is still kept."""
    total = 0.0
    for begin in range(len(ticks) + 1):
        grown = sum(ticks[begin:], np.zeros(3)) + now
        total += np.exp(grown).mean() * (kept_after(begin) - kept_after(begin + 1))
    return total + kept_after(len(ticks) + 1)


@settings(max_examples=examples(50))
@given(st.lists(ratios, max_size=6), ratios)
def test_it_is_the_sum_of_stakes_that_begin_at_each_tick(ticks, now):
    test = Restarts()
    for brought in ticks:
        test = test.ended(brought)
    assert math.exp(float(test.log_e(now))) == pytest.approx(written_out(ticks, now))


@settings(max_examples=examples(50))
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


def of_older_version(ticks):
    """As decision 31 laid stakes down; without news."""
    return Restarts.from_json({"stakes": [-math.log1p(1 / ticks)] * 9 if ticks else [], "ticks": ticks})


@pytest.mark.parametrize("start", [Restarts(), *map(of_older_version, (0, 1, 3))], ids=["new", "0", "1", "3"])
def test_nobody_makes_it_more_than_one_by_choosing_rates_and_when_ticks_and_the_rollout_end(start):
    """The label test at a ratio of 1.5 and the limit 1%, whose steps and ticks an adversary picks."""
    canary, stable = 0.1 * 1.5, 0.9
    label = [(canary / (canary + stable), "canary"), (stable / (canary + stable), "stable")]
    won = {
        "canary": label_ratios([0.1], [1], [0], 1.5),
        "stable": label_ratios([0.1], [0], [1], 1.5),
        "failed": limit_ratios(1, 1, 0.01),
        "answered": limit_ratios(0, 1, 0.01),
    }

    def e_value(seen):
        test, now = start, np.zeros(9)
        for step in seen:
            if step == "tick":
                test, now = test.ended(now), np.zeros(9)
            else:
                now = now + won[step]
        return math.exp(float(test.log_e(now)))

    limits = [[(p, "failed"), (1 - p, "answered")] for p in (0.0, 0.01)]
    for of_test in ([label], limits):
        moves = [*of_test, [(1.0, "tick")]]
        assert worst_expectation(e_value, moves, 6, ordered=True) == pytest.approx(1.0, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(0, 5))
def test_what_is_laid_down_and_kept_is_one_also_when_an_older_version_began(ticks, more):
    test = of_older_version(ticks)
    for _ in range(more):
        test = test.ended(np.zeros(9))
        assert 0 < test.kept < 1
    assert float(test.log_e(np.zeros(9))) == pytest.approx(0.0, abs=1e-9)
    assert Restarts.from_json(test.to_json()) == test


@given(ratios)
def test_within_the_first_tick_nine_tenths_are_at_stake(now):
    mean = np.array(bets_test(now))
    expected = math.log((1 - LATER) * math.exp(float(mean)) + LATER)
    assert float(within_first_tick(mean)) == pytest.approx(expected)
    assert float(Restarts().log_e(now)) == pytest.approx(expected)


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
