"""What evidence is fed: each assumption broken as traffic breaks it, with the test that is used and another.

A cell is a situation in which the null hypothesis holds (`null`), and then a share of runs may ever cross; or
one in which it does not, and then the median says how soon a verdict comes. Every event or span is a look.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.policies import pairs
from benchmarks.policies.aa import ALPHA
from benchmarks.policies.boundaries import limit_boundaries
from benchmarks.policies.input_rows import row as _row
from benchmarks.policies.inputs_clients import clients
from benchmarks.policies.inputs_sticky import sticky
from benchmarks.policies.inputs_units import clusters, outages
from control.judging.evidence import GRID, bets_test, label_ratios, label_test, span_bets
from control.judging.restarts import kept_after

Floats = npt.NDArray[np.float64]
LINE = float(np.log(1 / ALPHA))
WEIGHT = 0.1
SPANS = 720  # an hour of spans of 5 s


def rows(seed: int, runs: int) -> Iterator[dict[str, Any]]:
    """All cells."""
    cells = (
        _mirrored_failures,
        _proof_of_three,
        _leaving,
        _late_change,
        sticky,
        _pairs,
        _far,
        clusters,
        outages,
        clients,
    )
    for index, cell in enumerate(cells):
        yield from cell(np.random.default_rng([seed, 5, index]), runs)


def _mirrored_failures(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """The candidate fails half of what is mirrored to it; what it answers agrees. `min: 95%`."""
    most = 2000
    harmful, proven = limit_boundaries(0.05, LINE, most)
    failed = rng.random((runs, most)) < 0.5
    counted = failed.cumsum(axis=1)
    yield _row("half of the mirrored requests fail", "failures are differences", counted >= harmful, None)
    left_out = np.zeros((1, most), dtype=np.int64)
    yield _row("half of the mirrored requests fail", "failures left out", None, left_out <= proven)


def _proof_of_three(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Three guards of which one is at its tolerance of 2%, the others never differ: is it promoted?"""
    most = 5000
    differing = (rng.random((runs, most), dtype=np.float32) < 0.02).cumsum(axis=1)
    good = (rng.random((runs, most), dtype=np.float32) < 0.002).cumsum(axis=1)
    for name, line in (("1/alpha", LINE), ("m/alpha", LINE + np.log(3))):
        _, proven = limit_boundaries(0.02, float(line), most)
        yield _row(
            "one guard of three at its tolerance", f"proof at {name}", None, differing <= proven, null=True
        )
        yield _row("all three good", f"proof at {name}", None, good <= proven)


def _leaving(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Clients that leave: by themselves, in pauses of either process, and because the canary hangs."""
    for name, pauses, hanging in (
        ("clients leave by themselves, 0.5%", 0.0, 0.0),
        ("and in pauses of 0.5 s a minute", 1 / 12, 0.0),
        ("the canary hangs", 1 / 12, 1.0),
        ("a tenth of the canary's requests hang", 1 / 12, 0.1),
    ):
        shape = (runs, SPANS)
        canary, stable = rng.poisson(100 * WEIGHT, shape), rng.poisson(100 * (1 - WEIGHT), shape)
        left = []
        for requests, hung in ((canary, hanging), (stable, 0.0)):
            caught = rng.binomial(requests, 0.1) * (rng.random(shape) < pauses)
            left.append(np.maximum(rng.binomial(requests, max(0.005, hung)), caught))
        null = not hanging
        sums = np.cumsum(span_bets(canary, left[0], stable, left[1]), axis=2)
        yield _row(name, "span test", bets_test(sums) >= LINE, None, null=null, unit="spans of 5 s")
        c, s = (each.cumsum(axis=1)[..., None] for each in left)
        harm = label_test(WEIGHT, c, s, 1.0).harm
        yield _row(name, "label test (not used)", harm >= LINE, None, null=null, unit="spans of 5 s")


def _late_change(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """A canary that is as good as stable for a while, and then is not; 100 requests/s, both fail 0.5%.

    A tick is a minute. Good service is drawn minute by minute; what comes then, request by request.
    """
    for name, minutes, rate in (
        ("at its tolerance for a week", 7 * 1440, 0.0075),
        ("dead from the start", 0, 1.0),
        ("dead after an hour", 60, 1.0),
        ("dead after a day", 1440, 1.0),
        ("fails 5% after a day", 1440, 0.05),
    ):
        null, size = rate == 0.0075, min(runs, 1000 if rate == 0.0075 else 200)
        tests = np.full((len(GRID), size), -np.inf)
        plain = np.zeros((len(GRID), size))
        over = np.zeros((size, 1), dtype=bool)
        for tick in range(minutes):
            canary = rng.binomial(600, rate if null else 0.005, (size, 1))
            brought = label_ratios(WEIGHT, canary, rng.binomial(5400, 0.005, (size, 1)), 1.5)
            tests = np.logaddexp(tests, np.log(kept_after(tick) - kept_after(tick + 1))) + brought
            plain += brought
            over[:, 0] |= np.logaddexp(bets_test(tests), np.log(kept_after(tick + 1))) >= LINE
        if null:
            yield _row(name, "restarts", over, None, null=True, unit="canary requests")
            continue
        canary = (rng.random((size, 5000)) < rate).cumsum(axis=1)[..., None]
        stable = rng.binomial(9, 0.005, (size, 5000)).cumsum(axis=1)[..., None]
        brought = label_ratios(WEIGHT, canary, stable, 1.5)
        kept = kept_after(minutes + 1)
        began = np.logaddexp(tests, np.log(kept_after(minutes) - kept))[..., None]
        mixed = np.logaddexp(bets_test(began + brought), np.log(kept))
        yield _row(name, "restarts", mixed >= LINE, None, unit="canary requests")
        without = bets_test(plain[..., None] + brought) >= LINE
        yield _row(name, "without (not used)", without, None, unit="canary requests")


def _pairs(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Pairs of compute times, ten a second for five minutes; a look after each ten of them."""
    for case, harm, safe, harm_is_false, proof_is_false in pairs.cells(rng, min(runs, 400)):
        over = (harm >= LINE, "harm"), (safe >= LINE, "proof")
        for (crossed, way), false in zip(over, (harm_is_false, proof_is_false), strict=True):
            sides = {"harm": None, "proof": None, way: crossed}
            yield _row(case, f"pairs: {way}", **sides, null=false, unit="tens of pairs")


def _far(rng: np.random.Generator, runs: int) -> Iterator[dict[str, Any]]:
    """Behind URLs, at stable's p90: stable tells a fifth of its times; half an hour with swings of load."""
    spans = 360
    load = 100 * (1 + 0.9 * np.sin(np.arange(spans) / 20))
    for name, slower in (("equal", 0.1), ("twice as many", 0.2), ("three times as many", 0.3)):
        shape = (min(runs, 400), spans)
        canary = rng.poisson(WEIGHT * load, shape)
        stable = rng.poisson((1 - WEIGHT) * load * 0.2, shape)
        k_c, k_s = rng.binomial(canary, slower), rng.binomial(stable, 0.1)
        case = f"a fifth of stable's times told, {name} above its p90"
        sums = np.cumsum(span_bets(canary, k_c, stable, k_s), axis=2)
        null = slower == 0.1
        yield _row(case, "span by span", bets_test(sums) >= LINE, None, null=null, unit="spans of 5 s")
        c, s = k_c.cumsum(axis=1)[..., None], k_s.cumsum(axis=1)[..., None]
        harm = label_test(WEIGHT, c, s, 1.0).harm
        yield _row(case, "label test (not used)", harm >= LINE, None, null=null, unit="spans of 5 s")
