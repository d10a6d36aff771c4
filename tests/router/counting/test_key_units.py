"""A user is one unit, whatever became of the requests in it."""

from hypothesis import given
from hypothesis import strategies as st

from router.counting.key_units import LEVEL_KEYS, UNIT_REQUESTS, UNIT_SECONDS, KeyUnits, Unit


def test_a_unit_ends_with_its_tenth_request_or_by_age_and_a_key_has_one():
    units = KeyUnits()
    assert [units.add("canary", 7, event, 100.5) for event in [True] * 9] == [[]] * 9
    assert units.add("canary", 7, False, 101.0) == [Unit("canary", 7, 100, UNIT_REQUESTS, 9)]
    assert units.add("canary", 7, True, 102.0) == []
    assert units.add("canary", 8, False, 110.0) == []
    assert units.expire(110.0 + UNIT_SECONDS - 0.1) == []
    assert units.expire(110.0 + UNIT_SECONDS) == [Unit("canary", 8, 110, 1, 0)]
    assert units.expire(1e9) == [], "each is told once"


def test_the_first_request_of_a_key_is_told_at_once_and_no_other():
    units = KeyUnits()
    assert units.first("first/stable", 7, True, 3.9) == [Unit("first/stable", 7, 3, 1, 1)]
    assert units.first("first/stable", 7, False, 4.0) == []


def test_of_many_keys_fewer_and_fewer_are_sampled():
    units = KeyUnits()
    sampled = [
        key
        for key in range(1, 16 * LEVEL_KEYS)
        if units.sampled(key) and units.add("a", key, False, 0.0) == []
    ]
    assert sampled[:LEVEL_KEYS] == list(range(1, LEVEL_KEYS + 1)), "all of the first"
    assert 3 * LEVEL_KEYS < len(sampled) < 6 * LEVEL_KEYS
    assert all(map(units.sampled, sampled)), "those that were taken remain"


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.floats(0, 30)), max_size=120))
def test_each_key_has_at_most_one_unit_and_its_share_is_that_of_its_first_requests(requests):
    units, now, told, came = KeyUnits(), 0.0, [], {}
    for key, event, later in requests:
        now += later
        told += units.expire(now)
        if key not in {unit.key for unit in told}:
            came.setdefault(key, []).append(event)
        told += units.add("canary", key, event, now)
    told += units.expire(now + UNIT_SECONDS + 1.0)
    assert sorted(unit.key for unit in told) == sorted(came)
    for unit in told:
        assert (unit.requests, unit.events) == (len(came[unit.key]), sum(came[unit.key]))
