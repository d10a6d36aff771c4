"""Did draws fall as their weights say, unit by unit, whatever weights were used? Pure.

Law: each unit (a request, or a user at first exposure) was drawn to arm k with the chance w_k of its own
draw. An alternative multiplies the odds of one arm by g: its likelihood ratio at a unit of arm k is
g / (1 + w_k (g - 1)), at another 1 / (1 + w_k (g - 1)). Over units the product, over arms and `TILTS` the
mean: one e-value over the whole life, where `control.judging.evidence.sample_ratio_test` has one a stage and
splits alpha over them.

What crosses says that units are missing on one side, or that draws are not ours: hold, and never roll back
on it.

Source: the mixture of likelihood ratios as in `control.judging.evidence.label_test`; the question as in
Lindon and Malek, Anytime-valid inference for multinomial count data (NeurIPS 2022).
"""

import numpy as np

from control.judging.evidence import Counts, Floats, bets_test, label_ratios

TILTS = np.array([1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 4.0])
"""By how much the odds of an arm may be off; and their inverses."""


def draws_test(weights: Counts, units: Counts) -> Floats:
    """The log e-value against "each unit was drawn with its weights".

    Args:
        weights: of all arms, by row, summing to 1 in each; shape (rows, arms).
        units: how many were drawn to each; shape (..., rows, arms). Each unit once.

    Returns:
        Of shape (...).
    """
    w, counts = np.asarray(weights, float), np.asarray(units, float)
    all_units = counts.sum(axis=-1)
    both_ways = np.concatenate([TILTS, 1.0 / TILTS])
    by_arm = [
        label_ratios(w[..., arm], counts[..., arm], all_units - counts[..., arm], 1.0, both_ways)
        for arm in range(np.shape(w)[-1])
    ]
    return bets_test(np.concatenate(by_arm))
