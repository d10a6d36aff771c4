import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.latency import BUCKETS, GROWTH, bucket, edge, shift_down, shift_up


def test_every_edge_opens_its_own_bucket():
    assert [bucket(edge(index)) for index in range(BUCKETS)] == list(range(BUCKETS))


@given(st.floats(1e-6, 1000.0))
def test_a_duration_lies_between_the_edges_of_its_bucket(seconds):
    index = bucket(seconds)
    assert edge(index) <= seconds < edge(index + 1)


def test_buckets_are_at_most_a_tenth_wide():
    assert 1.0 < GROWTH <= 1.1


@pytest.mark.parametrize(
    ("seconds", "index"), [(0.0, 0), (1e-9, 0), (1e9, BUCKETS - 1), (math.inf, BUCKETS - 1)]
)
def test_what_is_off_the_scale_goes_to_its_ends(seconds, index):
    assert bucket(seconds) == index


def test_the_usual_tolerance_falls_on_an_edge():
    assert shift_up(1.25) == shift_down(1.25) == 3


@given(st.floats(1.0, 100.0))
def test_shifts_enclose_the_ratio(ratio):
    assert GROWTH ** shift_down(ratio) <= ratio * (1 + 1e-8)
    assert GROWTH ** shift_up(ratio) >= ratio * (1 - 1e-8)
    assert 0 <= shift_up(ratio) - shift_down(ratio) <= 1
