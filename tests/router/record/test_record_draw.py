"""The draw of records: a fixed share, by the key where there is one, the same in every process."""

import math

from hypothesis import given
from hypothesis import strategies as st

from router.record.sampling import Draw, mixed
from router.record.sink import draw_of
from router.rollout.values import Record

keys = st.integers(1, 2**64 - 1)
moments = st.floats(0, 1e9)


@given(st.integers(0, 2**64 - 1), keys, moments, moments)
def test_all_answers_of_a_key_are_recorded_or_none(salt, key, one, other):
    draw = Draw(salt, 50.0)
    assert draw.takes(key, one) == draw.takes(key, other)


@given(keys, moments)
def test_at_0_percent_none_and_at_100_all(key, moment):
    for each in (0, key):
        assert not Draw(7, 0.0).takes(each, moment)
        assert Draw(7, 100.0).takes(each, moment)


@given(keys, st.floats(0, 100), st.floats(0, 100))
def test_a_greater_share_only_adds(key, one, other):
    less, more = sorted((one, other))
    assert Draw(7, less).takes(key, 0.0) <= Draw(7, more).takes(key, 0.0)


def shares(draw, numbers):
    taken = sum(map(draw, numbers))
    spread = math.sqrt(len(numbers) * 0.1 * 0.9)
    return abs(taken - 0.1 * len(numbers)) / spread


def test_the_share_is_the_one_asked_for_by_key_and_by_moment():
    draw = Draw(12345, 10.0)
    assert shares(lambda key: draw.takes(key, 0.0), range(1, 20_001)) < 4
    assert shares(lambda number: draw.takes(0, 1000 + number * 1e-5), range(20_000)) < 4


def test_models_record_different_users_and_every_process_the_same():
    record = Record(sample=50.0)
    one, again, other = draw_of("a", record), draw_of("a", record), draw_of("b", record)
    taken = [[draw.takes(key, 0.0) for key in range(1, 1001)] for draw in (one, again, other)]
    assert taken[0] == taken[1]
    assert 400 < sum(map(bool.__eq__, taken[0], taken[2])) < 600


def test_mixing_is_a_permutation_of_64_bits():
    assert len({mixed(number) for number in range(10_000)}) == 10_000
    assert mixed(0) == 0
