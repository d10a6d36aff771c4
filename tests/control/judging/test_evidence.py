import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from control.judging.evidence import (
    BETS,
    GRID,
    Evidence,
    bets_test,
    label_test,
    limit_test,
    mismatch,
    sample_ratio_test,
    span_bets,
)
from harness.search import examples

weights = st.sampled_from([0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
ratios = st.sampled_from([1.0, 1.25, 1.5, 3.0])
limits = st.sampled_from([0.0001, 0.01, 0.02, 0.3, 0.9])


# ------------------------------------------------------------------ independent ways to the same numbers
def exact_label_e(weight, labels, ratio, grid):
    """The e-value as statistics.md defines it, event by event in exact fractions."""

    def theta(r):
        return weight * r / (weight * r + 1 - weight)

    null, total = theta(ratio), Fraction(0)
    for g in grid:
        alternative, product = theta(ratio * g), Fraction(1)
        for label in labels:
            product *= alternative / null if label else (1 - alternative) / (1 - null)
        total += product
    return total / len(grid)


def log_of(fraction):
    return math.log(fraction.numerator) - math.log(fraction.denominator)


def integrated_limit_log_e(events, trials, limit, low, high):
    """The mixture by numeric integration over p = sin(x)^2, where Jeffreys' prior is flat."""
    from scipy.integrate import quad

    to = [math.asin(math.sqrt(end)) for end in (low, high)]
    null = events * math.log(limit) + (trials - events) * math.log1p(-limit)

    def log_ratio(x):
        found = -null
        if events:
            found += 2 * events * math.log(max(math.sin(x), 1e-300))
        if trials > events:
            found += 2 * (trials - events) * math.log(max(math.cos(x), 1e-300))
        return found

    peak = min(max(math.asin(math.sqrt(events / max(trials, 1))), to[0]), to[1])
    width = 1 / math.sqrt(trials + 1)
    marks = sorted({min(max(peak + k * width, to[0]), to[1]) for k in (-20, -6, -2, 0, 2, 6, 20)} | set(to))
    height = log_ratio(peak)
    area = sum(
        quad(lambda x: math.exp(log_ratio(x) - height), a, b, epsabs=0, epsrel=1e-11, limit=200)[0]
        for a, b in pairwise(marks)
        if b > a
    )
    return height + math.log(area) - math.log(to[1] - to[0])


@settings(max_examples=examples(50))
@given(weights, st.lists(st.booleans(), max_size=30), ratios)
def test_the_label_test_is_the_product_that_defines_it(weight, labels, ratio):
    w, r = Fraction(weight), Fraction(ratio)
    found = label_test([weight], [sum(labels)], [len(labels) - sum(labels)], ratio)
    grid = [Fraction(float(g)) for g in GRID]
    assert float(found.harm) == pytest.approx(log_of(exact_label_e(w, labels, r, grid)), abs=1e-9)
    inverse = [1 / g for g in grid]
    assert float(found.safe) == pytest.approx(log_of(exact_label_e(w, labels, r, inverse)), abs=1e-9)


@pytest.mark.parametrize("limit", [0.001, 0.02, 0.5, 0.9])
@pytest.mark.parametrize(
    ("events", "trials"), [(0, 1), (1, 1), (0, 300), (2, 300), (60, 1000), (5, 20_000), (19_990, 20_000)]
)
def test_the_limit_test_is_its_integral(events, trials, limit):
    found = limit_test(events, trials, limit)
    harm = integrated_limit_log_e(events, trials, limit, limit, 1.0)
    safe = integrated_limit_log_e(events, trials, limit, 0.0, limit)
    assert float(found.harm) == pytest.approx(harm, abs=1e-6, rel=1e-9)
    assert float(found.safe) == pytest.approx(safe, abs=1e-6, rel=1e-9)


@pytest.mark.parametrize("weight", [0.001, 0.1, 0.5])
@pytest.mark.parametrize(("canary", "stable"), [(0, 0), (3, 5), (0, 4000), (700, 300), (1200, 9000)])
def test_the_sample_ratio_test_is_the_product_of_its_predictions(weight, canary, stable):
    """By Dirichlet's rule of succession: each draw against the prior and the draws before it."""
    a, b, log_e = 100 * weight, 100 * (1 - weight), 0.0
    for index in range(canary):
        log_e += math.log((a + index) / (100 + index) / weight)
    for index in range(stable):
        log_e += math.log((b + index) / (100 + canary + index) / (1 - weight))
    assert float(sample_ratio_test(weight, canary, stable)) == pytest.approx(log_e, abs=1e-6)


# ------------------------------------------------------------------ e-values: mean at most 1 under the null
@settings(max_examples=examples(25))
@given(weights, ratios, st.floats(0.05, 1.0))
def test_the_label_test_expects_at_most_one_when_the_tolerance_is_kept(weight, ratio, of_tolerance):
    n = 40
    k = np.arange(n + 1)
    binomial = np.array([math.comb(n, int(c)) for c in k], float)

    def mean(log_e, r):
        theta = weight * r / (weight * r + 1 - weight)
        return float((binomial * theta**k * (1 - theta) ** (n - k) * np.exp(log_e)).sum())

    found = label_test(weight, k[:, None], (n - k)[:, None], ratio)
    assert mean(found.harm, ratio * of_tolerance) <= 1 + 1e-9
    assert mean(found.safe, ratio / of_tolerance) <= 1 + 1e-9
    assert mean(found.harm, ratio) == pytest.approx(1.0)
    assert mean(found.safe, ratio) == pytest.approx(1.0)


@settings(max_examples=examples(25))
@given(limits, st.floats(0.01, 1.0), st.integers(1, 60))
def test_the_limit_test_expects_at_most_one_when_the_limit_is_kept(limit, of_limit, n):
    k = np.arange(n + 1)
    binomial = np.array([math.comb(n, int(c)) for c in k], float)
    found = limit_test(k, n, limit)

    def mean(log_e, p):
        return float((binomial * p**k * (1 - p) ** (n - k) * np.exp(log_e)).sum())

    assert mean(found.harm, limit * of_limit) <= 1 + 1e-9
    assert mean(found.safe, limit + (1 - limit) * (1 - of_limit)) <= 1 + 1e-9
    assert mean(found.harm, limit) == pytest.approx(1.0)
    assert mean(found.safe, limit) == pytest.approx(1.0)


# ------------------------------------------------------------------ edges
@given(weights, ratios)
def test_without_events_there_is_no_evidence(weight, ratio):
    assert label_test([weight], [0], [0], ratio) == pytest.approx((0.0, 0.0))
    assert limit_test(0, 0, 0.02) == pytest.approx((0.0, 0.0))
    assert float(sample_ratio_test(weight, 0, 0)) == pytest.approx(0.0)


def test_a_stage_without_a_draw_says_nothing():
    assert label_test([0.0, 1.0], [5, 7], [9, 3], 1.0) == pytest.approx((0.0, 0.0))
    assert sample_ratio_test([0.0, 1.0], [5, 7], [9, 3]) == pytest.approx([0.0, 0.0])
    with_draw = label_test([0.0, 0.1, 1.0], [5, 4, 7], [9, 6, 3], 1.5)
    assert with_draw == pytest.approx(label_test([0.1], [4], [6], 1.5))


def test_three_errors_of_a_dead_canary_are_enough_at_ten_percent():
    assert float(label_test([0.1], [3], [0], 1.0).harm) > math.log(100)


def test_no_disagreement_proves_one_percent_at_299_comparisons_at_the_earliest():
    """(1 - tau)^-n bounds every e-value of n agreements."""
    assert float(limit_test(0, 298, 0.01).safe) < math.log(20)
    first = next(n for n in range(1, 2000) if limit_test(0, n, 0.01).safe >= math.log(20))
    assert first >= 299


@given(st.lists(st.tuples(weights, st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8), ratios)
def test_stages_of_equal_weight_may_be_added_up(stages, ratio):
    apart = label_test(*zip(*stages, strict=True), ratio)
    totals = {w: np.sum([(c, s) for v, c, s in stages if v == w], axis=0) for w, _, _ in stages}
    pooled = label_test(list(totals), *np.array(list(totals.values())).T, ratio)
    assert apart == pytest.approx(pooled, abs=1e-8)


def test_thousands_of_stages_with_a_weight_of_a_thousandth_stay_finite():
    rng = np.random.default_rng(1)
    stable = rng.integers(0, 10**6, 5000)
    found = label_test(np.full(5000, 0.001), rng.binomial(stable, 0.001), stable, 1.0)
    assert np.isfinite(found).all()
    assert float(found.harm) < 0


@pytest.mark.parametrize(
    ("events", "trials"), [(0, 10**9), (10**9, 10**9), (2 * 10**7, 10**9), (10**6, 10**9), (1, 10**9)]
)
def test_a_billion_comparisons_stay_finite_and_right(events, trials):
    found = limit_test(events, trials, 0.02)
    assert np.isfinite(found).all()
    above = events / trials > 0.02
    below = events / trials < 0.02
    assert (float(found.harm) > 5) == above
    assert (float(found.safe) > 5) == below


@given(st.integers(0, 2000), st.integers(1, 2000), limits)
def test_the_limit_test_is_monotone_in_the_events(events, trials, limit):
    assume(events < trials)
    less, more = limit_test(events, trials, limit), limit_test(events + 1, trials, limit)
    assert more.harm > less.harm
    assert more.safe < less.safe


@given(st.integers(0, 500), st.integers(0, 500), weights, ratios)
def test_one_more_error_speaks_against_its_own_arm(canary, stable, weight, ratio):
    here = label_test([weight], [canary], [stable], ratio)
    assert label_test([weight], [canary + 1], [stable], ratio).harm > here.harm
    assert label_test([weight], [canary], [stable + 1], ratio).harm < here.harm
    assert label_test([weight], [canary + 1], [stable], ratio).safe < here.safe
    assert label_test([weight], [canary], [stable + 1], ratio).safe > here.safe


def test_counts_may_come_as_arrays_of_runs():
    canary, stable = np.array([[1, 2], [3, 4], [0, 0]]), np.array([[5, 6], [7, 8], [0, 1]])
    together = label_test([0.1, 0.5], canary, stable, 1.5)
    assert together.harm.shape == (3,)
    for run in range(3):
        alone = label_test([0.1, 0.5], canary[run], stable[run], 1.5)
        assert float(together.harm[run]) == pytest.approx(float(alone.harm))
    assert limit_test(canary, canary + stable, 0.1).safe.shape == (3, 2)


def test_of_two_tolerances_harm_is_against_both_and_proof_is_of_either():
    found = Evidence(np.log(3.0), np.log(1.0)).either(Evidence(np.log(5.0), np.log(2.0)))
    assert found == pytest.approx((math.log(3.0), math.log(1.5)))


def test_of_many_stages_the_worst_is_named_and_later_ones_are_held_to_more():
    log_e = float(sample_ratio_test(0.1, 160, 840))
    assert mismatch([0.1], [160], [840], 0.01) == (0, pytest.approx(log_e), pytest.approx(math.log(200)))
    assert mismatch([0.1] * 1000, [10] * 999 + [160], [90] * 999 + [840], 0.01) is None
    assert mismatch([0.0, 1.0], [50, 100], [10, 0], 0.01) is None, "nothing was drawn"


@settings(max_examples=examples(50))
@given(st.lists(st.tuples(*[st.integers(0, 50)] * 4), max_size=30))
def test_the_span_test_is_the_product_of_its_bets(spans):
    spans = [(n, min(k, n), m, min(j, m)) for n, k, m, j in spans]
    wealth = np.ones(len(BETS))
    for n, k, m, j in spans:
        wealth *= 1 + np.array(BETS) * ((k / n - j / m) if n and m else 0.0)
    sums = span_bets(*np.array(spans, float).reshape(-1, 4).T).sum(axis=1)
    assert float(bets_test(sums)) == pytest.approx(math.log(wealth.mean()), abs=1e-9)


def test_however_outcomes_hang_together_within_a_span_the_span_test_keeps_its_word():
    """All requests of a span share their fate at each role: a pause of a process. The label test fails."""
    rng = np.random.default_rng(5)
    canary, stable = (rng.random((2, 400, 300)) < 0.1) * np.array([10.0, 90.0])[:, None, None]
    sums = np.cumsum(span_bets(10.0, canary, 90.0, stable), axis=2)
    assert (bets_test(sums) >= math.log(100)).any(axis=1).mean() <= 0.025
    by_events = label_test(0.1, canary.cumsum(axis=1)[..., None], stable.cumsum(axis=1)[..., None], 1.0)
    assert (by_events.harm >= math.log(100)).any(axis=1).mean() > 0.3


def test_the_sample_ratio_test_sees_a_split_that_is_off():
    assert float(sample_ratio_test(0.1, 1200, 8800)) > math.log(100)
    assert float(sample_ratio_test(0.1, 1000, 9000)) < 0
