"""Several candidates at once: who is taken off, and who is the best."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.candidates import best_arm, better_than_each, pair_test, take_off_line
from control.judging.outcomes.conversions import conversion_test
from harness.adversary import worst_expectation

ROWS = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])


def counts_of(seen):
    return [[sum(step == (row, arm) for step in seen) for arm in range(3)] for row in range(len(ROWS))]


@pytest.mark.parametrize(("arm", "other"), [(1, 0), (2, 0), (2, 1)])
def test_weights_that_follow_what_was_seen_make_no_more_than_one(arm, other) -> None:
    """The adversary picks the weights of each draw; the third arm converts as it likes."""

    def move(row, rate, third):
        chances = [w * (rate if each in {arm, other} else third) for each, w in enumerate(ROWS[row])]
        steps = [(chance, (row, each)) for each, chance in enumerate(chances)]
        return [*steps, (1 - sum(chances), (row, -1))]

    moves = [move(row, rate, third) for row in (0, 1) for rate, third in ((0.5, 0.0), (0.2, 1.0))]
    for side in ("harm", "safe"):

        @cache
        def of_pair(*counts, side=side):
            events = np.zeros(ROWS.shape)
            events[:, arm], events[:, other] = counts
            return float(np.exp(getattr(pair_test(ROWS, events, arm, other, 1.0), side)))

        def e_value(seen, of_pair=of_pair):
            return of_pair(*(tuple(row[each] for row in counts_of(seen)) for each in (arm, other)))

        most = worst_expectation(e_value, moves, 5)
        assert most == pytest.approx(1.0, abs=1e-9)


@given(st.lists(st.lists(st.integers(0, 300), min_size=2, max_size=2), min_size=2, max_size=2))
def test_with_one_candidate_it_is_the_test_of_a_canary(events) -> None:
    weights = np.array([[0.9, 0.1], [0.5, 0.5]])
    stable, canary = np.array(events).T
    found = pair_test(weights, events, 1, 0, 0.95)
    expected = conversion_test(weights[:, 1], canary, stable, 0.05)
    assert (float(found.harm), float(found.safe)) == pytest.approx(
        (float(expected.safe), float(expected.harm))
    )


def test_an_arm_without_weight_says_nothing() -> None:
    assert pair_test([[0.0, 0.0, 1.0]], [[0, 0, 7]], 1, 0, 1.0) == pytest.approx((0.0, 0.0))


def test_the_best_is_named_when_it_is_better_than_each() -> None:
    log_e = np.full((3, 3), -1.0)
    log_e[2, :2] = np.log(2 / 0.01)
    assert best_arm(log_e, 0.01) == 2
    log_e[2, 0] -= 1e-6
    assert best_arm(log_e, 0.01) == -1


def test_the_best_converts_more_or_complains_less() -> None:
    events = np.array([[500, 900, 520]])
    weights = np.array([[1 / 3, 1 / 3, 1 / 3]])
    assert best_arm(better_than_each(weights, events), 0.01) == 1
    assert best_arm(better_than_each(weights, events, higher_is_better=False), 0.01) == -1
    fewer = better_than_each(weights, np.array([[500, 100, 520]]), higher_is_better=False)
    assert best_arm(fewer, 0.01) == 1
    assert np.all(np.diagonal(fewer) == 0.0)


def test_of_equal_arms_one_is_rarely_named() -> None:
    """Three arms, 500 runs of 2,000 conversions, looked at each 20."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, (500, 2000))
    events = np.stack([(labels == arm).cumsum(axis=1)[:, 19::20] for arm in range(3)], axis=-1)
    named = best_arm(better_than_each(np.full((1, 3), 1 / 3), events[..., None, :]), 0.05)
    assert (named >= 0).any(axis=1).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


def test_the_line_rises_with_candidates_and_guards() -> None:
    assert take_off_line(1, 1, 0.01) == pytest.approx(np.log(100))
    assert take_off_line(4, 3, 0.01) == pytest.approx(np.log(1200))
