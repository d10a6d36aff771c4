"""Segments: one harmed group is found, and no number of groups costs more alpha."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.evidence import Evidence, label_test
from control.judging.outcomes.segments import discoveries, no_group_harmed
from harness.adversary import worst_expectation

LOGS = st.lists(st.floats(-5, 15), min_size=1, max_size=8)


@pytest.mark.parametrize("shares", [None, [0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
def test_groups_that_share_their_events_make_no_more_than_one(shares) -> None:
    """Two groups of the same events, and a third of the rest: any dependence."""

    def e_value(seen):
        c, s = (
            np.array([sum(step in {(group, arm), (2, arm)} for step in seen) for group in (0, 1)])
            for arm in (1, 0)
        )
        groups = label_test(0.2, np.append(c, c[0])[:, None], np.append(s, s[0])[:, None], 1.0)
        return float(np.exp(no_group_harmed(groups, shares).harm))

    moves = [[(0.2, (group, 1)), (0.8, (group, 0))] for group in (0, 1, 2)]
    assert worst_expectation(e_value, moves, 6) == pytest.approx(1.0, abs=1e-9)


def test_proof_is_proof_of_each_group() -> None:
    groups = Evidence(np.array([9.0, -1.0]), np.array([6.0, 0.0]))
    found = no_group_harmed(groups)
    assert float(found.safe) == 0.0
    assert float(found.harm) == pytest.approx(np.log((np.exp(9.0) + np.exp(-1.0)) / 2))


def test_shares_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        no_group_harmed(Evidence(np.zeros(2), np.zeros(2)), [0.5, 0.6])


def test_groups_may_have_looks_beside_them() -> None:
    harm = np.arange(6.0).reshape(2, 3)
    found = no_group_harmed(Evidence(harm, harm))
    np.testing.assert_allclose(found.harm, np.logaddexp(harm[0], harm[1]) - np.log(2))


@given(LOGS, st.sampled_from([0.05, 0.2]))
def test_those_named_are_the_most_that_may_be(logs, q) -> None:
    """e-BH by its definition: the greatest set of which each is at least G / (|set| q)."""
    named = discoveries(logs, q)
    sets = (
        chosen
        for size in range(len(logs), 0, -1)
        for chosen in itertools.combinations(range(len(logs)), size)
        if all(logs[index] >= np.log(len(logs) / q) - np.log(size) for index in chosen)
    )
    assert int(named.sum()) == len(next(sets, ()))
    assert all(logs[a] >= logs[b] for a in np.flatnonzero(named) for b in np.flatnonzero(~named))


@pytest.mark.parametrize("true_groups", [1, 3, 5])
def test_of_those_named_a_share_of_q_is_wrong_at_most(true_groups) -> None:
    """Exact, at the worst e-values: all good groups are G / (k q) together, with the chance that allows."""
    q, groups = 0.1, 5
    for wanted in range(1, groups + 1):
        high = groups / (wanted * q)
        bad = groups - true_groups
        named = discoveries(np.log([*[1e9] * bad, *[high] * true_groups]), q)
        wrong = named[bad:].sum() / max(named.sum(), 1)
        assert wrong / high <= q * true_groups / groups + 1e-12
