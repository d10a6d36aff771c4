"""Guards over many simulated rollouts at once, for `control.planning.plan`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, log
from typing import Protocol

import numpy as np
import numpy.typing as npt

from control.judging.betting import SAFE_BETS, harm_bets, safe_bets
from control.judging.evidence import Evidence, Floats, bets_test, label_test, limit_ratios, limit_test
from control.judging.latency_edges import MIN_BASELINE, slower_than
from control.judging.latency_pairs import PROVES, SHARES
from control.judging.restarts import within_first_tick
from router.counting.latency import BUCKETS, GROWTH
from router.counting.pairs import BASELINE_PAIRS, PAIR_SECONDS, QUANTILES, UNIT_PAIRS, WARM_PAIRS
from router.rollout.values import AgreementGuard, ClientsGuard, ErrorsGuard, LatencyGuard

Ints = npt.NDArray[np.int64]
PROVING_TAILS = range(len(PROVES) - 1)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What stable does today.

    Args:
        requests_per_second: of the rollout's public name, above 0.
        error_rate: share of stable's requests that fail, 0 to 1.
        latency: bucket of `router.counting.latency` -> answers of stable; may be empty.
        mirror: share of stable's requests that the canary runs too, for comparison, 0 to 1.
    """

    requests_per_second: float
    error_rate: float
    latency: Mapping[int, int] = field(default_factory=dict)
    mirror: float = 0.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a canary does.

    Args:
        error_rate: share of its requests that fail, 0 to 1.
        slower: its compute times as a multiple of stable's.
        disagreement: share of comparisons of any output that differ, 0 to 1.
    """

    error_rate: float
    slower: float = 1.0
    disagreement: float = 0.0


class SimulatedGuard(Protocol):
    """The counts of one guard in many runs."""

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, canary: Ints, stable: Ints, /) -> None:
        """Draw what came of more requests in these runs: so many to the canary and to stable in each."""

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        """The evidence of these stages in these runs; of the runs' shape."""


class _Errors:
    def __init__(
        self, guard: ErrorsGuard, runs: int, weights: Sequence[float], rates: tuple[float, float]
    ) -> None:
        self.guard, self.weights, self.rates = guard, weights, rates
        self.canary, self.stable, self.requests = np.zeros((3, runs, len(weights)))

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, canary: Ints, stable: Ints, /) -> None:
        self.canary[runs, stage] += rng.binomial(canary, self.rates[0])
        self.stable[runs, stage] += rng.binomial(stable, self.rates[1])
        self.requests[runs, stage] += canary

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        canary, stable, found = self.canary[runs, stages], self.stable[runs, stages], []
        if self.guard.max_ratio is not None:
            found.append(label_test(self.weights[stages], canary, stable, self.guard.max_ratio))
        if self.guard.max is not None:
            requests = self.requests[runs, stages].sum(axis=1)
            found.append(limit_test(canary.sum(axis=1), requests, self.guard.max))
        return _first_tick(found[0] if len(found) == 1 else found[0].either(found[1]))


