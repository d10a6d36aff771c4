"""Shifts of answers: counted pair by pair, added, told and read."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.shifts import (
    MOST_VALUES,
    NO_SHIFT,
    OTHER,
    Shift,
    ShiftCounter,
    shifts_apart,
    shifts_from_json,
    shifts_to_json,
    shifts_together,
)
from serving.errors import InvalidInput

values = st.frozensets(st.sampled_from("abcde"), max_size=2)
pairs = st.lists(st.tuples(values, values), max_size=30)


def counted(seen):
    counter = ShiftCounter()
    for candidate, stable in seen:
        counter.count(candidate, stable)
    return counter.shift


@given(pairs, pairs)
def test_a_pair_counts_for_a_value_that_one_side_alone_has_and_processes_add(seen, more):
    shift = counted(seen)
    assert shift.pairs == len(seen)
    for value in "abcde":
        alone = [(value in candidate) - (value in stable) for candidate, stable in seen]
        assert shift.alone.get(value, (0, 0)) == (alone.count(1), alone.count(-1))
    both = shifts_together({"o": shift}, {"o": counted(more), "p": shift})
    whole = counted([*seen, *more])
    assert both["p"] == shift
    assert both["o"].pairs == whole.pairs
    assert {name: counts for name, counts in both["o"].alone.items() if any(counts)} == {
        name: counts for name, counts in whole.alone.items() if any(counts)
    }
    assert shifts_apart(both, {"o": shift})["o"].pairs == len(more)


@given(st.dictionaries(st.text(max_size=5), pairs.map(counted), max_size=2))
def test_they_are_read_as_they_were_told(shifts):
    told = orjson.loads(orjson.dumps(shifts_to_json(shifts)))
    assert shifts_from_json(told, "counts.shifts", lambda value, _: value) == shifts


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=400))
def test_of_too_many_values_the_later_ones_are_one_that_is_never_on_both_sides(seen):
    shift = counted([(frozenset([str(one)]), frozenset([str(other)])) for one, other in seen])
    assert len(shift.alone) <= MOST_VALUES
    assert all(sum(counts) <= shift.pairs for counts in shift.alone.values())
    assert (OTHER in shift.alone) <= (len(shift.alone) == MOST_VALUES)


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ([], "counts.shifts: "),
        ({"o": 1}, "counts.shifts.o: "),
        ({"o": {"pairs": 1, "alone": {"a": 2}}}, "counts.shifts.o.alone: "),
        ({"o": {"pairs": 1, "alone": {"a": [1]}}}, "counts.shifts.o.alone: "),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(told, place):
    with pytest.raises(InvalidInput, match=place):
        shifts_from_json(told, "counts.shifts", lambda value, _: value)
    assert NO_SHIFT + Shift(1, {}) == Shift(1, {})
