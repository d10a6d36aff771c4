"""Equality with independent implementations, where they coincide with ours."""

import math

import numpy as np
import pytest

from control.judging.evidence import sample_ratio_test


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.25, 0.5])
@pytest.mark.parametrize(
    "draws", [[(0, 1)], [(1, 0)], [(3, 40), (10, 80)], [(120, 880)], [(50, 50), (0, 70), (31, 9)]]
)
def test_the_sample_ratio_test_is_savvis(weight, draws):
    from savvi.multinomial import Multinomial  # with all of matplotlib

    theirs = Multinomial(0.05, np.array([weight, 1 - weight]), k=100)
    for canary, stable in draws:
        theirs.counts += np.array([canary, stable])
        theirs.odds = theirs.update_odds(np.array([canary, stable]))
    canary, stable = np.sum(draws, axis=0)
    assert float(sample_ratio_test(weight, canary, stable)) == pytest.approx(math.log(theirs.odds), abs=1e-6)
