"""Which rows are drawn: by number and salt alone, each with the same chance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from understudy.scoring.drawing import drawn

SALTS = st.text(max_size=10)
SHARES = st.floats(0, 1)


@given(st.lists(st.integers(1, 2**62), max_size=50), SALTS, SHARES, st.integers(0, 50))
def test_a_row_is_drawn_whatever_the_others_are(rows, salt, share, cut):
    whole = drawn(np.array(rows, np.int64), salt, share)
    parts = [drawn(np.array(part, np.int64), salt, share) for part in (rows[:cut], rows[cut:])]
    assert whole.tolist() == np.concatenate(parts).tolist()


@given(SALTS, SHARES, SHARES)
def test_who_is_drawn_by_a_share_is_drawn_by_more(salt, one, other):
    rows = np.arange(1, 200)
    few, many = (drawn(rows, salt, share) for share in sorted((one, other)))
    assert not (few & ~many).any()


@given(SALTS)
def test_none_all_and_about_the_share(salt):
    rows = np.arange(1, 20_001)
    assert not drawn(rows, salt, 0.0).any()
    assert drawn(rows, salt, 1.0).all()
    found = drawn(rows, salt, 0.05)
    assert abs(found.mean() - 0.05) < 8 * np.sqrt(0.05 * 0.95 / len(rows))
    beside = np.corrcoef(found[1:], found[:-1])[0, 1]
    assert abs(beside) < 8 / np.sqrt(len(rows))


def test_another_salt_draws_others():
    rows = np.arange(1, 10_001)
    assert (drawn(rows, "monday", 0.5) != drawn(rows, "tuesday", 0.5)).mean() > 0.4
