"""Scores of answered requests: a number whose mean is what the canary earns more than stable. Pure.

Law: a request was drawn to the canary with chance w, whatever it was. So with A = 1 at the canary, Y what
came of the request, m what was expected of it *before the draw* and d the drop that is tolerated,

    psi = (Y - m) (A / w - (1 - d) (1 - A) / (1 - w)) + d m

has the mean (canary's mean) - (1 - d) (stable's mean), request by request, for any m. With m near Y, psi
varies less, and evidence comes sooner: that is all that m does. With d = 0 it is the plain difference.

Source: the inverse-probability score with a predictable centre (augmented, as in Waudby-Smith, Arbour, Sinha,
Kennedy, Ramdas, Time-uniform central limit theory and asymptotic confidence sequences, 2024).
"""

from typing import NamedTuple

import numpy as np

from control.judging.evidence import Counts, Floats
from control.judging.outcomes.mean_bets import MeanBets, bet_on_mean


class Answered(NamedTuple):
    """Requests that were drawn and answered, and are mature; arrays of shape (events,).

    Args:
        value: Y, what came of each; 0 where nothing did.
        at_canary: A, whether it was drawn to the canary.
        weight: w, the chance with which that was, strictly between 0 and 1.
        expected: m, what was expected of it before the draw.
        units: how many requests of just this kind; those without an outcome come together.
    """

    value: Counts
    at_canary: Counts
    weight: Counts
    expected: Counts = 0.0
    units: Counts = 1.0


def scores(answered: Answered, max_drop: float = 0.0) -> Floats:
    """The score psi of each event; shape (events,).

    Args:
        answered: the events.
        max_drop: d, a share of stable's mean, at least 0 and below 1.
    """
    y, a, w, m = (np.asarray(x, float) for x in answered[:4])
    found: Floats = (y - m) * (a / w - (1.0 - max_drop) * (1.0 - a) / (1.0 - w)) + max_drop * m
    return found


def score_bounds(
    weight: Counts, expected: Counts, most: float, max_drop: float = 0.0
) -> tuple[Floats, Floats]:
    """The least and the greatest that psi can be where Y and m are in [0, M]; known before the draw.

    With m = 0 and d = 0 these are -M / (1 - w) and M / w.
    """
    w, m = np.asarray(weight, float), np.asarray(expected, float)
    at_canary, at_stable = 1.0 / w, (1.0 - max_drop) / (1.0 - w)
    least = max_drop * m - np.maximum(m * at_canary, (most - m) * at_stable)
    greatest = max_drop * m + np.maximum((most - m) * at_canary, m * at_stable)
    return least, greatest


def bounded_value_bets(
    answered: Answered, most: float, *, max_drop: float = 0.0, margin: float = 0.0
) -> MeanBets:
    """Does the canary earn less than stable, where a value is known to be in [0, M]? Exact, at any w.

    Bets on psi within its bounds: no distribution is assumed, and the price is that at a small w, or with
    values that are mostly far below M, it takes many requests.

    Null of harm: given the past, the mean of psi + margin is at least 0. Null of safe: at most 0.

    Args:
        answered: the events, values in [0, M]; expectations beyond are taken as 0 or M.
        most: M, above 0.
        max_drop: d, a share of stable's mean, at least 0 and below 1.
        margin: a drop in units of Y that is tolerated beside, at least 0 and below M.

    Raises:
        ValueError: if a value is below 0 or above M.
    """
    within = answered._replace(expected=np.clip(np.asarray(answered.expected, float), 0.0, most))
    if np.any(np.asarray(answered.value) < 0.0) or np.any(np.asarray(answered.value) > most):
        raise ValueError(f"a value is not between 0 and {most:g}")
    least, greatest = score_bounds(within.weight, within.expected, most, max_drop)
    return bet_on_mean(scores(within, max_drop) + margin, least + margin, greatest + margin, within.units)
