"""Maturity: what enters the evidence, and when, does not depend on who tells what first."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.maturity import Mature, Report, Unit, first_exposures, matured

MATURITY = 10.0
IDS = "abcdefgh"
TIMES = st.integers(0, 40).map(float)
UNITS = st.dictionaries(
    st.sampled_from(IDS), st.tuples(TIMES, st.integers(0, 1), st.sampled_from(["", "u", "v"])), max_size=8
).map(lambda drawn: [Unit(arrived, id_, arm, (0.9, 0.1), key) for id_, (arrived, arm, key) in drawn.items()])
REPORTS = st.lists(
    st.builds(Report, TIMES, st.sampled_from([0.0, 1.0, 7.5]), st.sampled_from(IDS)), max_size=20
)


@given(UNITS, REPORTS, st.randoms())
def test_no_order_and_no_repetition_of_what_is_told_changes_what_enters(units, reports, random) -> None:
    expected = matured(units, reports, MATURITY, 0.0, 60.0)
    again = random.sample(units * 2, 2 * len(units)), random.sample(reports * 2, 2 * len(reports))
    assert matured(*again, MATURITY, 0.0, 60.0) == expected


@given(UNITS, REPORTS, st.lists(TIMES, max_size=5))
def test_however_often_one_looks_the_same_units_enter_in_order_of_arrival(units, reports, looks) -> None:
    """And none of what is told after a look changes what entered before it."""
    times = [0.0, *sorted(looks), 60.0]
    entered = []
    for after, until in pairwise(times):
        known = [report for report in reports if report.at <= until]
        arrived = [unit for unit in units if unit.arrived <= until]
        entered += matured(arrived, known, MATURITY, after, until)
    assert entered == matured(units, reports, MATURITY, 0.0, 60.0)
    assert [each.unit for each in entered] == sorted(units)


def test_what_is_told_late_is_not_known() -> None:
    unit = Unit(5.0, "a", 1, (0.5, 0.5))
    in_time, late = Report(15.0, 1.0, "a"), Report(15.1, 2.0, "a")
    assert matured([unit], [late], MATURITY, 0.0, 99.0) == [Mature(unit, None)]
    assert matured([unit], [late, in_time], MATURITY, 0.0, 99.0) == [Mature(unit, 1.0)]
    assert matured([unit], [in_time], MATURITY, 0.0, 14.9) == []


def test_the_first_of_two_reports_counts() -> None:
    unit = Unit(5.0, "a", 1, (0.5, 0.5))
    reports = [Report(8.0, 3.0, "a"), Report(7.0, 2.0, "a"), Report(7.0, 2.0, "other")]
    assert matured([unit], reports, MATURITY, 0.0, 99.0) == [Mature(unit, 2.0)]


@given(UNITS, st.randoms())
def test_a_user_is_a_unit_once(units, random) -> None:
    found = first_exposures(random.sample(units, len(units)) + units)
    assert found == sorted(found)
    keys = [unit.key for unit in found if unit.key]
    assert len(keys) == len(set(keys)) == len({unit.key for unit in units if unit.key})
    for unit in found:
        assert unit == min(other for other in units if (other.key or other.id) == (unit.key or unit.id))
    assert {unit.id for unit in found if not unit.key} == {unit.id for unit in units if not unit.key}


@pytest.mark.parametrize("maturity", [0.1, 1 / 3, 3600.0])
def test_the_edge_of_a_look_belongs_to_one_look_only(maturity) -> None:
    unit = Unit(0.7, "a", 0, (0.5, 0.5))
    edge = unit.arrived + maturity
    assert len(matured([unit], [], maturity, 0.0, edge)) == 1
    assert matured([unit], [], maturity, edge, 1e9) == []
