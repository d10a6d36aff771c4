"""Guards over many simulated rollouts at once, for `control.plan`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Protocol

import numpy as np
import numpy.typing as npt

from control.evidence import Evidence, label_test, limit_test
from control.latency_edges import latency_edges, slower_than
from control.restarts import within_first_tick
from router.latency import BUCKETS, GROWTH, shift_down, shift_up
from router.rollout import AgreementGuard, ErrorsGuard, LatencyGuard

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What stable does today.

    Args:
        requests_per_second: of the rollout's public name, above 0.
        error_rate: share of stable's requests that fail, 0 to 1.
        latency: bucket of `router.latency` -> answers of stable; may be empty.
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
    """Each pair of edges drawn by itself, which makes proof at all of them come a little late."""

    def __init__(
        self, guard: LatencyGuard, runs: int, weights: Sequence[float], traffic: Traffic, slower: float
    ) -> None:
        edges = latency_edges(traffic.latency)
        assert edges is not None  # else there is no such guard
        self.weights = weights
        self.harm = len(edges.harm)
        at = np.array([*edges.harm, *edges.quantiles])
        shift = np.repeat(
            [shift_up(guard.max_ratio), shift_down(guard.max_ratio)], [self.harm, len(edges.quantiles)]
        )
        above = slower_than(traffic.latency) / sum(traffic.latency.values())
        self.stable_rates = above[at]
        self.canary_rates = np.interp(at + shift - log(slower) / log(GROWTH), np.arange(BUCKETS + 1), above)
        self.canary, self.stable = np.zeros((2, runs, len(at), len(weights)))

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, canary: Ints, stable: Ints, /) -> None:
        self.canary[runs, :, stage] += rng.binomial(canary[:, None], self.canary_rates)
        self.stable[runs, :, stage] += rng.binomial(stable[:, None], self.stable_rates)

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        found = label_test(
            self.weights[stages], self.canary[runs, :, stages], self.stable[runs, :, stages], 1.0
        )
        harm = np.logaddexp.reduce(found.harm[:, : self.harm], axis=1) - log(self.harm)
        return _first_tick(Evidence(harm, found.safe[:, self.harm :].min(axis=1)))


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
    guard: ErrorsGuard | LatencyGuard | AgreementGuard,
    runs: int,
    weights: Sequence[float],
    traffic: Traffic,
    canary: Behaviour,
) -> SimulatedGuard | None:
    """A guard of the document over many runs; None for the latency guard when no latency is known.

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
            known = latency_edges(traffic.latency) is not None
            return _Latency(guard, runs, weights, traffic, canary.slower) if known else None
        case AgreementGuard():
            return _Agreement(guard, runs, len(weights), traffic.mirror, canary.disagreement)
