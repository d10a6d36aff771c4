"""Other policies, replayed by their own semantics on the same traffic.

Sources: fluxcd/flagger at 15bd6ad (pkg/controller/scheduler.go, scheduler_metrics.go,
pkg/metrics/providers/prometheus.go); argoproj/argo-rollouts at 9f8d111 (analysis/analysis.go, the template
success-rate of docs/features/analysis.md).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BAKE_SECONDS = 1800.0
"""What policies without a rule for promotion wait before they promote."""


class Outcome(NamedTuple):
    """How runs ended; each of shape (runs,).

    Args:
        verdict: 1 rolled back, 2 promoted, 0 undecided.
        canary: canary requests until then.
        failed: those of them that failed.
        seconds: time until then.
    """

    verdict: npt.NDArray[np.int64]
    canary: Floats
    failed: Floats
    seconds: Floats


def flagger(rng: np.random.Generator, runs: int, rps: float, p_c: float, ticks: int = 120) -> Outcome:
    """One check a minute of the last minute's success rate: at least 99%, at most five failed checks.

    A tick first looks whether the failed checks have reached the threshold, and rolls back; else it checks.
    A failed check, and one without data, adds to the count, which nothing resets; a passed one adds 5% of
    weight. Promotion is the pass at 50%. Weights are Flagger's own whatever the cell's weight.
    """
    weight, checks = np.full(runs, 0.05), np.zeros(runs)
    totals = np.zeros((2, runs))
    verdict, ended = np.zeros(runs, dtype=np.int64), np.full(runs, ticks * 60.0)
    for tick in range(1, ticks + 1):
        live = verdict == 0
        requests = rng.poisson(rps * weight * 60) * live
        failed = rng.binomial(requests, p_c)
        totals += [requests, failed]
        back = live & (checks >= 5)
        with np.errstate(invalid="ignore"):
            passed = live & ~back & (requests > 0) & (1 - failed / requests >= 0.99)
        promoted = passed & (weight >= 0.5 - 1e-9)
        checks += live & ~back & ~passed
        weight = np.where(passed & ~promoted, weight + 0.05, weight)
        verdict[back], verdict[promoted] = 1, 2
        ended[back | promoted] = tick * 60.0
    return Outcome(verdict, totals[0], totals[1], ended)


def argo(rng: np.random.Generator, runs: int, rps: float, w: float, p_c: float) -> Outcome:
    """One measurement every five minutes: success of at least 95%; the fourth failure aborts.

    Before the canary's first request the series does not exist, which is an error, and the fifth in a row
    aborts; later a window without requests is NaN, which fails. Promoted at the end of the bake.
    """
    verdict, ended = np.zeros(runs, dtype=np.int64), np.full(runs, BAKE_SECONDS)
    totals, failures, errors = np.zeros((2, runs)), np.zeros(runs), np.zeros(runs)
    for tick in range(1, int(BAKE_SECONDS / 300) + 1):
        live = verdict == 0
        requests = rng.poisson(rps * w * 300, runs) * live
        failed = rng.binomial(requests, p_c)
        totals += [requests, failed]
        unseen = totals[0] == 0
        with np.errstate(invalid="ignore"):
            good = (requests > 0) & (1 - failed / requests >= 0.95)
        errors = np.where(unseen, errors + 1, 0)
        failures += live & ~unseen & ~good
        back = live & ((failures > 3) | (errors > 4))
        verdict[back], ended[back] = 1, tick * 300.0
    verdict[verdict == 0] = 2
    return Outcome(verdict, totals[0], totals[1], ended)


def consecutive(rng: np.random.Generator, runs: int, rps: float, w: float, p_c: float) -> Outcome:
    """Five failures of the canary in a row; promoted at the end of the bake.

    Up to the run of five, failures come in lengths of 0 to 4, each ended by a success: their number is
    geometric, and how many of each length there are is multinomial.
    """
    bake = rng.poisson(rps * w * BAKE_SECONDS, runs).astype(float)
    if p_c == 0:
        return Outcome(np.full(runs, 2), bake, np.zeros(runs), np.full(runs, BAKE_SECONDS))
    before = np.minimum(rng.geometric(max(p_c**5, 1e-15), runs) - 1, 10**12)
    lengths = (1 - p_c) * p_c ** np.arange(5)
    lengths = lengths / lengths.sum() if p_c < 1 else np.full(5, 0.2)
    counts = rng.multinomial(before, lengths)
    failed = counts @ np.arange(5) + 5.0
    canary = before + failed
    seconds = rng.gamma(canary) / (rps * w)
    back = seconds <= BAKE_SECONDS
    return Outcome(
        np.where(back, 1, 2),
        np.where(back, canary, bake),
        np.where(back, failed, rng.binomial(bake.astype(np.int64), p_c)),
        np.minimum(seconds, BAKE_SECONDS),
    )
