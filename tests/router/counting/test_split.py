from bisect import bisect_right
from fractions import Fraction
from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.counting.split import decide, ends_of, fresh_weight, point, salt_of

weights = st.floats(0, 100)
points = st.floats(0, 1, exclude_max=True)


@settings(deadline=None)
@given(weights, weights, st.binary(), st.binary())
def test_raising_the_weight_only_adds_keys(a, b, a_salt, key):
    where = point(a_salt, key)
    if decide(min(a, b), where) == "canary":
        assert decide(max(a, b), where) == "canary"


@settings(deadline=None)
@given(st.binary(), st.binary())
def test_a_point_is_fixed_and_below_one(a_salt, key):
    assert 0 <= point(a_salt, key) < 1
    assert point(a_salt, key) == point(bytes(a_salt), bytes(key))


@settings(deadline=None)
@given(points)
def test_the_ends_of_the_scale_hold_exactly(where):
    assert decide(0, where) == "stable"
    assert decide(100, where) == "canary"


def _points(a_salt, count=50_000):
    return np.array([point(a_salt, b"user-%d" % i) for i in range(count)])


def test_points_are_uniform():
    from scipy import stats

    observed, _ = np.histogram(_points(b"digits/2"), bins=100, range=(0, 1))
    assert stats.chisquare(observed).pvalue > 0.001


def test_salts_are_independent():
    from scipy import stats

    a, b = _points(b"digits/2"), _points(b"digits/3")
    table, _, _ = np.histogram2d(a, b, bins=10, range=[(0, 1), (0, 1)])
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_a_small_fraction_of_a_percent_is_honoured():
    from scipy import stats

    share = np.mean([decide(0.1, where) == "canary" for where in _points(b"digits/2")])
    assert stats.binomtest(round(share * 50_000), 50_000, 0.001).pvalue > 0.001


def test_a_long_salt_counts_to_its_end():
    assert point(b"a" * 200, b"key") != point(b"a" * 199 + b"b", b"key")


def test_the_split_is_the_same_in_every_release():
    assert point(b"salt", b"key") == 0.8807671812065322


@given(st.floats(0, 100), st.floats(0, 100))
def test_who_is_drawn_anew_is_the_share_of_those_whom_no_weight_has_drawn(weight, used):
    fresh = fresh_weight(weight, used)
    assert 0 <= fresh <= 100
    drawn = (1 - used / 100) * fresh / 100 + min(used, weight) / 100
    assert drawn == pytest.approx(weight / 100, abs=1e-12)
    assert fresh_weight(weight, 0.0) == weight
    assert (fresh > 0) == (weight > used)


def test_another_draw_orders_the_same_users_anew():
    drawn = [_points(salt_of("m", "digits/2", number), 20_000) for number in (0, 4)]
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.04
    assert salt_of("m", "digits/2", 0) == b"m\0digits/2", "as releases before drew"


SEVERAL = st.lists(st.floats(1e-9, 99.9), min_size=2, max_size=6).filter(lambda found: fsum(found) < 100)


@settings(deadline=None)
@given(SEVERAL)
def test_of_several_candidates_each_has_its_share_of_the_points_to_the_last_bit(weights):
    ends = ends_of(weights)
    assert all(0 <= end < 1 for end in ends)
    for weight, low, high in zip(weights, (0.0, *ends), ends, strict=False):
        share = Fraction(high) - Fraction(low)
        assert abs(share - Fraction(weight) / 100) <= Fraction(1, 2**52)


@settings(deadline=None)
@given(SEVERAL, points)
def test_each_point_belongs_to_one_of_them_or_to_stable(weights, where):
    ends = ends_of(weights)
    place = bisect_right(ends, where)
    owned = [low <= where < high for low, high in zip((0.0, *ends), (*ends, 1.0), strict=True)]
    assert owned.index(True) == place
    assert sum(owned) == 1


@settings(deadline=None)
@given(st.floats(1e-9, 99.9), points)
def test_a_single_candidate_is_drawn_as_a_canary_is(weight, where):
    assert (bisect_right(ends_of([weight]), where) == 0) == (decide(weight, where) == "canary")
