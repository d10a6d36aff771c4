"""The guard on speed, simulated: how often it is wrong at its limit, and after how many pairs it is right.

Times of one request have much in common (log-normal, sd .8), each model's run has noise of its own (.1), as
in `benchmarks.policies.pairs`; the guard looks after each ten pairs, for five minutes at ten pairs a second.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.policies.pairs import COMMON, OWN, Canary, Floats, first_at, times
from control.judging.evidence import bets_test
from control.judging.guards.speed import log_bets
from control.judging.restarts import within_first_tick
from router.counting.pairs import UNIT_PAIRS

LEAST, PAIRS, ALPHA, CHUNK = 1.3, 3000, 0.01, 100
CASES = (
    *((speed, 0.0) for speed in (1.0, 1.1, 1.2, 1.25, 1.35, 1.4, 1.6, 2.0)),
    *((LEAST, lasting) for lasting in (0.0, 0.5, 0.9)),
)
"""How many times as fast, and how the noise of a run lasts to the next (autocorrelation)."""


def rows(runs: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """A row for each case."""
    for number, (speed, lasting) in enumerate(CASES):
        rng = np.random.default_rng([seed, number])
        harm, safe = _evidence(rng, runs, Canary(1.0 / speed, lasting=lasting))
        line = float(np.log(1.0 / ALPHA))
        harmful, proven = first_at(harm, line), first_at(safe, line)
        yield {
            "speed": speed,
            "lasting": lasting,
            "runs": runs,
            "harmful": float((harmful > 0).mean()),
            "proven": float((proven > 0).mean()),
            "pairs_until_harmful": _median(harmful),
            "pairs_until_proven": _median(proven),
        }


def _median(at: Floats) -> float | None:
    """Over those that got there, where at least half did."""
    reached = at[at > 0]
    return float(np.median(reached)) if 2 * len(reached) >= len(at) else None


def _evidence(rng: np.random.Generator, runs: int, canary: Canary) -> tuple[Floats, Floats]:
    one_hot, found = np.eye(UNIT_PAIRS + 1), []
    harm_of, safe_of = log_bets(one_hot)
    for start in range(0, runs, CHUNK):
        candidate, stable = times(rng, (min(CHUNK, runs - start), PAIRS), canary, COMMON, OWN)
        lags = (LEAST * candidate > stable).reshape(len(candidate), -1, UNIT_PAIRS).sum(axis=2)
        harm = within_first_tick(bets_test(harm_of[:, lags].cumsum(axis=2)))
        found.append((harm, bets_test(safe_of[:, lags].cumsum(axis=2))))
    harm, safe = zip(*found, strict=True)
    return np.concatenate(harm), np.concatenate(safe)
