"""`speed`: does the canary's model pay? Weighed, simulated, in words. Pure.

Law: of pairs of compute times on the same request (`router.counting.pairs`), the question is about the share
in which the canary's model was not `min` times as fast as stable's, t_s < min t_c. Proof: it is less than a
half in the mean over units of ten pairs that ran one after the other, so that the median of t_s / t_c is at
least `min`. Harm: it is more than a half. Of a canary at `min` exactly, neither. Nothing is assumed of how
times are distributed; a few very slow runs do not change a median, for those there is `latency`.

Source: the sign test as an e-process by betting, as in `control.judging.latency_pairs`, whose bets these are.
"""

from math import comb, log

import numpy as np

from control.judging.betting import SAFE_BETS, harm_bets, safe_bets
from control.judging.evidence import Evidence, Floats, bets_test
from control.judging.guard_evidence import AHEAD, GuardEvidence, Past, Pooled, Tests
from control.judging.guards.judged import Judged
from control.judging.guards.simulation import Behaviour, Ints, Least, Runs, SimulatedGuard, Traffic
from control.judging.latency_edges import MIN_BASELINE, slower_than
from control.judging.latency_pairs import SHARES, units_ahead
from control.judging.restarts import within_first_tick
from router.counting.latency import BUCKETS, GROWTH
from router.counting.pairs import NO_PAIRS, PAIR_SECONDS, RATIO_EDGES, UNIT_PAIRS, WARM_PAIRS, PairCounts
from router.rollout.guards.speed import SpeedGuard

PAYS = 1.25
"""A canary that pays is taken to be so many times as fast as `min` asks, where a rollout is planned."""


def _weigh(guard: SpeedGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    if not past.paired:
        return "a side is behind a URL, so that both models cannot be timed in one process"
    pairs = sum((row.pairs for row in pooled.rows), NO_PAIRS)
    if not sum(pairs.lagging):
        return past.pairing or f"no {UNIT_PAIRS} pairs of the canary's model and stable's were timed yet"
    tests = Tests(past)
    harm, safe = log_bets(units_ahead(pairs.lagging, AHEAD))
    facts = _facts(pairs, guard.min)
    return GuardEvidence(
        Evidence(tests.log_e("speed", harm), bets_test(safe)),
        facts,
        "; ".join(filter(None, [facts, past.pairing])),
        f"at least {guard.min:g} times as fast",
        tests.ratios,
    )


def log_bets(units: Floats) -> tuple[Floats, Floats]:
    """What the bets for harm and for proof won, logarithms; shape (bets, ...).

    Args:
        units: by number of pairs in which the canary's model was not as fast as asked; shape (..., 11).
    """
    return harm_bets(SHARES, units, 0.5, SAFE_BETS), safe_bets(SHARES, units, 0.5)


def _facts(pairs: PairCounts, least: float) -> str:
    counted = UNIT_PAIRS * sum(pairs.lagging)
    lagging = sum(number * units for number, units in enumerate(pairs.lagging))
    return (
        f"the canary's model was at least {least:g} times as fast as stable's in {counted - lagging:,} of"
        f" {counted:,} pairs, typically {_typical(pairs)}"
    )


def _typical(pairs: PairCounts) -> str:
    """The median of stable's time over the canary's, as far as the buckets tell it."""
    below = np.cumsum(pairs.ratios)
    place = int(np.argmax(2 * below >= below[-1]))
    if place == 0:
        return f"more than {1.0 / RATIO_EDGES[0]:.3g} times"
    if place == len(RATIO_EDGES):
        return f"less than {1.0 / RATIO_EDGES[-1]:.3g} times"
    return f"about {(RATIO_EDGES[place - 1] * RATIO_EDGES[place]) ** -0.5:.2f} times"


class _Simulated:
    """Pairs of which both times are drawn by themselves from stable's histogram, as of `latency`.

    Times of one request have much in common, which a histogram cannot tell: real pairs decide sooner.
    """

    def __init__(self, guard: SpeedGuard, of: Runs) -> None:
        self.weights, self.rate = of.weights, of.traffic.requests_per_second
        speed = guard.min * PAYS if of.canary.pays and of.canary.slower <= 1.0 else 1.0 / of.canary.slower
        chance, number = _lags(of.traffic, speed / guard.min), np.arange(UNIT_PAIRS + 1)
        ways = np.array([comb(UNIT_PAIRS, some) for some in number], float)
        self.units_of = ways * chance**number * (1.0 - chance) ** (UNIT_PAIRS - number)
        self.units = np.zeros((of.number, len(of.weights), UNIT_PAIRS + 1), dtype=np.int64)
        self.pairs = np.full(of.number, -WARM_PAIRS)

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, _canary: Ints, stable: Ints, /) -> None:
        rate = self.rate * (1.0 - self.weights[stage])
        before = self.pairs[runs]
        self.pairs[runs] += rng.binomial(stable, min(1.0, 1.0 / (PAIR_SECONDS * rate)) if rate > 0.0 else 1.0)
        whole = np.maximum(self.pairs[runs], 0) // UNIT_PAIRS - np.maximum(before, 0) // UNIT_PAIRS
        self.units[runs, stage] += rng.multinomial(whole, self.units_of)

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        harm, safe = log_bets(self.units[runs, stages].sum(axis=1))
        return Evidence(within_first_tick(bets_test(harm)), bets_test(safe))


def _lags(traffic: Traffic, margin: float) -> float:
    """The chance that min t_c > t_s, where the canary's model is `margin` times as fast as asked."""
    above = slower_than(traffic.latency) / sum(traffic.latency.values())
    places = np.arange(BUCKETS + 1)
    beyond = np.interp(places[:-1] + 0.5 + log(margin) / log(GROWTH), places, above)
    return min(max(float((-np.diff(above) * beyond).sum()), 0.0), 1.0)


def _simulate(guard: SpeedGuard, of: Runs) -> SimulatedGuard | None:
    return None if _untold(guard, of.traffic) else _Simulated(guard, of)


def _untold(_guard: SpeedGuard, traffic: Traffic) -> str:
    known = sum(traffic.latency.values()) >= MIN_BASELINE
    return "" if known else "no compute time of stable is known"


def _harm(_least: Least, traffic: Traffic) -> tuple[str, Behaviour]:
    return "no faster than stable", Behaviour(traffic.error_rate, pays=False)


JUDGED: dict[type, Judged] = {SpeedGuard: Judged(_weigh, _simulate, _untold, _harm, offline=True)}
