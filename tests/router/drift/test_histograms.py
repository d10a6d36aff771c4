"""Histograms: every value is counted once, and they add to that of all values together."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.drift.histograms import BINS, MOST_VALUES, Categories, added, of_categories, of_numbers
from serving.errors import InvalidInput

numbers = st.lists(st.floats(width=64), min_size=1, max_size=60).map(np.array)
texts = st.lists(st.none() | st.text(max_size=3), max_size=60)


def reference(values):
    assume(np.isfinite(values).any())
    return of_numbers(values)


@given(numbers, numbers)
def test_every_number_is_counted_once(values, later):
    histogram = reference(values)
    assert histogram.rows == len(values)
    assert histogram.outside == np.isinf(values).sum(), "nothing finite is beyond its own range"
    assert histogram.missing == np.isnan(values).sum()
    now = histogram.empty.counted(later)
    assert now.rows == len(later)
    there = later[~np.isnan(later)]
    assert now.counts[0] == (there < histogram.edges[0]).sum()
    assert now.counts[-1] == (there > histogram.edges[-1]).sum()
    for at, (low, high) in enumerate(zip(histogram.edges, histogram.edges[1:], strict=False), 1):
        last = at == len(histogram.edges) - 1
        inside = (there >= low) & ((there <= high) if last else (there < high))
        assert now.counts[at] == inside.sum()


@given(numbers, numbers, numbers)
def test_numbers_that_are_counted_apart_add_to_those_of_all(values, one, another):
    bins = reference(values).empty
    apart, together = bins.counted(one) + bins.counted(another), bins.counted(np.concatenate([one, another]))
    assert (apart.counts, apart.missing) == (together.counts, together.missing)
    assert (apart.least, apart.greatest) == (together.least, together.greatest)
    finite = np.concatenate([one, another])[np.isfinite(np.concatenate([one, another]))]
    scale = max(np.abs(finite), default=0.0)
    assert apart.moments.number == len(finite) == together.moments.number
    assert math.isclose(apart.moments.mean, together.moments.mean, abs_tol=1e-9 * scale)
    if scale < 1e150:  # else squares are beyond what floats hold
        assert math.isclose(apart.moments.std, together.moments.std, rel_tol=1e-6, abs_tol=1e-6 * scale)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_moments_are_numpys(values):
    moments = of_numbers(np.array(values)).moments
    assert math.isclose(moments.mean, np.mean(values), rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(moments.std, np.std(values), rel_tol=1e-6, abs_tol=1e-6)


def test_bins_are_deciles():
    histogram = of_numbers(np.random.default_rng(7).normal(size=10_000))
    assert len(histogram.edges) == BINS + 1
    assert max(histogram.counts[1:-1]) - min(histogram.counts[1:-1]) <= 2


def test_a_constant_is_one_bin():
    histogram = of_numbers(np.full(5, 3.0))
    assert (histogram.edges, histogram.counts) == ((3.0, 3.0), (0, 5, 0))
    assert histogram.empty.counted(np.array([2.0, 3.0, 4.0])).counts == (1, 1, 1)


def test_without_a_number_there_are_no_bins():
    with pytest.raises(InvalidInput, match="no value is a finite number"):
        of_numbers(np.array([math.nan, math.inf]))


@given(texts, texts, texts)
def test_every_category_is_counted_once_and_they_add(values, one, another):
    bins = of_categories(values)
    assert bins.rows == len(values)
    assert bins.other == 0, "few of them are all told apart"
    now = bins.empty.counted(one)
    assert now.rows == len(one)
    assert now.missing == sum(not value for value in one)
    assert now.other == sum(bool(value) and value not in values for value in one)
    assert now + bins.empty.counted(another) == bins.empty.counted([*one, *another])


def test_rare_categories_are_other():
    values = [str(at) for at in range(MOST_VALUES)] * 2 + ["rare", "scarce"]
    bins = of_categories(values)
    assert (len(bins.counts), bins.other) == (MOST_VALUES, 2)


def test_other_bins_do_not_add():
    one, another = of_numbers(np.array([1.0, 2.0])), of_numbers(np.array([1.0, 3.0]))
    with pytest.raises(InvalidInput, match="different bins"):
        added(one, another)
    with pytest.raises(InvalidInput, match="different categories"):
        added(Categories({"a": 1}), Categories({"b": 1}))
    with pytest.raises(InvalidInput, match="of numbers and one of categories"):
        added(one, Categories())
