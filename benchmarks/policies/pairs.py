"""Pairs of compute times in many runs at once: the evidence of `latency_pairs`, after each unit.

Times of one request have much in common (log-normal), and each model's run has noise of its own.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from control.judging.betting import SAFE_BETS, harm_bets, safe_bets
from control.judging.evidence import bets_test, limit_ratios, limit_test
from control.judging.latency_pairs import PROVES, SHARES
from control.judging.restarts import within_first_tick
from router.counting.pairs import BASELINE_PAIRS, QUANTILES, UNIT_PAIRS

Floats = npt.NDArray[np.float64]
COMMON, OWN, TOLERANCE = 0.8, 0.1, 1.25
CHUNK = 100


class Canary(NamedTuple):
    """How the canary differs from stable.

    Args:
        factor: how many times as long it takes.
        tail_share: share of its runs that take `tail_factor` times as long instead.
        tail_factor: see there.
        lasting: autocorrelation of each model's own noise from pair to pair.
    """

    factor: float = 1.0
    tail_share: float = 0.0
    tail_factor: float = 1.0
    lasting: float = 0.0


def times(
    rng: np.random.Generator, shape: tuple[int, int], canary: Canary, common: float, own: float
) -> tuple[Floats, Floats]:
    """Compute times of the canary and of stable; shape (runs, pairs)."""
    request = common * rng.standard_normal(shape)
    noises = []
    for _ in range(2):
        noise = rng.standard_normal(shape)
        if canary.lasting:
            fresh = np.sqrt(1.0 - canary.lasting**2)
            for pair in range(1, shape[1]):
                noise[:, pair] = canary.lasting * noise[:, pair - 1] + fresh * noise[:, pair]
        noises.append(own * noise)
    slow = rng.random(shape) < canary.tail_share
    factor = np.where(slow, canary.tail_factor, canary.factor)
    return factor * np.exp(request + noises[0]), np.exp(request + noises[1])


def evidence(candidate: Floats, stable: Floats, ratio: float) -> tuple[Floats, Floats]:
    """Log e-values of the guard for harm and for proof after each unit; shape (runs, units)."""
    ends = slice(UNIT_PAIRS - 1, None, UNIT_PAIRS)
    slower = (candidate > ratio * stable).reshape(len(candidate), -1, UNIT_PAIRS).sum(axis=2)
    units = np.eye(UNIT_PAIRS + 1)
    harm_of, safe_of = harm_bets(SHARES, units, 0.5, SAFE_BETS), safe_bets(SHARES, units, 0.5)
    harm = [within_first_tick(bets_test(harm_of[:, slower].cumsum(axis=2)))]
    safe = [bets_test(safe_of[:, slower].cumsum(axis=2))]
    edges = np.quantile(stable[:, :BASELINE_PAIRS], QUANTILES, axis=1, method="inverted_cdf")
    counts = np.arange(stable.shape[1]) >= BASELINE_PAIRS
    for place, edge in enumerate(edges):
        above = candidate > ratio * edge[:, None], stable > edge[:, None]
        worse = (above[0] & ~above[1] & counts).cumsum(axis=1)[:, ends]
        better = (above[1] & ~above[0] & counts).cumsum(axis=1)[:, ends]
        harm.append(within_first_tick(bets_test(limit_ratios(worse, worse + better, 0.5))))
        if place + 1 < len(PROVES):
            safe.append(limit_test(worse, worse + better, 0.5).safe)
    return bets_test(harm), np.min(safe, axis=0)


def simulated(
    rng: np.random.Generator,
    runs: int,
    pairs: int,
    canary: Canary,
    common: float = COMMON,
    own: float = OWN,
    ratio: float = TOLERANCE,
) -> tuple[Floats, Floats]:
    """The evidence of so many runs of so many pairs, as of `evidence`."""
    found = [
        evidence(*times(rng, (min(CHUNK, runs - start), pairs), canary, common, own), ratio)
        for start in range(0, runs, CHUNK)
    ]
    return tuple(np.concatenate(side) for side in zip(*found, strict=True))  # type: ignore[return-value]


CASES = (
    ("a copy of stable, in pairs", Canary(), True, False),
    ("a copy of stable, noise that lasts (.5), in pairs", Canary(lasting=0.5), True, False),
    ("1.25 times as long, the tolerance, in pairs", Canary(1.25), True, True),
    ("the tolerance, noise that lasts (.05), in pairs", Canary(1.25, lasting=0.05), True, True),
    ("the tolerance, noise that lasts (.5), in pairs", Canary(1.25, lasting=0.5), True, True),
    ("the tolerance, noise that lasts (.9; assumed not to), in pairs", Canary(1.25, lasting=0.9), True, True),
    ("1.35 times as long, in pairs", Canary(1.35), False, True),
    ("1.5 times as long, in pairs", Canary(1.5), False, True),
    ("twice as long, in pairs", Canary(2.0), False, True),
    ("5% take five times as long, in pairs", Canary(1.0, 0.05, 5.0), False, True),
)
"""Name, canary, whether harm is false, whether proof is."""


def cells(rng: np.random.Generator, runs: int) -> Iterator[tuple[str, Floats, Floats, bool, bool]]:
    """Each case with its evidence: 3,000 pairs, five minutes at ten a second."""
    for name, canary, harm_false, proof_false in CASES:
        harm, safe = simulated(rng, runs, 3000, canary)
        yield name, harm, safe, harm_false, proof_false


def first_at(log_e: Floats, line: float) -> Any:
    """Pairs until each run reached the line; -1 where it never did."""
    over = log_e >= line
    return np.where(over.any(axis=1), UNIT_PAIRS * (over.argmax(axis=1) + 1), -1)
