"""Several candidates (`candidates`, `best`), and whether draws fell as weights say (`draws`)."""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np

from benchmarks.outcomes.cells import ALPHA, LINE, Bools, Cell, Floats, by_chunks, cell, first_look
from control.judging.evidence import GRID, mismatch
from control.judging.outcomes.best import better_than
from control.judging.outcomes.candidates import best_arm, better_than_each, pair_test, take_off_line
from control.judging.outcomes.draws import draws_test
from control.judging.outcomes.mean_bets import MeanBets
from control.judging.outcomes.paired_labels import PairedLabels
from control.judging.outcomes.side_sums import SideSums, matured_sides
from router.rollout.values import Outcome

ARMS, RATE = 4, 0.05
LOOKS, REQUESTS = 200, 200_000  # of best arms
UNITS = 20_000
RAMP = (0.01, 0.05, 0.1, 0.25, 0.5)


def cells(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """All of them."""
    yield from _best(rng, max(runs // 2, 1))
    yield from _taken_off(rng, max(runs // 2, 1))
    yield from _draws(rng, runs)
    later = rng.spawn(1)[0]  # so that those before it are as they were
    yield from _best_by_labels(later, max(runs // 2, 1))
    yield from _best_by_amounts(later, max(runs // 2, 1))


def _best(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Stable and three candidates of equal weight, 5% convert; the best by 0, 10% or 20%."""
    for better in (0.0, 0.1, 0.2):
        rates = RATE * np.array([1.0, 1.0, 1.0, 1.0 + better])
        events = rng.poisson(rates * REQUESTS / LOOKS / ARMS, (runs, LOOKS, ARMS)).cumsum(axis=1)
        log_e = better_than_each(np.full((1, ARMS), 1.0 / ARMS), events[..., None, :])
        case = "four arms, all equal" if not better else f"four arms, one converts {100 * better:g}% more"
        yield from _named(log_e, case, REQUESTS, "requests", better)


def _best_by_labels(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Stable and three candidates, each right about 90% of the same labels, the best of 0, 1 or 2% more."""
    labels, patterns = 20_000, np.array(list(product((0, 1), repeat=ARMS)))
    truth = Outcome("truth", "label", 60.0, output="label")
    for more in (0.0, 0.01, 0.02):
        right = np.array([0.9, 0.9, 0.9, 0.9 + more])
        chances = np.where(patterns == 1, right, 1.0 - right).prod(axis=1)
        seen = rng.multinomial(labels // LOOKS, chances, (runs, LOOKS)).cumsum(axis=1)
        pairs = {}
        for first, second in combinations(range(ARMS), 2):
            gains = patterns[:, second] - patterns[:, first]
            pairs[first, second] = PairedLabels(*(seen @ (gains == gain) for gain in (1, 0, -1)))
        nothing = np.zeros((runs, LOOKS, ARMS))
        log_e = better_than(truth, ARMS, [SideSums(np.ones(ARMS), nothing, nothing, labels=pairs)])
        case = f"four arms, by labels, one is right about {100 * more:g} in 100 more"
        yield from _named(log_e, case if more else "four arms, by labels, all equal", labels, "labels", more)


def _best_by_amounts(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Stable and three candidates, 5% of requests bring 20, 60 or 100 of at most 100; the best oftener."""
    revenue, weights = Outcome("revenue", "number", 60.0, range=(0.0, 100.0)), np.full(ARMS, 1.0 / ARMS)
    kinds = list(product(range(ARMS), (20.0, 60.0, 100.0)))
    won = [matured_sides(revenue, weights, [value], [side]).bets for side, value in kinds]
    for more in (0.0, 0.2):
        rates = RATE * np.array([1.0, 1.0, 1.0, 1.0 + more]).repeat(3) / 3.0
        seen = rng.poisson(rates * REQUESTS / LOOKS / ARMS, (runs, LOOKS, len(kinds))).cumsum(axis=1)
        bets = {}
        for two in combinations(range(ARMS), 2):
            each = [of.get(two, MeanBets()) for of in won]
            harm, safe = (np.array([getattr(one, side) for one in each]) for side in ("harm", "safe"))
            of_all = [np.einsum("rlk,kb->brl", seen, side) for side in (harm, safe)]
            bets[two] = MeanBets(harm=of_all[0], safe=of_all[1])
        nothing = np.zeros((runs, LOOKS, ARMS))
        log_e = better_than(revenue, ARMS, [SideSums(weights, nothing, nothing, bets)])
        case = f"four arms, by amounts, one brings {100 * more:g}% more"
        yield from _named(
            log_e, case if more else "four arms, by amounts, all equal", REQUESTS, "requests", more
        )


def _named(log_e: Floats, case: str, most: int, unit: str, more: float) -> Iterator[Cell]:
    """How often the last arm is named, which is better where `more` is above 0, and how often another one."""
    named, each = best_arm(log_e, ALPHA), most // LOOKS
    if more:
        yield cell(first_look(named == ARMS - 1, each), case, "the best is named", unit)
    wrong = (named >= 0) & ((named != ARMS - 1) | (more == 0.0))
    test = "another is named" if more else "one is named"
    yield cell(first_look(wrong, each), case, test, unit, null=True)


def _taken_off(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Errors of three candidates at 10% each, stable at 70%, `maxRatio: 1.5`; 5% each after half of them."""
    rows = np.array([[0.7, 0.1, 0.1, 0.1], [0.85, 0.05, 0.05, 0.05]])
    line = take_off_line(3, 1, ALPHA)
    for case, rates, null in (
        ("three candidates at their tolerance of 1.5", (1.0, 1.5, 1.5, 1.5), True),
        ("one of three candidates fails 5 times as often", (1.0, 5.0, 1.0, 1.0), False),
    ):
        errors = 2_000
        labels = [rng.choice(ARMS, (runs, errors // 2), p=row * rates / (row @ rates)) for row in rows]
        counts = np.zeros((runs, errors, 2, ARMS))
        for row, drawn in enumerate(labels):
            seen = (drawn[..., None] == np.arange(ARMS)).cumsum(axis=1)
            start = row * errors // 2
            counts[:, start : start + errors // 2, row] = seen
            counts[:, start + errors // 2 :, row] = seen[:, -1:]
        over = np.stack([pair_test(rows, counts, arm, 0, 1.5, GRID).harm >= line for arm in (1, 2, 3)])
        off = over.any(axis=0) if null else over[0]
        yield cell(
            first_look(off), case, "one is taken off" if null else "it is taken off", "errors", null=null
        )


def _draws(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Users at five weights, a fifth of them at each; some of those at the canary never show."""
    weights = np.array([[1.0 - w, w] for w in RAMP])
    each = UNITS // len(RAMP)
    for lost in (0.0, 0.05, 0.1):
        found = by_chunks(runs, lambda size, lost=lost: _ramps(rng, size, weights, each, lost))
        case = (
            "users as drawn, w = 1 to 50%" if not lost else f"{100 * lost:g}% of the canary's users missing"
        )
        for test, first in found.items():
            yield cell(first, case, test, "users", null=not lost, used=test.startswith("unit by unit"))


def _ramps(rng: np.random.Generator, runs: int, weights: Floats, each: int, lost: float) -> dict[str, Floats]:
    looks = each // 20
    found: dict[str, list[Bools]] = {"unit by unit": [], "stage by stage (of requests)": []}
    done = np.zeros((runs, len(weights), 2))
    for row, (_, w) in enumerate(weights):
        seen = w * (1.0 - lost) / (1.0 - w * lost)
        for _ in range(looks):
            canary = rng.binomial(20, seen, runs)
            done[:, row] += np.stack([20 - canary, canary], axis=1)
            found["unit by unit"].append(draws_test(weights, done) >= LINE)
            stages = slice(0, row + 1)
            found["stage by stage (of requests)"].append(
                np.array(
                    [
                        mismatch(weights[stages, 1], of[stages, 1], of[stages, 0], ALPHA) is not None
                        for of in done
                    ]
                )
            )
    return {name: first_look(np.stack(over, axis=1), 20) for name, over in found.items()}
