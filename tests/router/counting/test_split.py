import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from router.counting.split import decide, fresh_weight, point, salt_of

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
    observed, _ = np.histogram(_points(b"digits/2"), bins=100, range=(0, 1))
    assert stats.chisquare(observed).pvalue > 0.001


def test_salts_are_independent():
    a, b = _points(b"digits/2"), _points(b"digits/3")
    table, _, _ = np.histogram2d(a, b, bins=10, range=[(0, 1), (0, 1)])
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_a_small_fraction_of_a_percent_is_honoured():
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
