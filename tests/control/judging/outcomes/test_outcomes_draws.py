"""Units against the weights of their own draws."""

import numpy as np
import pytest

from control.judging.outcomes.draws import draws_test
from control.judging.outcomes.maturity import Unit, first_exposures
from harness.adversary import worst_expectation

ROWS = np.array([[0.9, 0.1, 0.0], [0.5, 0.25, 0.25]])


def counts_of(seen):
    return [[sum(step == (row, arm) for step in seen) for arm in range(3)] for row in range(len(ROWS))]


def test_weights_that_follow_the_draws_make_no_more_than_one() -> None:
    moves = [[(w, (row, arm)) for arm, w in enumerate(weights)] for row, weights in enumerate(ROWS)]
    most = worst_expectation(lambda seen: float(np.exp(draws_test(ROWS, counts_of(seen)))), moves, 6)
    assert most == pytest.approx(1.0, abs=1e-9)


def test_evidence_goes_on_from_weight_to_weight() -> None:
    """Each stage alone is near its weight; together they are not."""
    weights, units = [[0.9, 0.1], [0.5, 0.5]], np.array([[9000, 1120], [5000, 5300]])
    alone = [float(draws_test(weights[row : row + 1], units[row : row + 1])) for row in (0, 1)]
    assert draws_test(weights, units) > np.log(100) > max(alone)


def test_either_side_may_be_short() -> None:
    for canary in (700, 1300):
        assert draws_test([[0.9, 0.1]], [[9000, canary]]) > np.log(100)
    assert draws_test([[0.9, 0.1]], [[9000, 1000]]) < 0


def test_a_user_who_comes_often_is_one_unit() -> None:
    often = [Unit(float(second), f"r{second}", 1, (0.9, 0.1), "user") for second in range(500)]
    others = [Unit(float(at), f"o{at}", int(at % 10 == 0), (0.9, 0.1), f"u{at}") for at in range(1000)]
    units = first_exposures(often + others)
    counts = np.bincount([unit.arm for unit in units], minlength=2)
    assert counts.tolist() == [900, 101]
    assert draws_test([[0.9, 0.1]], [counts]) < 0 < draws_test([[0.9, 0.1]], [[900, 600]])
