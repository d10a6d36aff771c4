"""A/A: how often a canary that is exactly as good as stable is ever called harmful, or better than tolerated.

Requests that succeed leave the label test where it is, so looking after every error is looking after every
request. A run is a list of segments; in each, the number of errors is binomial and each error is at the
canary with the probability that the weight gives it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.policies.boundaries import limit_boundaries
from control.judging.evidence import GRID, sample_ratio_test

Floats = npt.NDArray[np.float64]
WEIGHTS = (0.001, 0.01, 0.1, 0.5)
RATES = (0.0, 0.001, 0.01, 0.05, 0.1)
SCENARIOS = ("steady", "diurnal", "outages", "ramp", "stages")
ALPHA = 0.01
ERRORS_A_RUN = 1500
CHUNK = 1000
Z_LINE = 2.326347874  # one-sided 1%


class Segment(NamedTuple):
    """A stretch of traffic: requests (runs,), the weight, and the chance of an error (runs,)."""

    requests: npt.NDArray[np.int64]
    weight: float
    error_rate: Floats


def segments(rng: np.random.Generator, runs: int, scenario: str, w: float, p: float) -> list[Segment]:
    """The traffic of a scenario; the base rate p is the same in both arms at every moment."""
    total = int(ERRORS_A_RUN / p) if p else 20_000
    phase = rng.uniform(0, 2 * np.pi, runs)

    def part(index: int, of: int, weight: float, *, outage: bool = False, swing: bool = True) -> Segment:
        level = 10 ** (0.5 * np.sin(phase + 4 * np.pi * index / of)) if swing else np.ones(runs)
        if outage:
            return Segment(np.full(runs, max(total // (of * 20), 20)), weight, np.ones(runs))
        rate = np.minimum(p * level, 0.95)
        return Segment(np.maximum(total * level / of / 1.4, 1).astype(np.int64), weight, rate)

    if scenario == "steady":
        return [part(0, 1, w, swing=False)]
    if scenario == "diurnal":
        return [part(hour, 48, w) for hour in range(48)]
    if scenario == "outages":
        return [part(index, 30, w, outage=index % 10 == 5, swing=False) for index in range(30)]
    if scenario == "ramp":
        ramp = np.geomspace(w, 0.5, 12)
        return [part(index, 12, float(ramp[index]), outage=index % 4 == 3) for index in range(12)]
    return [part(index, 500, w if index % 2 else w / 4, outage=index % 100 == 50) for index in range(500)]


class LabelRuns:
    """The label test and its mirror image over many runs at once, looked at after every error."""

    def __init__(self, runs: int, line: float) -> None:
        self.line = line
        self.sums = np.zeros((2, len(GRID), runs))
        self.crossed = np.zeros((2, runs), dtype=bool)

    def add(self, labels: npt.NDArray[np.bool_], errors: npt.NDArray[np.int64], weight: float) -> None:
        """Add a segment: labels (runs, most errors), of which the first `errors` (runs,) are real."""
        at_canary = labels.cumsum(axis=1, dtype=np.int32).astype(float)
        number = np.arange(1.0, labels.shape[1] + 1)
        real = number <= errors[:, None]
        last = np.maximum(errors - 1, 0)[:, None]
        for side, grid in enumerate((GRID, 1 / GRID)):
            shift = np.log1p(weight * (grid - 1))
            greatest = np.full(labels.shape, -np.inf)
            for k, g in enumerate(grid):
                np.maximum(
                    greatest,
                    at_canary * np.log(g) + (self.sums[side, k][:, None] - number * shift[k]),
                    greatest,
                )
            # The mean of the grid is at most its greatest member, so only these can have crossed.
            run, look = np.nonzero(real & (greatest >= self.line))
            exact = (
                self.sums[side][:, run]
                + np.log(grid)[:, None] * at_canary[run, look]
                - shift[:, None] * number[look]
            )
            over = np.logaddexp.reduce(exact, axis=0) - np.log(len(grid)) >= self.line
            self.crossed[side, run[over]] = True
            ends = np.where(errors > 0, np.take_along_axis(at_canary, last, axis=1)[:, 0], 0.0)
            self.sums[side] += np.log(grid)[:, None] * ends - shift[:, None] * errors


class PeekingRuns:
    """A pooled two-proportion z-test, looked at after every error once the canary had 30 requests."""

    def __init__(self, runs: int) -> None:
        self.state = np.zeros((4, runs))  # canary: errors, requests; stable: errors, requests
        self.crossed = np.zeros(runs, dtype=bool)

    def add(
        self, rng: np.random.Generator, labels: npt.NDArray[np.bool_], errors: Floats, segment: Segment
    ) -> None:
        """Add a segment: the requests between its errors fall to the arms as the weight says."""
        runs, most = labels.shape
        real = np.arange(most) < errors[:, None]
        position = np.sort(np.where(real, rng.random((runs, most)), 2.0), axis=1)
        passed = np.minimum(position, 1.0) * (segment.requests - errors)[:, None]
        passed = np.floor(np.concatenate([passed, (segment.requests - errors)[:, None]], axis=1))
        between = rng.binomial(np.diff(passed, axis=1, prepend=0).astype(np.int64), segment.weight)
        at_canary, at_stable = (labels & real).cumsum(axis=1), (~labels & real).cumsum(axis=1)
        good = between.cumsum(axis=1)
        c, n_c = self.state[0][:, None] + at_canary, self.state[1][:, None] + at_canary + good[:, :-1]
        s = self.state[2][:, None] + at_stable
        n_s = self.state[3][:, None] + at_stable + passed[:, :-1] - good[:, :-1]
        self.crossed |= (real & (z_score(c, n_c, s, n_s) >= Z_LINE)).any(axis=1)
        canary, stable = (labels & real).sum(axis=1), (~labels & real).sum(axis=1)
        self.state += [canary, canary + good[:, -1], stable, stable + passed[:, -1] - good[:, -1]]


def z_score(c: Floats, n_c: Floats, s: Floats, n_s: Floats) -> Floats:
    """The pooled two-proportion z statistic, minus infinity below 30 canary requests."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (c + s) / (n_c + n_s)
        z = (c / n_c - s / n_s) / np.sqrt(pooled * (1 - pooled) * (1 / n_c + 1 / n_s))
    return np.where((n_c >= 30) & (n_s >= 30) & np.isfinite(z), z, -np.inf)


