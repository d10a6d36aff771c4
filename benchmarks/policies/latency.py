"""Slower canaries: the latency guard's pairs, looked at after each ten, beside fixed thresholds.

Compute times are log-normal around 4 ms, and each model's run has noise of its own. Flagger's and Argo's
thresholds get what nobody has: 1.25 times the true p99 (Flagger) and p95 (Argo) of stable. A quantile is
under its threshold when the share of answers over it is small enough, so their replay for errors serves too.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from benchmarks.policies.pairs import OWN, TOLERANCE, Canary, first_at, simulated
from benchmarks.policies.rivals import Outcome, argo, flagger
from router.counting.pairs import PAIR_SECONDS, WARM_PAIRS

Floats = npt.NDArray[np.float64]
MEDIAN_SECONDS = 0.004
SPREADS = (0.1, 0.3, 0.8)
WEIGHTS = (0.01, 0.1, 0.5)
RPS = 100.0
LINE = float(np.log(4.5 / 0.01))  # of latency beside errors, what clients see and agreement, alpha 1%
PAIRS = 6000
"""Ten minutes of them."""


class Shape(NamedTuple):
    """How the canary differs: `factor` times as slow, and a share of answers `tail_factor` times as slow."""

    name: str
    factor: float = 1.0
    tail_share: float = 0.0
    tail_factor: float = 1.0

    def slower(self, seconds: Floats, spread: float) -> Floats:
        """The chance that an answer takes longer than this."""
        body = _survival(seconds / self.factor, spread)
        return (1 - self.tail_share) * body + self.tail_share * _survival(seconds / self.tail_factor, spread)


SHAPES = (
    Shape("x1.00"),
    Shape("x1.05", 1.05),
    Shape("x1.25", 1.25),
    Shape("x1.50", 1.5),
    Shape("x2.00", 2.0),
    Shape("3% take x5", 1.0, 0.03, 5.0),
    Shape("0.5% take x20", 1.0, 0.005, 20.0),
)


def rows(seed: int, runs: int) -> Iterator[dict[str, Any]]:
    """All cells. Pairs come ten a second whatever the weight, which says how many requests the canary got."""
    cells = [(spread, shape) for spread in SPREADS for shape in SHAPES]
    for index, (spread, shape) in enumerate(cells):
        rng = np.random.default_rng([seed, 3, index])
        ours = _guard(rng, min(runs, 400), shape, spread)
        total = float(np.hypot(spread, OWN))
        thresholds = TOLERANCE * MEDIAN_SECONDS * np.exp(total * special.ndtri([0.99, 0.95]))
        p99, p95 = shape.slower(thresholds, total)
        for w in WEIGHTS:
            outcomes = {
                "understudy": ours._replace(canary=ours.seconds * RPS * w),
                "flagger p99": flagger(rng, runs, RPS, float(p99)),
                "argo p95": argo(rng, runs, RPS, w, float(p95)),
            }
            for policy, outcome in outcomes.items():
                yield _row(policy, spread, w, shape, outcome)


def _guard(rng: np.random.Generator, runs: int, shape: Shape, spread: float) -> Outcome:
    canary = Canary(shape.factor, shape.tail_share, shape.tail_factor)
    harm, safe = (first_at(log_e, LINE) for log_e in simulated(rng, runs, PAIRS, canary, spread))
    never = PAIRS + 1
    harm, safe = np.where(harm < 0, never, harm), np.where(safe < 0, never, safe)
    verdict = np.where(harm < safe, 1, np.where(safe < harm, 2, 0))
    seconds = PAIR_SECONDS * (WARM_PAIRS + np.minimum(np.minimum(harm, safe), PAIRS))
    return Outcome(verdict, np.zeros(runs), np.zeros(runs), seconds)


def _survival(seconds: Floats, spread: float) -> Floats:
    with np.errstate(divide="ignore"):
        chance: Floats = special.ndtr(-np.log(seconds / MEDIAN_SECONDS) / spread)
    return chance


def _row(policy: str, spread: float, w: float, shape: Shape, outcome: Outcome) -> dict[str, Any]:
    back, promoted = outcome.verdict == 1, outcome.verdict == 2

    def quantile(values: Floats, of: npt.NDArray[np.bool_], q: float) -> float | None:
        return float(np.quantile(values[of], q)) if of.any() else None

    return {
        "policy": policy,
        "spread": spread,
        "weight": w,
        "canary": shape.name,
        "runs": len(back),
        "rolled_back": float(back.mean()),
        "promoted": float(promoted.mean()),
        "undecided": float(1 - (back | promoted).mean()),
        "canary_median": quantile(outcome.canary, back, 0.5),
        "canary_p95": quantile(outcome.canary, back, 0.95),
        "seconds_median": quantile(outcome.seconds, back, 0.5),
        "promote_median": quantile(outcome.seconds, promoted, 0.5),
    }
