import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from router.counting.split import decide, point

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
