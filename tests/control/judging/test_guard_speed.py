"""A variant is kept when it pays, taken off when it does not, and at `min` itself hardly ever either."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.evidence import bets_test
from control.judging.guard_evidence import Past
from control.judging.guards.registry import judged
from control.judging.guards.simulation import Behaviour, Runs, Traffic
from control.judging.guards.speed import log_bets
from control.judging.judge import judge
from router.counting.pairs import UNIT_PAIRS, StagePairs
from router.counting.stage_counts import StageCounts
from router.rollout.guards.speed import SpeedGuard

SPEED = SpeedGuard(1.3)
units = st.lists(st.integers(0, 50), min_size=UNIT_PAIRS + 1, max_size=UNIT_PAIRS + 1)


def timed(rng, pairs, speed, asked=1.3, own=0.1):
    """Counts of pairs whose times have much in common; the candidate is so many times as fast."""
    counts = StagePairs()
    request = rng.lognormal(-7, 0.8, pairs)
    candidate, stable = request * rng.lognormal(0, own, pairs) / speed, request * rng.lognormal(0, own, pairs)
    for own_seconds, its in zip(candidate, stable, strict=True):
        counts.add(own_seconds, its, 1.0, None, asked)
    return StageCounts(0.1, pairs=counts.counts)


def found(counts, past=None):
    [verdict] = judge([SPEED], [counts], 0.01, past=past or Past()).guards
    return verdict


@pytest.mark.parametrize(
    ("speed", "verdict", "typical"), [(1.6, "proven", "about 1.6"), (0.9, "harmful", "about 0.")]
)
def test_what_pays_is_proven_and_what_does_not_is_taken_off_in_words(speed, verdict, typical):
    told = found(timed(np.random.default_rng(1), 300, speed))
    assert told.verdict == verdict
    assert "the canary's model was at least 1.3 times as fast as stable's in " in told.reason
    assert f" of 300 pairs, typically {typical}" in told.reason
    assert ("for at least 1.3 times as fast" in told.reason) == (verdict == "proven")


def test_at_the_limit_a_verdict_of_either_kind_is_rare():
    """At t_s / t_c of 1.3 in the median: by counts of units, looked at after each, of 2,000 runs of 150."""
    rng = np.random.default_rng(7)
    lagging = rng.binomial(UNIT_PAIRS, 0.5, (2000, 150))
    seen = np.stack([(lagging == number).cumsum(axis=1) for number in range(UNIT_PAIRS + 1)], axis=2)
    for bets in log_bets(seen.astype(float)):
        ever = (bets_test(bets).max(axis=1) >= np.log(100)).mean()
        assert ever <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 2000)


HARM, PROOF = log_bets(np.eye(UNIT_PAIRS + 1))
HALF = UNIT_PAIRS // 2


@given(st.lists(st.integers(0, 1000), min_size=UNIT_PAIRS + 1, max_size=UNIT_PAIRS + 1).filter(any))
def test_no_bet_wins_in_the_mean_however_a_units_pairs_fall_at_the_limit_or_beyond(weights):
    """However a unit's counts are distributed: what is a half or less in the mean wins no bet on more."""
    chance = np.array(weights) / sum(weights)
    mean = chance @ np.arange(UNIT_PAIRS + 1)
    if mean > HALF:  # mixed with units of no lagging pair until the mean is a half
        chance = chance * HALF / mean
        chance[0] += 1.0 - chance.sum()
    assert (np.exp(HARM) @ chance <= 1.0 + 1e-9).all()
    assert (np.exp(PROOF) @ chance[::-1] <= 1.0 + 1e-9).all()


def most_crossed(bets, line, units):
    """The chance of a false verdict that the best adversary has in so many units.

    It sees all that came, and draws the next unit from any counts whose mean is a half; two of them will do,
    as what it gains is linear in their chances.
    """
    draws = [(low, high) for low in range(HALF) for high in range(HALF + 1, UNIT_PAIRS + 1)]

    @cache
    def chance(came):
        if bets_test(bets @ np.array(came, float)) >= line:
            return 1.0
        if sum(came) == units:
            return 0.0
        after = [chance((*came[:k], came[k] + 1, *came[k + 1 :])) for k in range(UNIT_PAIRS + 1)]
        two = (
            ((high - HALF) * after[low] + (HALF - low) * after[high]) / (high - low) for low, high in draws
        )
        return max(after[HALF], *two)

    return chance((0,) * (UNIT_PAIRS + 1))


@pytest.mark.parametrize("alpha", [0.3, 0.1])
def test_the_best_adversary_at_the_limit_stays_below_alpha(alpha):
    for bets in (HARM, PROOF):
        assert 0 < most_crossed(bets, -np.log(alpha), units=6) <= alpha


@given(units)
def test_harm_and_proof_mirror_each_other(counted):
    harm, _ = log_bets(np.array(counted, float))
    _, safe = log_bets(np.array(counted[::-1], float))
    assert bets_test(harm) == pytest.approx(bets_test(safe))


def test_without_pairs_there_is_a_reason():
    assert "no 10 pairs of the canary's model" in found(StageCounts(0.1)).reason
    assert "stable cannot" in found(StageCounts(0.1), Past(pairing="stable cannot be loaded")).reason
    assert "behind a URL" in found(StageCounts(0.1), Past(paired=False)).reason


@pytest.mark.parametrize("speed", [0.1, 9.0])
def test_what_is_beyond_the_buckets_is_told_as_such(speed):
    reason = found(timed(np.random.default_rng(2), 30, speed)).reason
    assert ("less than 0.262 times" if speed < 1 else "more than 3.81 times") in reason


@pytest.mark.parametrize(
    ("canary", "side"),
    [(Behaviour(0.0), "safe"), (Behaviour(0.0, pays=False), "harm"), (Behaviour(0.0, slower=1.5), "harm")],
)
def test_a_plan_sends_through_what_pays_and_what_does_not(canary, side):
    rng = np.random.default_rng(3)
    traffic = Traffic(50.0, 0.0, {60: 400, 61: 500, 62: 100})
    simulated = judged(SPEED).simulate(SPEED, Runs(20, [0.1], traffic, canary))
    assert simulated is not None
    stable = np.full(20, 9000)
    simulated.add(rng, np.arange(20), 0, stable // 9, stable)
    evidence = simulated.evidence(np.arange(20), slice(None))
    assert (getattr(evidence, side) > np.log(100)).all()
    assert (min(evidence, key=np.max) < np.log(100)).all()
