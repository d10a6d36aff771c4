"""Pairs at the edge of the null are rarely called wrongly, and slower models soon."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.judging.evidence import bets_test
from control.judging.latency_pairs import NAMES, PROVES, facts, harm_ratios, proofs
from harness.search import examples
from router.counting.pairs import NO_PAIRS, UNIT_PAIRS, PairCounts

NOW = np.zeros(1)
units = st.lists(st.integers(0, 50), min_size=UNIT_PAIRS + 1, max_size=UNIT_PAIRS + 1).map(tuple)


def e_values(pairs):
    harm = {name: float(bets_test(ratios)[0]) for name, ratios in harm_ratios(pairs, NOW).items()}
    return harm, {name: float(found[0]) for name, found in proofs(pairs, NOW).items()}


def test_without_pairs_there_is_no_evidence():
    harm, safe = e_values(NO_PAIRS)
    assert list(harm) == list(NAMES)
    assert list(safe) == list(PROVES) == ["typical", "p90", "p95"]
    assert [*harm.values(), *safe.values()] == pytest.approx([0.0] * 7)


@given(units)
def test_harm_and_proof_of_the_typical_pair_mirror_each_other(counted):
    """At a half, what is harm for the one is proof for the other, which no data can be both for."""
    harm, _ = e_values(PairCounts(counted))
    _, safe = e_values(PairCounts(counted[::-1]))
    assert harm["typical"] == pytest.approx(safe["typical"])
    other, _ = e_values(PairCounts(counted[::-1]))
    assert min(harm["typical"], other["typical"]) <= 1e-9


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_a_tail_is_never_surer_than_the_test_that_looks_once(worse, better):
    """Ville's inequality against the exact binomial test: an e-value of 100 has a p-value below 1%."""
    from scipy import stats

    pairs = PairCounts(tails=((worse, better),) * 3, tail_pairs=400)
    harm, safe = e_values(pairs)
    for log_e, alternative in ((harm["p90"], "greater"), (safe["p90"], "less")):
        if log_e >= np.log(100) and worse + better:
            assert stats.binomtest(worse, worse + better, 0.5, alternative=alternative).pvalue < 0.01


def drawn(rng, runs, count, factor, own=0.1):
    """Compute times of pairs; shape (runs, pairs)."""
    request = rng.lognormal(0, 0.8, (runs, count))
    candidate, stable = rng.lognormal(0, own, (2, runs, count))
    return factor * request * candidate, request * stable


def shares(candidate, stable, ratio=1.25):
    slower = (candidate > ratio * stable).reshape(len(candidate), -1, UNIT_PAIRS).sum(axis=2)
    return np.stack([(slower == number).cumsum(axis=1) for number in range(UNIT_PAIRS + 1)], axis=2)


def ever(log_e):
    return float((np.max(log_e, axis=1) >= np.log(100)).mean())


def test_at_the_tolerance_a_verdict_on_the_typical_pair_is_rare():
    rng = np.random.default_rng(5)
    counted = shares(*drawn(rng, 300, 2000, 1.25))
    harm, safe = [], []
    for look in range(counted.shape[1]):
        found = [e_values(PairCounts(tuple(run))) for run in counted[::6, look]] if look % 20 == 19 else []
        harm.append([h["typical"] for h, _ in found])
        safe.append([s["typical"] for _, s in found])
    harm, safe = (np.array([row for row in side if row]).T for side in (harm, safe))
    tolerated = 0.01 + 3 * np.sqrt(0.01 * 0.99 / len(harm))
    assert ever(harm) <= tolerated
    assert ever(safe) <= tolerated


@pytest.mark.parametrize(
    ("factor", "side", "most"), [(1.0, "safe", 140), (1.5, "harm", 140), (2.0, "harm", 100)]
)
def test_what_is_plainly_on_one_side_is_told_soon(factor, side, most):
    counted = shares(*drawn(np.random.default_rng(6), max(5, examples(20)), 400, factor))
    for run in counted:
        log_e = [e_values(PairCounts(tuple(look)))[side == "safe"]["typical"] for look in run]
        assert UNIT_PAIRS * (1 + int(np.argmax(np.array(log_e) >= np.log(100)))) <= most
        assert max(log_e) >= np.log(100)


def test_facts_say_what_was_counted():
    pairs = PairCounts((0,) * UNIT_PAIRS + (3,), ((7, 2), (0, 0), (0, 0)), 40, 500)
    assert facts(pairs, "typical", 1.25) == (
        "the canary's model took longer than 1.25 times stable's in 30 of 30 pairs"
    )
    assert facts(pairs, "p90", 1.25) == (
        "in 7 of 40 pairs only the canary's model took longer than 1.25 times stable's p90,"
        " in 2 only stable's took longer than its p90"
    )
