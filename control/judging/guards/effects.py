"""How far the canary is from stable, with an interval that holds at every look. Pure.

Law: the interval is what the test of a guard has not made implausible: all tolerances of which, at all looks
so far together, neither side is beyond 1 / alpha. So each of its ends holds by itself with a chance of at
least 1 - alpha, at every look (both together with 1 - 2 alpha), and says the same as the guard does of its
one tolerance, but for what only the guard does: it shares alpha with others for harm, looks for changes that
come late, and asks for proof in the present stage.

Assumes that what is estimated is one number throughout. Where it drifts, the interval is of no one number.

Source: the duality of tests and confidence sequences, as in Howard, Ramdas, McAuliffe, Sekhon, Time-uniform,
nonparametric, nonasymptotic confidence sequences (2021).
"""

from collections.abc import Callable, Sequence
from math import exp, expm1, log

import numpy as np
import numpy.typing as npt

from control.judging.betting import excess_bets
from control.judging.evidence import GRID, Counts, Floats, bets_test, label_ratios, limit_test
from control.judging.outcomes.amounts import LEAST_EVENTS, LEAST_NON_ZERO, rho_squared
from control.judging.outcomes.mean_bets import BETS
from control.judging.outcomes.paired_labels import PairedLabels
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.judging.verdicts import Effect

_FARTHEST = 12.0
"""Logarithm of the greatest ratio that is told apart from one without a bound."""
_POINTS, _ROUNDS = 33, 4  # of a search: of all points the quickest; a distance of 24 is known to 2e-5


def ratio_effect(weight: Counts, canary: Counts, stable: Counts, line: float, grid: Floats = GRID) -> Effect:
    """How many times as often as at stable an event happens at the canary: the label test, inverted.

    Args:
        weight: w of the draws of each row, a fraction; shape (rows,).
        canary: events at the canary; same shape.
        stable: events at stable; same shape.
        line: log(1 / alpha).
        grid: the alternatives of the test, as multiples of the tolerated ratio.
    """
    rows = tuple(np.asarray(each, float) for each in (weight, canary, stable))

    def above(log_ratio: Floats) -> Floats:
        return bets_test(_labels(rows, log_ratio, grid))

    def below(log_ratio: Floats) -> Floats:
        return bets_test(_labels(rows, log_ratio, 1.0 / grid))

    least = first(lambda at: above(at) < line, -_FARTHEST, _FARTHEST)
    greatest = -first(lambda at: below(-at) < line, -_FARTHEST, _FARTHEST)
    return Effect(
        "ratio",
        _often(*rows),
        exp(least) if least > -_FARTHEST else 0.0,
        exp(greatest) if greatest < _FARTHEST else None,
        1.0 - exp(-line),
    )


def _labels(rows: Sequence[Floats], log_ratio: Floats, grid: Floats) -> Floats:
    weight, canary, stable = rows
    return label_ratios(weight, canary, stable, np.exp(log_ratio)[:, np.newaxis], grid)


def _often(weight: Floats, canary: Floats, stable: Floats) -> float | None:
    """The likeliest ratio; None where stable has no event, or nothing was drawn."""
    drawn = (weight > 0.0) & (weight < 1.0)
    w, c, n = weight[drawn], canary[drawn], (canary + stable)[drawn]
    if n.sum() <= c.sum():
        return None
    if c.sum() == 0.0:
        return 0.0

    def enough(log_ratio: Floats) -> npt.NDArray[np.bool_]:
        odds = w / (1.0 - w) * np.exp(log_ratio)[:, np.newaxis]
        found: npt.NDArray[np.bool_] = (n * odds / (1.0 + odds)).sum(axis=1) >= c.sum()
        return found

    return exp(first(enough, -_FARTHEST, _FARTHEST))


def change_effect(weight: Counts, canary: Counts, stable: Counts, line: float, grid: Floats) -> Effect:
    """As `ratio_effect`, as the share of stable's by which the canary's is more."""
    return ratio_effect(weight, canary, stable, line, grid).as_change()


