"""Conversions of answered requests, and when they enter (`conversions`, `maturity`)."""

from collections.abc import Iterator

import numpy as np

from benchmarks.outcomes.cells import (
    LINE,
    QUESTIONS,
    Cell,
    Floats,
    by_chunks,
    cell,
    first_look,
    mean_over_bets,
)
from control.judging.evidence import GRID as ERRORS_GRID
from control.judging.evidence import bets_test, label_ratios
from control.judging.outcomes.conversions import GRID, conversion_ratios

CONVERSIONS = 40_000
WEIGHTS = (0.01, 0.1, 0.5)
MAX_DROP = 0.05

MINUTES = 240
ARRIVALS = 600  # requests a minute
CONVERTING = 0.05
DELAY = 10.0  # minutes, the mean at stable; twice that at the canary
MATURITY = 120


def cells(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """All of them."""
    for weight in WEIGHTS:
        case = f"at the tolerance, {100 * MAX_DROP:g}% fewer, w = {100 * weight:g}%"
        found = by_chunks(runs, lambda size, w=weight: _labels(rng, size, w, 1.0 - MAX_DROP, GRID))
        yield cell(found["harm"], case, "harm", "conversions", null=True)
        yield cell(found["safe"], case, "no worse", "conversions", null=True)
    few = max(runs // 4, 1)
    for weight, name, grid in (
        (0.5, "", GRID),
        (0.5, ", alternatives of errors", ERRORS_GRID),
        (0.1, "", GRID),
    ):
        for ratio, question, case in (
            (1.0, "safe", "equal"),
            (0.8, "harm", "20% fewer"),
            (0.5, "harm", "half"),
        ):
            found = by_chunks(few, lambda size, w=weight, r=ratio, g=grid: _labels(rng, size, w, r, g))
            test = f"{QUESTIONS[question]}{name}"
            yield cell(
                found[question], f"{case}, w = {100 * weight:g}%", test, "conversions", used=grid is GRID
            )
    yield from _maturity(rng, runs)


def _labels(rng: np.random.Generator, runs: int, w: float, ratio: float, grid: Floats) -> dict[str, Floats]:
    """After every conversion."""
    at_canary = rng.random((runs, CONVERSIONS), dtype=np.float32) < w * ratio / (w * ratio + 1.0 - w)
    found = {}
    for side, alternatives in (("harm", 1.0 / grid), ("safe", grid)):
        won = [label_ratios(w, [c], [1 - c], 1.0 - MAX_DROP, alternatives) for c in (0, 1)]
        steps = (np.where(at_canary, one, none) for none, one in zip(*won, strict=True))
        found[side] = first_look(mean_over_bets([*steps]) >= LINE)
    return found


def _maturity(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """As many convert, at the canary twice as late; `maxDrop: 0`, w = 10%, a look a minute for four hours."""
    weight = 0.1
    drawn = [rng.poisson(ARRIVALS * CONVERTING * share, (runs, MINUTES)) for share in (weight, 1.0 - weight)]
    told = []
    for converted, delay in zip(drawn, (2.0 * DELAY, DELAY), strict=True):
        late = np.diff(-np.exp(-np.arange(MINUTES + 1) / delay))  # by minutes after arrival
        counts = np.zeros_like(converted)
        for minute in range(MINUTES):
            rest = converted[:, minute].copy()
            left = 1.0
            for after in range(MINUTES - minute):
                now = rng.binomial(rest, np.clip(late[after] / left, 0.0, 1.0))
                counts[:, minute + after] += now
                rest -= now
                left = max(left - late[after], 1e-12)
        told.append(counts)
    mature = [_in_time(rng, each, delay) for each, delay in zip(drawn, (2.0 * DELAY, DELAY), strict=True)]
    case = "as many convert, twice as late, w = 10%"
    for test, (canary, stable), used in (
        (f"harm, {MATURITY} minutes after arrival", mature, True),
        ("harm, as they are told", told, False),
    ):
        c, s = (each.cumsum(axis=1)[..., None] for each in (canary, stable))
        over = bets_test(conversion_ratios(weight, c, s, 0.0)) >= LINE
        specified = ".3%" if used else "19%"
        yield cell(first_look(over), case, test, "minutes", null=True, specified=specified, used=used)


def _in_time(rng: np.random.Generator, converted: Floats, delay: float) -> Floats:
    """Those told before their request was mature, by minute of arrival; they enter `MATURITY` later."""
    known: Floats = rng.binomial(converted.astype(int), 1.0 - np.exp(-MATURITY / delay))
    return known
