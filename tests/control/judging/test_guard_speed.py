"""A variant is kept when it pays, taken off when it does not, and at `min` itself hardly ever either."""

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
