"""How soon a bad canary is taken off and a good one promoted, beside other policies on the same traffic.

Only errors move the label test, so a run is a sequence of errors: how many good requests come before each is
geometric, how many of those are the canary's is binomial, and at which arm it is is a draw. Verdicts are
found in requests; time is requests over the rate.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.policies.aa import Z_LINE, z_score
from benchmarks.policies.rivals import BAKE_SECONDS, Outcome, argo, consecutive, flagger
from control.judging.evidence import label_test
from control.judging.guards.simulation import limit_evidence
from control.judging.restarts import within_first_tick

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
RATES_PER_SECOND = (0.1, 1.0, 10.0, 100.0, 1000.0)
WEIGHTS = (0.01, 0.05, 0.1, 0.5)
CANARY_RATES = {
    0.0: (0.0, 0.002, 0.01, 0.02, 0.05, 0.2, 1.0),
    0.005: (0.005, 0.00625, 0.0075, 0.01, 0.025, 0.05, 0.2, 1.0),
    0.05: (0.05, 0.0625, 0.075, 0.1, 0.2, 1.0),
}
MAX_RATIO = 1.5
LIMITS = {0.0: 0.01, 0.005: 0.01, 0.05: 0.1}  # `max`, set with stable's own errors in mind
LINE = float(np.log(2.25 / 0.01))  # of errors beside latency, what clients see and agreement, alpha 1%
PROOF_LINE = float(np.log(1 / 0.01))
HORIZON_SECONDS = 86_400.0
MOST_ERRORS = 12_000
BLOCK = 40
NEVER = 10**9  # good requests before an error when nothing fails: beyond every horizon


class Counts(NamedTuple):
    """Cumulative: canary errors and requests, stable errors and requests; each (runs, looks)."""

    c: Floats
    n_c: Floats
    s: Floats
    n_s: Floats


Rule = Callable[[Counts], tuple[Flags, Flags]]  # where it is harmful, where it is proven


def ours(w: float, max_ratio: float, limit: float | None, line: float) -> Rule:
    """The errors guard, as the judge computes it."""

    def rule(at: Counts) -> tuple[Flags, Flags]:
        evidence = label_test(w, at.c[..., None], at.s[..., None], max_ratio)
        if limit is not None:
            evidence = evidence.either(limit_evidence(at.c, at.n_c, limit))
        harm = evidence.harm
        if limit is not None:  # as in a rollout: within its first tick, and an eighth of the stake on leaving
            harm = np.logaddexp(within_first_tick(harm) + np.log(7 / 8), np.log(1 / 8))
        return harm >= line, evidence.safe >= PROOF_LINE

    return rule


def peeking(at: Counts) -> tuple[Flags, Flags]:
    """A one-sided z-test at 1%, looked at after every request; it has no rule for promotion."""
    return z_score(*at) >= Z_LINE, np.zeros(at.c.shape, dtype=bool)


def simulate(
    rng: np.random.Generator, runs: int, w: float, p_s: float, p_c: float, rule: Rule
) -> tuple[npt.NDArray[np.int64], Counts]:
    """Run the rule over the errors until it decides or `MOST_ERRORS` have come.

    Returns:
        The verdict of each run (1 harmful, 2 proven, 0 undecided) and the counts there, each (runs,).
    """
    verdict, ends, state = np.zeros(runs, dtype=np.int64), np.zeros((4, runs)), np.zeros((4, runs))
    live = np.arange(runs)
    for _ in range(MOST_ERRORS // BLOCK):
        before, after = _block(rng, state[:, live], w, p_s, p_c)
        # Looks alternate: just before an error, when the most good requests have come, and just after it.
        looks = np.stack([before, after], axis=3).reshape(4, len(live), 2 * BLOCK)
        harm, safe = rule(Counts(*looks))
        decided = harm | safe
        first = decided.argmax(axis=1)
        found = np.flatnonzero(decided.any(axis=1))
        here = looks[:, found, first[found]]
        previous = np.where(
            first[found] > 0, looks[:, found, np.maximum(first[found] - 1, 0)], state[:, live[found]]
        )
        verdict[live[found]] = np.where(harm[found, first[found]], 1, 2)
        ends[:, live[found]] = _exactly(rule, previous, here, within=first[found] % 2 == 0)
        state[:, live] = after[:, :, -1]
        live = live[~decided.any(axis=1)]
        if not len(live):
            break
    ends[:, live] = state[:, live]
    return verdict, Counts(*ends)


def _block(
    rng: np.random.Generator, state: Floats, w: float, p_s: float, p_c: float
) -> tuple[Floats, Floats]:
    """The counts before and after each of the next `BLOCK` errors; both (4, runs, BLOCK)."""
    shape = (state.shape[1], BLOCK)
    p_error = w * p_c + (1 - w) * p_s
    good = rng.geometric(p_error, shape) - 1 if p_error else np.full(shape, NEVER)
    share_good = w * (1 - p_c) / (1 - p_error) if p_error < 1 else 0.0
    canary_good = rng.binomial(good, share_good)
    at_canary = rng.random(shape) < (w * p_c / p_error if p_error else 0.0)
    goods = np.stack([np.zeros(shape), canary_good, np.zeros(shape), good - canary_good])
    errors = np.stack([at_canary, at_canary, ~at_canary, ~at_canary]).astype(float)
    after = state[:, :, None] + (goods + errors).cumsum(axis=2)
    return after - errors, after


def _exactly(rule: Rule, low: Floats, high: Floats, within: Flags) -> Floats:
    """Where between two looks the rule first decides; only good requests came between, where `within`."""
    start, stop = np.zeros(low.shape[1]), np.ones(low.shape[1])
    for _ in range(30):
        middle = (start + stop) / 2
        harm, safe = rule(Counts(*(low + (high - low) * middle)))
        decided = harm | safe
        start, stop = np.where(decided, start, middle), np.where(decided, middle, stop)
    return np.where(within, np.ceil(low + (high - low) * stop), high)


def at_rate(
    rng: np.random.Generator,
    verdict: npt.NDArray[np.int64],
    ends: Counts,
    rps: float,
    w: float,
    p_c: float,
    horizon: float,
    late: int,
) -> Outcome:
    """The same runs in time: what was not decided by the horizon ends there with the verdict `late`."""
    seconds = (ends.n_c + ends.n_s) / rps
    over = (seconds > horizon) | (verdict == 0)
    canary = np.where(over, rng.poisson(rps * w * horizon, len(verdict)), ends.n_c)
    failed = np.where(over, rng.binomial(canary.astype(np.int64), p_c), ends.c)
    return Outcome(np.where(over, late, verdict), canary, failed, np.where(over, horizon, seconds))


def rows(seed: int, runs: int) -> Iterator[dict[str, Any]]:
    """All cells; first the label test alone, to be held against the figures of its specification."""
    for index, (p_s, p_c) in enumerate(
        ((0.005, 1.0), (0.005, 0.2), (0.005, 0.05), (0.005, 0.01), (0.0, 0.01))
    ):
        rng = np.random.default_rng([seed, 1, index])
        found = simulate(rng, runs, 0.1, p_s, p_c, ours(0.1, 1.0, None, float(np.log(100))))
        yield _row("label test alone", 1000.0, 0.1, p_s, p_c, at_rate(rng, *found, 1000.0, 0.1, p_c, 1e9, 0))
    cells = [(w, p_s, p_c) for w in WEIGHTS for p_s, rates in CANARY_RATES.items() for p_c in rates]
    for index, (w, p_s, p_c) in enumerate(cells):
        rng = np.random.default_rng([seed, 2, index])
        guard = simulate(rng, runs, w, p_s, p_c, ours(w, MAX_RATIO, LIMITS[p_s], LINE))
        z = simulate(rng, runs, w, p_s, p_c, peeking)
        for rps in RATES_PER_SECOND:
            outcomes = {
                "understudy": at_rate(rng, *guard, rps, w, p_c, HORIZON_SECONDS, 0),
                "flagger": flagger(rng, runs, rps, p_c),
                "argo": argo(rng, runs, rps, w, p_c),
                "five in a row": consecutive(rng, runs, rps, w, p_c),
                "peeking z-test": at_rate(rng, *z, rps, w, p_c, BAKE_SECONDS, 2),
            }
            for policy, outcome in outcomes.items():
                yield _row(policy, rps, w, p_s, p_c, outcome)


def _row(policy: str, rps: float, w: float, p_s: float, p_c: float, outcome: Outcome) -> dict[str, Any]:
    back, promoted = outcome.verdict == 1, outcome.verdict == 2

    def quantiles(values: Floats, of: Flags) -> list[float | None]:
        return [float(np.quantile(values[of], q)) if of.any() else None for q in (0.5, 0.95)]

    canary, failed = quantiles(outcome.canary, back), quantiles(outcome.failed, back)
    until, promote = quantiles(outcome.seconds, back), quantiles(outcome.seconds, promoted)
    bad = p_c > MAX_RATIO * p_s and p_c > LIMITS[p_s]
    good = p_c <= p_s
    return {
        "policy": policy,
        "rps": rps,
        "weight": w,
        "stable_errors": p_s,
        "canary_errors": p_c,
        "truth": "bad" if bad else "good" if good else "between",
        "runs": len(back),
        "rolled_back": back.mean(),
        "promoted": promoted.mean(),
        "undecided": 1 - (back | promoted).mean(),
        "canary_median": canary[0],
        "canary_p95": canary[1],
        "failed_median": failed[0],
        "failed_p95": failed[1],
        "seconds_median": until[0],
        "seconds_p95": until[1],
        "promote_median": promote[0],
        "promote_p95": promote[1],
    }
