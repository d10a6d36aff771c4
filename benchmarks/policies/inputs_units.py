"""What hangs together: comparisons in groups, weighed by units, and an outage that many workers share."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.policies.aa import ALPHA
from benchmarks.policies.boundaries import limit_boundaries
from benchmarks.policies.input_rows import row
from control.judging.betting import harm_bets, safe_bets
from control.judging.evidence import label_test
from control.judging.restarts import within_first_tick

LINE = float(np.log(1 / ALPHA))
LIMIT = 0.02
COMPARISONS = 20_000
WEIGHT = 0.1
SLICES, TIMEOUT, SECOND = 60, 10, 10  # in slices of 0.1 s
ARRIVALS = 0.2  # requests per worker and slice


def clusters(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Comparisons that agree or differ in groups of m; `agreement: {min: 98%}`, by groups and by requests."""
    runs = min(runs, 400)
    for size in (3, 10, 30, 100):
        units = COMPARISONS // size
        for name, rate in (("good, 0.5%", 0.005), ("at the limit, 2%", LIMIT), ("bad, 4%", 0.04)):
            differing = rng.random((runs, units)) < rate
            case = f"groups of {size}, {name}"
            harm, proof = _bets(differing.astype(float))
            null = (rate <= LIMIT, rate >= LIMIT)
            yield from _both(case, "units", harm, proof, null)
            harmful, proven = limit_boundaries(LIMIT, LINE, COMPARISONS)
            counted = size * differing.cumsum(axis=1)
            looks = size * np.arange(1, units + 1) - 1
            over = counted >= harmful[looks], counted <= proven[looks]
            yield from _both(case, "requests (not used)", *over, null)
    for length in (1, 60):
        yield from _episodes(rng, runs, length)


def _episodes(rng: np.random.Generator, runs: int, length: int) -> Iterator[dict[str, Any]]:
    """Episodes of 10 s in which all differs, 2% of the time; four hours, one comparison a second."""
    seconds = 4 * 3600
    began = rng.random((runs, seconds)) < -np.log1p(-LIMIT) / 10
    sums = np.cumsum(np.pad(began, ((0, 0), (10, 0))), axis=1)
    inside = (sums[:, 10:] - sums[:, :-10]) > 0
    shares = inside.reshape(runs, -1, length).mean(axis=2)
    test = "units of 60 s" if length == 60 else "units of 1 s (too short: an assumption)"
    yield from _both("episodes of 10 s, at the limit", test, *_bets(shares), (length == 60, length == 60))


def _bets(shares: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether harm and proof are over the line after each unit."""
    over = []
    for bets in (harm_bets, safe_bets):
        values = np.unique(shares)
        factors = np.stack([bets([value], [1.0], LIMIT) for value in values], axis=1)
        log_e = None
        for bet in factors:
            grown = bet[np.searchsorted(values, shares)].cumsum(axis=1)
            log_e = grown if log_e is None else np.logaddexp(log_e, grown)
        assert log_e is not None
        log_e -= np.log(len(factors))
        over.append((within_first_tick(log_e) if bets is harm_bets else log_e) >= LINE)
    return over[0], over[1]


def _both(
    case: str,
    test: str,
    harm: npt.NDArray[np.bool_],
    proof: npt.NDArray[np.bool_],
    null: tuple[bool, bool],
) -> Iterator[dict[str, Any]]:
    """Harm and proof of one situation: the null hypothesis may hold of either."""
    unit = "groups" if case.startswith("groups") else "units"
    yield row(case, test, harm, None, null=null[0], unit=unit)
    yield row(case, test, None, proof, null=null[1], unit=unit)


def outages(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """All fails at both roles for six seconds: the canary at once, stable after a timeout of 1 s.

    Each worker reports once a second, at a moment of its own; `maxRatio: 1.5`, with latency and agreement.
    """
    line = LINE + np.log(2.25)
    for workers in (1, 4, 8, 16, 32, 64):
        size = min(runs, 400)
        arrived = rng.random((size, workers, SLICES)) < ARRIVALS
        at_canary = rng.random(arrived.shape) < WEIGHT
        phase = rng.integers(0, SECOND, (size, workers))
        counted = [
            np.pad((arrived & role).cumsum(axis=2), ((0, 0), (0, 0), (1, 0)))
            for role in (at_canary, ~at_canary)
        ]
        pending = arrived & ~at_canary
        harm: dict[str, list[npt.NDArray[np.bool_]]] = {
            "as far as all workers are": [],
            "each by itself (not used)": [],
        }
        for now in range(1, SLICES + TIMEOUT + SECOND):
            reported = now - (now + phase) % SECOND
            slices = np.arange(SLICES)
            waits = pending & (slices >= reported[..., None] - TIMEOUT) & (slices < reported[..., None])
            until = np.where(waits.any(axis=2), waits.argmax(axis=2), reported).clip(0)
            least = until.min(axis=1, keepdims=True)
            together = np.where(until <= least, until, least // SECOND * SECOND)
            for name, reach in zip(harm, (together, until), strict=True):
                place = reach.clip(0, SLICES)[..., None]
                c, s = (np.take_along_axis(each, place, axis=2).sum(axis=(1, 2)) for each in counted)
                found = within_first_tick(label_test(WEIGHT, c[:, None], s[:, None], 1.5).harm)
                harm[name].append(found >= line)
        for name, over in harm.items():
            yield row(
                f"an outage over {workers} workers",
                name,
                np.stack(over, axis=1),
                None,
                null=True,
                unit="slices",
            )