class _Latency:
    """Pairs, of which both times are drawn by themselves from stable's histogram, and each tail by itself.

    Times of one request have much in common, which a histogram cannot tell: real pairs decide sooner.
    """

    def __init__(
        self, guard: LatencyGuard, runs: int, weights: Sequence[float], traffic: Traffic, slower: float
    ) -> None:
        self.weights, self.rate = weights, traffic.requests_per_second
        above = slower_than(traffic.latency) / sum(traffic.latency.values())
        places = np.arange(BUCKETS + 1)
        shift = log(guard.max_ratio) / log(GROWTH)

        def candidate_above(at: npt.ArrayLike) -> Floats:
            found: Floats = np.interp(np.asarray(at) + shift - log(slower) / log(GROWTH), places, above)
            return found

        typical = float((-np.diff(above) * candidate_above(places[:-1] + 0.5)).sum())
        chance, number = min(max(typical, 0.0), 1.0), np.arange(UNIT_PAIRS + 1)
        ways = np.array([comb(UNIT_PAIRS, some) for some in number], float)
        self.units_of = ways * chance**number * (1 - chance) ** (UNIT_PAIRS - number)
        edges = np.interp(
            np.log(1 - np.array(QUANTILES)), np.log(np.maximum(above, 1e-12))[::-1], places[::-1]
        )
        worse, stable = candidate_above(edges), 1.0 - np.array(QUANTILES)
        self.alone = np.stack([worse * (1 - stable), (1 - worse) * stable], axis=1)
        self.units = np.zeros((runs, len(weights), UNIT_PAIRS + 1), dtype=np.int64)
        self.tails = np.zeros((runs, len(weights), len(QUANTILES), 2), dtype=np.int64)
        self.pairs = np.full(runs, -WARM_PAIRS)

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, _canary: Ints, stable: Ints, /) -> None:
        rate = self.rate * (1.0 - self.weights[stage])
        pairs = rng.binomial(stable, min(1.0, 1.0 / (PAIR_SECONDS * rate)) if rate > 0.0 else 1.0)
        before, after = self.pairs[runs], self.pairs[runs] + pairs
        self.pairs[runs] = after
        whole = np.maximum(after, 0) // UNIT_PAIRS - np.maximum(before, 0) // UNIT_PAIRS
        self.units[runs, stage] += rng.multinomial(whole, self.units_of)
        beyond = np.maximum(after - BASELINE_PAIRS, 0) - np.maximum(before - BASELINE_PAIRS, 0)
        rest = 1.0 - self.alone.sum(axis=1, keepdims=True)
        shares = np.concatenate([self.alone, rest], axis=1)
        self.tails[runs, stage] += rng.multinomial(beyond[:, None], shares)[..., :2]

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        units = self.units[runs, stages].sum(axis=1)
        worse, better = np.moveaxis(self.tails[runs, stages].sum(axis=1), -1, 0)
        tails = limit_test(worse, worse + better, 0.5)
        harm = [within_first_tick(bets_test(harm_bets(SHARES, units, 0.5, SAFE_BETS)))]
        for tail in range(len(QUANTILES)):
            ratios = limit_ratios(worse[:, tail], (worse + better)[:, tail], 0.5)
            harm.append(within_first_tick(bets_test(ratios)))
        safe = [bets_test(safe_bets(SHARES, units, 0.5)), *(tails.safe[:, tail] for tail in PROVING_TAILS)]
        return Evidence(bets_test(harm), np.min(safe, axis=0))


class _Agreement:
    def __init__(self, guard: AgreementGuard, runs: int, stages: int, mirror: float, rate: float) -> None:
        self.limit, self.mirror, self.rate = 1.0 - guard.min, mirror, rate
        self.differing, self.compared = np.zeros((2, runs, stages))

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, _canary: Ints, stable: Ints, /) -> None:
        compared = rng.binomial(stable, self.mirror)
        self.compared[runs, stage] += compared
        self.differing[runs, stage] += rng.binomial(compared, self.rate)

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        differing, compared = self.differing[runs, stages], self.compared[runs, stages]
        return _first_tick(limit_test(differing.sum(axis=1), compared.sum(axis=1), self.limit))


def _first_tick(found: Evidence) -> Evidence:
    """Harm as it is within the first minute; later a canary that was bad from the start is found as soon."""
    return found._replace(harm=within_first_tick(found.harm))


def simulated(
    guard: ErrorsGuard | LatencyGuard | ClientsGuard | AgreementGuard,
    runs: int,
    weights: Sequence[float],
    traffic: Traffic,
    canary: Behaviour,
) -> SimulatedGuard | None:
    """A guard of the document over many runs; None where nothing can be foretold.

    That is for latency when none of stable is known, and for what clients wait: it proves nothing, and what
    it would see (queues, placement) is not known before.

    Args:
        guard: enforced, and resting on counts.
        runs: how many.
        weights: of the stages, as fractions.
        traffic: what stable does.
        canary: what the canary does.
    """
    match guard:
        case ErrorsGuard():
            return _Errors(guard, runs, weights, (canary.error_rate, traffic.error_rate))
        case LatencyGuard():
            known = sum(traffic.latency.values()) >= MIN_BASELINE
            return _Latency(guard, runs, weights, traffic, canary.slower) if known else None
        case ClientsGuard():
            return None
        case AgreementGuard():
            return _Agreement(guard, runs, len(weights), traffic.mirror, canary.disagreement)
