"""Slower canaries: the latency guard, looked at in slices of 5%, beside fixed thresholds.

Compute times are log-normal around 4 ms. Flagger's and Argo's thresholds get what nobody has: 1.25 times the
true p99 (Flagger) and p95 (Argo) of stable. A quantile is under its threshold when the share of answers over
it is small enough, so their replay for errors serves here too.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from benchmarks.policies.aa import Z_LINE, z_score
from benchmarks.policies.power import LINE
from benchmarks.policies.rivals import BAKE_SECONDS, Outcome, argo, flagger
from control.evidence import label_test
from control.latency_edges import LatencyEdges, latency_edges
from router.latency import BUCKETS, edge, shift_down, shift_up

Floats = npt.NDArray[np.float64]
EDGES = np.array([edge(index) for index in range(BUCKETS)])
MEDIAN_SECONDS = 0.004
TOLERANCE = 1.25
SPREADS = (0.1, 0.3, 0.8)
WEIGHTS = (0.01, 0.1, 0.5)
RPS = 100.0
SLICES = np.unique(np.ceil(np.geomspace(100, 8.64e6, 240)).astype(np.int64))  # up to a day
Survival = Callable[[Floats], Floats]


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
    """All cells."""
    cells = [(spread, w, shape) for spread in SPREADS for w in WEIGHTS for shape in SHAPES]
    for index, (spread, w, shape) in enumerate(cells):
        rng = np.random.default_rng([seed, 3, index])
        baseline = np.diff(-_survival(np.append(EDGES, np.inf), spread))
        edges = latency_edges(dict(enumerate(rng.multinomial(10_000, baseline / baseline.sum()).tolist())))
        assert edges is not None
        ours, peeking = _guard(rng, runs, edges, w, shape, spread)
        thresholds = TOLERANCE * MEDIAN_SECONDS * np.exp(spread * special.ndtri([0.99, 0.95]))
        p99, p95 = shape.slower(thresholds, spread)
        outcomes = {
            "understudy": ours,
            "flagger p99": flagger(rng, runs, RPS, float(p99)),
            "argo p95": argo(rng, runs, RPS, w, float(p95)),
            "peeking z-test p95": peeking,
        }
        for policy, outcome in outcomes.items():
            yield _row(policy, spread, w, shape, outcome)


def _guard(
    rng: np.random.Generator, runs: int, edges: LatencyEdges, w: float, shape: Shape, spread: float
) -> tuple[Outcome, Outcome]:
    harm_at = np.array(edges.harm)
    safe_at = np.array(edges.quantiles)
    canary_at = np.unique(np.concatenate([harm_at + shift_up(TOLERANCE), safe_at + shift_down(TOLERANCE)]))
    requests = np.diff(SLICES, prepend=0)
    to_canary = rng.binomial(requests, w, (runs, len(requests)))
    canary = _exceedances(rng, to_canary, shape.slower(EDGES[canary_at], spread))
    stable = _exceedances(rng, requests - to_canary, _survival(EDGES[harm_at], spread))
    harm, safe = np.full(to_canary.shape, -np.inf), np.full(to_canary.shape, np.inf)
    for column, at in enumerate(harm_at):
        c = canary[..., np.searchsorted(canary_at, at + shift_up(TOLERANCE))]
        found = label_test(w, c[..., None], stable[..., column, None], 1.0)
        harm = np.logaddexp(harm, found.harm - np.log(len(harm_at)))
        if at in safe_at:
            c = canary[..., np.searchsorted(canary_at, at + shift_down(TOLERANCE))]
            safe = np.minimum(safe, label_test(w, c[..., None], stable[..., column, None], 1.0).safe)
    n_c = to_canary.cumsum(axis=1)
    p95 = int(np.argmin(np.abs(_survival(EDGES[harm_at], spread) - 0.05)))
    z_canary = canary[..., np.searchsorted(canary_at, harm_at[p95] + shift_up(TOLERANCE))]
    z = z_score(z_canary, n_c, stable[..., p95], SLICES - n_c)
    in_bake = SLICES <= RPS * BAKE_SECONDS
    never = np.zeros_like(z, dtype=bool)
    return (
        _ends(harm >= LINE, safe >= LINE, n_c, 0),
        _ends((z >= Z_LINE)[:, in_bake], never[:, in_bake], n_c[:, in_bake], 2),
    )


def _exceedances(rng: np.random.Generator, answers: npt.NDArray[np.int64], slower: Floats) -> Floats:
    """Cumulative answers above each of the ascending edges; shape (runs, slices, edges)."""
    shares = -np.diff(np.concatenate([[1.0], slower, [0.0]]))
    between = rng.multinomial(answers, shares / shares.sum())
    above = between[..., ::-1].cumsum(axis=-1)[..., ::-1][..., 1:]
    return above.cumsum(axis=1).astype(float)


def _ends(
    harm: npt.NDArray[np.bool_], safe: npt.NDArray[np.bool_], n_c: npt.NDArray[np.int64], late: int
) -> Outcome:
    decided = harm | safe
    run = np.arange(len(harm))
    first = np.where(decided.any(axis=1), decided.argmax(axis=1), harm.shape[1] - 1)
    verdict = np.where(harm[run, first], 1, np.where(safe[run, first], 2, late))
    return Outcome(verdict, n_c[run, first].astype(float), np.zeros(len(run)), SLICES[first] / RPS)


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