def label_cell(rng: np.random.Generator, runs: int, scenario: str, w: float, p: float) -> dict[str, Any]:
    """One cell of the grid; the z-test sees the first `CHUNK` of the runs, which is plenty to fail it."""
    crossed, peeked = [], []
    for chunk, start in enumerate(range(0, runs, CHUNK)):
        size = min(CHUNK, runs - start)
        ours, theirs = LabelRuns(size, np.log(1 / ALPHA)), PeekingRuns(size)
        for segment in segments(rng, size, scenario, w, p):
            errors = rng.binomial(segment.requests, segment.error_rate)
            labels = rng.random((size, max(int(errors.max()), 1)), dtype=np.float32) < segment.weight
            ours.add(labels, errors, segment.weight)
            if chunk == 0:
                theirs.add(rng, labels, errors, segment)
        crossed.append(ours.crossed)
        if chunk == 0:
            peeked.append(theirs.crossed)
    harm, safe = np.concatenate(crossed, axis=1).mean(axis=1)
    return _row("label test", scenario, w, p, runs, harm, safe, float(np.mean(peeked)))


def limit_cell(rng: np.random.Generator, runs: int, rate: float, trials: int = 20_000) -> dict[str, Any]:
    """A stream whose rate of events is exactly the limit."""
    harmful, proven = limit_boundaries(rate, float(np.log(1 / ALPHA)), trials)
    crossed = []
    for start in range(0, runs, CHUNK):
        events = (rng.random((min(CHUNK, runs - start), trials), dtype=np.float32) < rate).cumsum(axis=1)
        crossed.append([(events >= harmful).any(axis=1), (events <= proven).any(axis=1)])
    harm, safe = np.concatenate(crossed, axis=1).mean(axis=1)
    return _row("limit test", "rate at the limit", None, rate, runs, harm, safe, None)


def sample_ratio_cell(rng: np.random.Generator, runs: int, w: float, requests: int = 2000) -> dict[str, Any]:
    """Draws that fall exactly as the weight says."""
    crossed, n = [], np.arange(1, requests + 1)
    for start in range(0, runs, CHUNK):
        c = (rng.random((min(CHUNK, runs - start), requests), dtype=np.float32) < w).cumsum(axis=1)
        crossed.append((sample_ratio_test(w, c, n - c) >= np.log(1 / ALPHA)).any(axis=1))
    return _row("sample ratio", "one stage", w, None, runs, float(np.concatenate(crossed).mean()), None, None)


def rows(seed: int, runs: int) -> Iterator[dict[str, Any]]:
    """All cells, each with random numbers of its own, so that a cell does not depend on its neighbours."""
    cells: list[tuple[Any, ...]] = [
        (label_cell, scenario, w, p)
        for scenario in SCENARIOS
        for w in WEIGHTS
        for p in RATES
        if p or scenario not in ("steady", "diurnal")
    ]
    cells += [(limit_cell, rate) for rate in (0.001, 0.01, 0.02, 0.1)]
    cells += [(sample_ratio_cell, w) for w in WEIGHTS]
    for index, (cell, *arguments) in enumerate(cells):
        yield cell(np.random.default_rng([seed, index]), runs, *arguments)


def tolerated_of(runs: int) -> float:
    """The share of runs that may cross a line of alpha: alpha and three standard errors."""
    return ALPHA + 3 * float(np.sqrt(ALPHA * (1 - ALPHA) / runs))


def _row(
    test: str,
    scenario: str,
    w: float | None,
    p: float | None,
    runs: int,
    harm: float,
    safe: float | None,
    peeking: float | None,
) -> dict[str, Any]:
    tolerated = tolerated_of(runs)
    holds = harm <= tolerated and (safe is None or safe <= tolerated)
    return {
        "test": test,
        "scenario": scenario,
        "weight": w,
        "rate": p,
        "runs": runs,
        "alpha": ALPHA,
        "harm_crossed": harm,
        "safe_crossed": safe,
        "tolerated": tolerated,
        "holds": holds,
        "peeking_z_crossed": peeking,
        "peeking_runs": None if peeking is None else min(runs, CHUNK),
    }
