import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.models.pace import Pace

MEASURED = {1: 100.0, 2: 180.0, 4: 300.0, 8: 400.0, 16: 500.0}


@pytest.mark.parametrize(("rows", "share"), [(1, 0.2), (2, 0.36), (3, 0.6), (4, 0.6), (8, 0.8), (16, 1.0)])
def test_a_run_counts_by_what_it_did_of_what_full_batches_do(rows, share):
    assert Pace(16, MEASURED).worth(rows, 2.0) == pytest.approx(2.0 * share)


def test_what_is_larger_than_the_largest_batch_is_not_reckoned_with():
    assert Pace(4, MEASURED).worth(2, 1.0) == pytest.approx(180 / 300)


@given(st.integers(1, 64), st.floats(1e-6, 10))
def test_without_batches_a_run_counts_with_all_of_its_time(rows, seconds):
    assert Pace(1, {}).worth(rows, seconds) == seconds


def test_what_was_not_measured_counts_in_full_until_larger_batches_were_seen_to_do_more():
    pace = Pace(64, {})
    assert [pace.worth(1, 0.01) for _ in range(3)] == [0.01] * 3
    assert pace.worth(16, 0.02) == 0.02
    assert pace.worth(1, 0.01) == pytest.approx(0.01 * 100 / 800)


@given(
    st.lists(st.tuples(st.integers(1, 80), st.floats(1e-6, 10)), max_size=50),
    st.sampled_from([{}, MEASURED]),
    st.sampled_from([1, 16, 64]),
)
def test_no_run_counts_for_more_than_its_time_and_a_full_one_for_all_of_it(runs, measured, most):
    pace = Pace(most, measured)
    for rows, seconds in runs:
        worth = pace.worth(rows, seconds)
        assert 0.0 <= worth <= seconds
        assert worth == seconds or rows < most
