"""Guard `drift`: shares of values on both sides, by pairs of answers to the same request."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.guard_evidence import Past, pool
from control.judging.guards.drift import log_e
from control.judging.guards.registry import judged
from router.counting.shifts import MOST_VALUES, Shift
from router.counting.stage_counts import StageCounts
from router.rollout.guards.drift import DriftGuard
from router.rollout.parser import parse_one
from serving.document import DocumentError

GUARD = DriftGuard("label", 0.05)
NOW = np.ones(1)
CLASSES = 10


def paired(rng, pairs, shift, redrawn):
    """Pairs of ten classes, of which the candidate has more of 3; both are drawn by themselves in a share.

    Args:
        rng: draws.
        pairs: how many.
        shift: how much more of the class 3 the candidate has, over all.
        redrawn: in which share of pairs the candidate's answer says nothing of stable's.
    """
    shift = shift / redrawn
    stable = rng.integers(0, CLASSES, pairs)
    shares = np.full(CLASSES, (0.9 - shift) / (CLASSES - 1))
    shares[3] = 0.1 + shift
    anew = rng.random(pairs) < redrawn
    candidate = np.where(anew, rng.choice(CLASSES, pairs, p=shares), stable)
    return Shift(
        pairs,
        {
            str(k): (int((candidate == k)[stable != k].sum()), int((stable == k)[candidate != k].sum()))
            for k in range(CLASSES)
        },
    )


def weighed(shift):
    return judged(GUARD).weigh(GUARD, pool([StageCounts(0.1, shifts={"label": shift})]), Past())


@given(st.floats(0.001, 0.999), st.floats(0, 1), st.floats(0, 1))
def test_no_bet_wins_in_the_mean_where_shares_are_as_far_apart_as_tolerated(most, differing, apart):
    """One pair: whatever its chances are, harm wins nothing up to `max`, and proof nothing from there on."""
    tolerated = min(most, differing) * apart
    more, less = (differing + tolerated) / 2, (differing - tolerated) / 2
    outcomes = [Shift(1, {"a": (1, 0)}), Shift(1, {"a": (0, 1)}), Shift(1, {})]
    chances = np.array([more, less, 1 - differing])
    harm, safe = np.exp([[float(each[0]) for each in log_e(shift, most, NOW)] for shift in outcomes]).T
    assert harm @ chances <= 1 + 1e-9
    if most < 1 - 1e-6:
        beyond = np.array([most + (1 - most) * apart, 0.0, 0.0])
        beyond[2] = 1 - beyond[0]
        assert safe @ beyond <= 1 + 1e-9


@pytest.mark.parametrize("redrawn", [0.2, 1.0])
def test_models_with_the_same_shares_are_not_called_harmful_and_those_apart_are(redrawn):
    rng = np.random.default_rng(5)
    same = [log_e(paired(rng, 3000, 0.0, redrawn), 0.02, NOW)[0][0] for _ in range(100)]
    assert max(same) < np.log(100)
    pairs = 2000 if redrawn == 1.0 else 1000
    far = [log_e(paired(rng, pairs, 0.1, redrawn), 0.02, NOW)[0][0] for _ in range(20)]
    assert min(far) > np.log(100)


def test_it_is_proven_where_no_value_is_farther_apart_and_says_what_it_rests_on():
    rng = np.random.default_rng(6)
    found = weighed(paired(rng, 2000, 0.0, 0.1))
    assert found.evidence.safe[0] > np.log(100)
    assert found.evidence.harm[0] < 0
    assert found.tolerance == "no value more than 5% apart"
    shifted = weighed(Shift(1000, {"3": (200, 20), "4": (20, 100)}))
    assert shifted.evidence.harm[0] > np.log(100)
    assert "only the canary's was '3' in 200, and only stable's in 20" in shifted.harm_facts
    assert "18% above stable's, tolerated 5%" in shifted.harm_facts
    fewer = weighed(Shift(1000, {"confidence 0.9 to 0.95": (0, 300)}))
    assert "30% below stable's" in fewer.harm_facts
    assert "the same value as stable in all of 50 pairs" in weighed(Shift(50)).safe_facts


def test_evidence_ahead_is_more_of_the_same():
    found = weighed(Shift(1000, {"3": (200, 20)}))
    assert (np.diff(found.evidence.harm) > 0).all()
    assert found.evidence.harm[0] == pytest.approx(log_e(Shift(1000, {"3": (200, 20)}), 0.05, NOW)[0][0])


def test_without_values_there_is_a_reason():
    assert "no two answers to one request" in weighed(Shift())
    many = Shift(9, {str(number): (1, 0) for number in range(MOST_VALUES + 1)})
    assert "it is no class" in weighed(many)


def test_an_output_that_is_kept_back_is_not_counted():
    text = "{stable: m/1, record: {redact: [label]}, guards: {drift: {output: label, max: 2%}}}"
    with pytest.raises(DocumentError, match="'label' is redacted, and this guard tells control"):
        parse_one("m", text, "f")
    assert parse_one("m", text.replace("[label]", "[x]"), "f").guards == (DriftGuard("label", 0.02),)