def amounts_effect(stages: Sequence[StageOutcomes], line: float) -> Effect | None:
    """By which share of stable's the canary's amounts are more: asymptotic, also of those in a range.

    With S(r) the sum of the scores where r times stable's is tolerated, v(r) their variance and n their
    number, all r that the test of amounts without a range has not left behind. Both are sums of what each
    side brought and of its squares.

    Args:
        stages: of one guard, with their squares.
        line: log(1 / alpha).

    Returns:
        None where stable brought nothing; without an interval while there are few, as with that test.
    """
    drawn = [stage for stage in stages if 0.0 < stage.weight < 1.0]
    canary, stable = (
        np.sum([(total / share, squares / share**2, units) for total, squares, units, share in side], axis=0)
        for side in (
            [(s.canary_total, s.canary_squares, s.canary, s.weight) for s in drawn],
            [(s.stable_total, s.stable_squares, s.stable, 1.0 - s.weight) for s in drawn],
        )
    )
    if not drawn or stable[0] <= 0.0:
        return None
    number, estimate = canary[2] + stable[2], float(canary[0] / stable[0])
    confidence = 1.0 - exp(-line)
    few = number < LEAST_EVENTS or min(canary[2], stable[2]) < LEAST_NON_ZERO
    if few or estimate <= 0.0 or canary[1] == 0.0 or stable[1] == 0.0:
        return Effect("change", estimate - 1.0, None, None, confidence, asymptotic=True)
    rho2 = rho_squared(exp(-line))

    def plausible(log_ratio: Floats) -> npt.NDArray[np.bool_]:
        ratio = np.exp(log_ratio)
        excess = (canary[0] - ratio * stable[0]) / number
        variance = np.maximum((canary[1] + ratio**2 * stable[1]) / number - excess**2, 1e-300)
        grown = number * rho2 + 1.0
        log_e = 0.5 * (number * excess) ** 2 * rho2 / (variance * grown) - 0.5 * np.log(grown)
        found: npt.NDArray[np.bool_] = log_e < line
        return found

    middle = log(estimate)
    least = first(plausible, middle - _FARTHEST, middle)
    greatest = -first(lambda at: plausible(-at), -middle - _FARTHEST, -middle)
    return Effect(
        "change",
        estimate - 1.0,
        expm1(least) if least > middle - _FARTHEST else -1.0,
        expm1(greatest) if greatest < middle + _FARTHEST else None,
        confidence,
        asymptotic=True,
    )


def accuracy_effect(labels: PairedLabels, line: float) -> Effect:
    """By which share of the labels the canary is right about more of them: the bets on labels, inverted."""
    units, gains = np.array(labels.to_json()), np.array([1.0, 0.0, -1.0])
    inside = 1.0 - 1e-9

    def above(mean: Floats) -> Floats:
        excess = gains - mean[:, np.newaxis]
        return bets_test(excess_bets(excess, 1.0 + mean[:, np.newaxis], units, BETS))

    def below(mean: Floats) -> Floats:
        excess = mean[:, np.newaxis] - gains
        return bets_test(excess_bets(excess, 1.0 - mean[:, np.newaxis], units, BETS))

    return Effect(
        "difference",
        float(gains @ units) / labels.labels,
        first(lambda at: above(at) < line, -inside, inside),
        -first(lambda at: below(-at) < line, -inside, inside),
        1.0 - exp(-line),
    )


def share_effect(events: float, trials: float, line: float) -> Effect:
    """The share of events of one stream: the limit test, inverted. There must be trials."""
    tiny = 1e-9
    least = first(lambda at: limit_test(events, trials, at).harm < line, tiny, 1.0 - tiny)
    greatest = 1.0 - first(lambda at: limit_test(events, trials, 1.0 - at).safe < line, tiny, 1.0 - tiny)
    return Effect("share", events / trials, least, greatest, 1.0 - exp(-line))


def first(holds: Callable[[Floats], npt.NDArray[np.bool_]], low: float, high: float) -> float:
    """The place from which on something holds, a few millionths of the way before it.

    Args:
        holds: of places in order; false, then true.
        low: the least place that is looked at, and the answer where it holds there already.
        high: the greatest, and the answer where it holds nowhere.
    """
    at_ends = holds(np.array([low, high]))
    if at_ends[0] or not at_ends[1]:
        return low if at_ends[0] else high
    for _ in range(_ROUNDS):
        places = np.linspace(low, high, _POINTS)
        at = int(np.argmax(holds(places)))
        low, high = float(places[at - 1]), float(places[at])
    return low
