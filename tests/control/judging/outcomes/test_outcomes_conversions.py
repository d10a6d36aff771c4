"""Conversions at the canary against stable: what is tolerated is a drop of the rate."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.evidence import bets_test
from control.judging.outcomes.conversions import conversion_ratios, conversion_test
from harness.adversary import worst_expectation

WEIGHTS = [0.01, 0.1, 0.5, 0.9]
DROPS = [0.0, 0.05, 0.5]
NUMBERS = st.lists(st.integers(0, 500), min_size=4, max_size=4)


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("side", ["harm", "safe"])
def test_no_choice_of_weights_rates_and_stopping_makes_more_than_one(side, drop, higher) -> None:
    ratio = 1 - drop if higher else 1 + drop

    def move(weight, rate):
        canary, stable = weight * rate * ratio, (1 - weight) * rate
        return [(canary, (weight, 1)), (stable, (weight, 0)), (1 - canary - stable, (weight, -1))]

    @cache
    def of(*counts):
        return float(np.exp(getattr(conversion_test(WEIGHTS, *counts, drop, higher_is_better=higher), side)))

    def e_value(seen):
        return of(*(tuple(sum(step == (w, arm) for step in seen) for w in WEIGHTS) for arm in (1, 0)))

    moves = [move(weight, rate) for weight in (0.1, 0.9) for rate in (0.1, 0.6)]
    assert worst_expectation(e_value, moves, 5) == pytest.approx(1.0, abs=1e-9)


@given(NUMBERS, NUMBERS, st.sampled_from(DROPS), st.booleans())
def test_ratios_are_those_whose_mean_is_harm(canary, stable, drop, higher) -> None:
    harm = conversion_test(WEIGHTS, canary, stable, drop, higher_is_better=higher).harm
    ratios = conversion_ratios(WEIGHTS, canary, stable, drop, higher_is_better=higher)
    assert float(harm) == pytest.approx(float(bets_test(ratios)))


def test_fewer_conversions_than_tolerated_speak_for_harm_and_more_for_none() -> None:
    fewer, more = (conversion_test([0.5], [canary], [1000], 0.05) for canary in (500, 1500))
    assert fewer.harm > np.log(100) > 0 > fewer.safe
    assert more.safe > np.log(100) > 0 > more.harm
    lower = conversion_test([0.5], [1500], [1000], 0.05, higher_is_better=False)
    assert lower.harm > np.log(100) > 0 > lower.safe


@pytest.mark.parametrize(("weight", "within"), [(0.5, 12), (0.1, 72)])
def test_a_canary_that_stopped_converting_is_harmful_soon(weight, within) -> None:
    assert conversion_test([weight], [0], [within], 0.05).harm >= np.log(100)


def test_equal_rates_are_proven_within_the_tolerance_in_the_end() -> None:
    """The alternatives are as near as a drop of 5% needs."""
    events = np.arange(1000.0, 80_000.0, 500.0)[:, None]
    found = conversion_test([0.5], events / 2, events / 2, 0.05)
    assert 10_000 < float(events[np.argmax(found.safe >= np.log(100)), 0]) < 30_000
    assert np.all(found.harm < np.log(100))
