"""Comparisons until a verdict on agreement, looked at after each; and a z-test that peeks at the same ones.

Flagger and Argo Rollouts have nothing to stand beside: neither sees answers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.policies.aa import Z_LINE
from benchmarks.policies.boundaries import limit_boundaries

TAU = 0.02  # min: 98%
MOST = 50_000
RATES = (0.0, 0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 1.0)
LINES = {"alpha 1%, one guard": 100.0, "alpha 1%, three guards": 300.0}
CHUNK = 100


def rows(seed: int, runs: int) -> Iterator[dict[str, Any]]:
    """All cells."""
    n = np.arange(1, MOST + 1)
    z_line = TAU * n + Z_LINE * np.sqrt(TAU * (1 - TAU) * n)
    policies = {name: limit_boundaries(TAU, float(np.log(line)), MOST) for name, line in LINES.items()}
    policies["peeking z-test"] = (
        np.where(n >= 30, np.ceil(z_line), MOST + 1).astype(np.int64),
        np.full(MOST, -1),
    )
    for index, rate in enumerate(RATES):
        for policy, (harmful, proven) in policies.items():
            rng = np.random.default_rng([seed, 4, index])
            ends = np.concatenate(
                [
                    _ends(rng, min(CHUNK, runs - start), rate, harmful, proven)
                    for start in range(0, runs, CHUNK)
                ],
                axis=1,
            )
            yield _row(policy, rate, *ends)


def _ends(
    rng: np.random.Generator, runs: int, rate: float, harmful: np.ndarray, proven: np.ndarray
) -> np.ndarray:
    """Verdict (1 harmful, 2 proven, 0 undecided) and comparisons until then, (2, runs)."""
    differing = (rng.random((runs, MOST), dtype=np.float32) < rate).cumsum(axis=1, dtype=np.int32)
    harm, safe = differing >= harmful, differing <= proven
    decided = harm | safe
    first = np.where(decided.any(axis=1), decided.argmax(axis=1), MOST - 1)
    run = np.arange(runs)
    return np.stack([np.where(harm[run, first], 1, np.where(safe[run, first], 2, 0)), first + 1])


def _row(policy: str, rate: float, verdict: np.ndarray, comparisons: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {"policy": policy, "min": 1 - TAU, "disagreement": rate, "runs": len(verdict)}
    for code, name in ((1, "harmful"), (2, "proven")):
        of = verdict == code
        row[name] = float(of.mean())
        row[f"{name}_median"] = float(np.median(comparisons[of])) if of.any() else None
        row[f"{name}_p95"] = float(np.quantile(comparisons[of], 0.95)) if of.any() else None
    row["undecided"] = float((verdict == 0).mean())
    return row
