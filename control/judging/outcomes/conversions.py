"""Outcomes that happen or do not (a conversion, a complaint), of requests that clients got answered. Pure.

Law: given that an outcome happened, it was at the canary with the chance that the weight gives it, if both
roles bring it about equally often; so conversions alone are counted, and nothing is known of the others but
that they were drawn. Evidence is that of `control.judging.evidence.label_test`, with alternatives that are
closer to what is tolerated: a drop of 5% is much for a conversion rate, and nothing for an error rate.

Validity: requests are drawn anew, or units are users (`maturity.first_exposures`); an outcome enters when its
request is mature (`maturity`), since a canary whose users take longer to convert would otherwise look worse.
Where few do *not* convert, their outcomes tell more: count those, with `higher_is_better=False`.

Source: as `control.judging.evidence.label_test`.
"""

import numpy as np

from control.judging.evidence import Counts, Evidence, Floats, label_ratios, label_test

GRID = np.array([1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 4.0, 10.0])
"""Alternatives as multiples of the tolerated ratio; its inverse for the other side."""


def conversion_test(
    weight: Counts, canary: Counts, stable: Counts, max_drop: float, *, higher_is_better: bool = True
) -> Evidence:
    """Does the canary convert less than (1 - d) of stable?

    Null of harm: at each request the canary's chance is at least (1 - d) times stable's (at most (1 + d)
    times, where lower is better). Null of safe: it is at most that (at least).

    Args:
        weight: w of each draw, a fraction; shape (..., rows), a row for each weight that was used.
        canary: mature conversions at the canary; shape (..., rows). By the draw, not by who answered.
        stable: the same at stable.
        max_drop: d, a share of stable's rate, at least 0 and below 1.
        higher_is_better: or lower.

    Returns:
        Log e-values of shape (...).
    """
    found = label_test(weight, canary, stable, _ratio(max_drop, higher_is_better), GRID)
    return Evidence(found.safe, found.harm) if higher_is_better else found


def conversion_ratios(
    weight: Counts, canary: Counts, stable: Counts, max_drop: float, *, higher_is_better: bool = True
) -> Floats:
    """The log likelihood ratios whose mean is the harm of `conversion_test`; shape (`GRID`, ...)."""
    worse = 1.0 / GRID if higher_is_better else GRID
    return label_ratios(weight, canary, stable, _ratio(max_drop, higher_is_better), worse)


def _ratio(max_drop: float, higher_is_better: bool) -> float:  # noqa: FBT001
    return 1.0 - max_drop if higher_is_better else 1.0 + max_drop
