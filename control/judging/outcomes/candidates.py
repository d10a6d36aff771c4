"""Tests of several candidates at once: who is worse than stable, and who is the best of all? Pure.

Law: of two arms only the events at either of them count; given that, an event was at the first with the
chance w_k / (w_k + w_j) of its own draw, so `control.judging.evidence.label_test` holds for each pair of
arms, and weights may change from draw to draw as long as they do not look ahead. Arm 0 is stable.

Not for sticky splits: when weights change, the draws of known users do not.

Source: as `control.judging.evidence.label_test`; Bonferroni over arms.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from control.judging.evidence import Counts, Evidence, Floats, label_test
from control.judging.outcomes.conversions import GRID


def pair_test(
    weights: Counts, events: Counts, arm: int, other: int, ratio: float, grid: Floats = GRID
) -> Evidence:
    """Is the rate of events of one arm above `ratio` times that of another (harm), or below (safe)?

    Null of harm: at each request the first arm's chance is at most `ratio` times the other's. Of safe: at
    least.

    Args:
        weights: of all arms, by row; shape (rows, arms), a row for each weights that were used.
        events: at the arms, by row; shape (..., rows, arms).
        arm: k.
        other: j; 0 is stable.
        ratio: above 0.
        grid: alternatives, multiples of `ratio` above 1.

    Returns:
        Log e-values of shape (...).
    """
    w, counts = np.asarray(weights, float), np.asarray(events, float)
    both = w[..., arm] + w[..., other]
    of_pair = np.divide(w[..., arm], both, out=np.zeros_like(both), where=both > 0.0)
    return label_test(of_pair, counts[..., arm], counts[..., other], ratio, grid)


def take_off_line(candidates: int, guards: int, alpha: float) -> float:
    """log(K m / alpha): what harm of one of m equal guards must reach to take off one of K candidates.

    The chance that any good candidate is ever taken off is at most alpha.
    """
    return float(np.log(candidates * guards / alpha))


def better_than_each(weights: Counts, events: Counts, *, higher_is_better: bool = True) -> Floats:
    """Log e-values that an arm's rate of events is better than another's; shape (..., arms, arms).

    Row k, column j: against "k is no better than j". The diagonal is 0.

    Args:
        weights: shape (rows, arms).
        events: shape (..., rows, arms).
        higher_is_better: or lower.
    """
    arms = np.shape(weights)[-1]
    found = [
        better_than_others(weights, events, arm, higher_is_better=higher_is_better) for arm in range(arms)
    ]
    return np.stack(found, axis=-2)


def better_than_others(weights: Counts, events: Counts, arm: int, *, higher_is_better: bool = True) -> Floats:
    """The row of one arm in what `better_than_each` finds; shape (..., arms)."""
    arms = np.shape(weights)[-1]
    found = np.zeros((*np.shape(events)[:-2], arms))
    for other in set(range(arms)) - {arm}:
        evidence = pair_test(weights, events, arm, other, 1.0)
        found[..., other] = evidence.harm if higher_is_better else evidence.safe
    return found


def best_arm(log_e: Counts, alpha: float, on: Sequence[bool] | None = None) -> npt.NDArray[np.int64]:
    """The arm that is better than each of the others, or -1 while none is shown to be.

    All of its e-values have reached K / alpha, where K is the number of candidates, those that were taken off
    included. A wrong arm among K + 1 would need that against the truly best, so any is named with a chance of
    at most alpha. Arms that are equal are never told apart (but by that chance), so a test needs an end of
    its own.

    Where arms are taken off, the best is that of those which keep every tolerance. Another is named while
    that one is there with a chance of at most alpha, whoever is taken off when and for whatever was seen;
    that it is taken off itself is a false alarm of a guard.

    Args:
        log_e: that k is better than j; shape (..., arms, arms). Of any test, also of labels.
        alpha: above 0 and below 1.
        on: which arms are still compared, at least one; None for all.

    Returns:
        Of shape (...).
    """
    values = np.asarray(log_e, float)
    arms = values.shape[-1]
    compared = np.ones(arms, bool) if on is None else np.asarray(on, bool)
    enough = (values >= best_line(arms - 1, alpha)) | np.eye(arms, dtype=bool) | ~compared
    found = enough.all(axis=-1) & compared & (compared.sum() > 1)
    named: npt.NDArray[np.int64] = np.where(found.any(axis=-1), found.argmax(axis=-1), -1)
    return named


def best_line(candidates: int, alpha: float) -> float:
    """log(K / alpha): what each e-value of the best must reach, with K candidates in the document."""
    return float(np.log(candidates / alpha))
