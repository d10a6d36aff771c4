"""Amounts without a bound: an asymptotic confidence sequence, which waits until it may be one."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.amounts import (
    AmountSums,
    Baseline,
    amount_sums,
    asymptotic_interval,
    asymptotic_test,
)
from control.judging.outcomes.scores import Answered

ALPHA = 0.01
SUMS = st.builds(
    lambda n, mean, deviation: AmountSums(n, n * mean, n * (mean**2 + deviation**2), 50, 50),
    st.integers(500, 10**6),
    st.floats(-10, 10),
    st.floats(0.1, 100),
)


@given(SUMS, st.floats(0.0, 5.0))
def test_the_test_reaches_its_line_where_the_interval_leaves_the_tolerance(sums, margin) -> None:
    evidence, (least, most) = asymptotic_test(sums, ALPHA, margin), asymptotic_interval(sums, ALPHA)
    line = np.log(1 / ALPHA)
    near = 1e-9 * (most - least)
    if most < -margin - near:
        assert evidence.harm >= line
    if most > -margin + near:
        assert evidence.harm < line
    assert (evidence.safe >= line) == (least > -margin) or abs(least + margin) < near


def test_the_width_is_that_of_the_page() -> None:
    """Written out for n = 2,540, a variance of 7.8 and alpha 1%: the interval of statistics-next.md, 5.4."""
    n, rho2 = 2540, (-2 * np.log(0.01) + np.log(1 - 2 * np.log(0.01))) / 5000
    half = np.sqrt(7.8) * np.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * np.log(np.sqrt(n * rho2 + 1) / 0.01))
    least, most = asymptotic_interval(AmountSums(n, 0.0, 7.8 * n, 50, 50), 0.01)
    assert (least, most) == (pytest.approx(-half), pytest.approx(half))


@pytest.mark.parametrize(
    "sums",
    [
        AmountSums(),
        AmountSums(499, -900, 1e4, 60, 60),
        AmountSums(1e6, -9e5, 1e7, 49, 900),
        AmountSums(1000, -1000, 1000, 60, 60),  # all alike
    ],
)
def test_before_there_is_enough_nothing_is_said(sums) -> None:
    assert asymptotic_test(sums, ALPHA) == (0.0, 0.0)
    assert asymptotic_interval(sums, ALPHA) == (-np.inf, np.inf)


EVENTS = st.lists(
    st.tuples(st.floats(-50, 5000), st.booleans(), st.sampled_from([0.01, 0.1, 0.5])), max_size=30
)


@given(EVENTS, st.randoms())
def test_no_order_and_no_parts_change_the_sums(events, random) -> None:
    baseline = Baseline(cut=100.0, mean=3.0)

    def sums(part):
        if not part:
            return AmountSums()
        return amount_sums(Answered(*map(np.array, zip(*part, strict=True)), 3.0), baseline)

    shuffled = random.sample(events, len(events))
    cut = random.randint(0, len(events))
    parts = sums(shuffled[:cut]) + sums(shuffled[cut:])
    assert [*parts.to_json().values()] == pytest.approx([*sums(events).to_json().values()], abs=1e-6)


def test_amounts_are_cut_and_the_zeros_are_counted_apart() -> None:
    baseline = Baseline(cut=100.0, mean=0.0)
    found = amount_sums(Answered([0.0, 5000.0, 7.0], [True, True, False], 0.5, 0.0, [9, 1, 1]), baseline)
    assert (found.events, found.total) == (11.0, 2 * 100.0 - 2 * 7.0)
    assert (found.non_zero_canary, found.non_zero_stable) == (1.0, 1.0)


def test_the_slope_is_that_of_least_squares_and_lessens_the_spread() -> None:
    rng = np.random.default_rng(3)
    score = rng.lognormal(size=5000)
    amount = 2.0 * score + rng.normal(size=5000)
    baseline = Baseline.of(amount, score)
    assert baseline.slope == pytest.approx(np.polyfit(score, np.minimum(amount, baseline.cut), 1)[0])
    answered = Answered(amount, rng.random(5000) < 0.1, 0.1)
    plain, better = (
        amount_sums(answered._replace(expected=expected), baseline)
        for expected in (baseline.expected(), baseline.expected(score))
    )
    assert better.squares < 0.4 * plain.squares


def test_equal_revenue_is_rarely_called_worse() -> None:
    """200 runs of 10,000 requests of which 5% bring something, w = 10%, looked at each 500."""
    rng, false = np.random.default_rng(11), 0
    baseline = Baseline.of(np.where(rng.random(50_000) < 0.05, rng.lognormal(3.0, 1.0, 50_000), 0.0))
    for _ in range(200):
        value = np.where(rng.random(10_000) < 0.05, rng.lognormal(3.0, 1.0, 10_000), 0.0)
        answered = Answered(value, rng.random(10_000) < 0.1, 0.1, baseline.expected())
        sums = AmountSums()
        for start in range(0, 10_000, 500):
            part = Answered(*(each[start : start + 500] if np.ndim(each) else each for each in answered))
            sums += amount_sums(part, baseline)
            if asymptotic_test(sums, ALPHA).harm >= np.log(1 / ALPHA):
                false += 1
                break
    assert false / 200 <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / 200)


def test_json_and_back() -> None:
    for value in (AmountSums(1.0, 2.0, 3.0, 4.0, 5.0), Baseline(1.0, 2.0, 3.0, 4.0), Baseline.of([1.0, 0.0])):
        assert type(value).from_json(orjson.loads(orjson.dumps(value.to_json()))) == value
    assert Baseline.of([1.0, 2.0], [3.0, 3.0]).slope == 0.0
