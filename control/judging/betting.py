"""Bets on shares: is the mean share of units above or below a limit, whatever happens within a unit? Pure.

Law: where outcomes hang together (one user's requests, pairs that ran one after the other), each is not an
observation of its own, but the unit of them is: it has one share X in [0, 1], and nothing is assumed of what
is in it. Logarithms as in `control.judging.evidence`; `control.judging.evidence.bets_test` makes an e-value
of them.
"""

import numpy as np

from control.judging.evidence import Counts, Floats

HARM_BETS = (0.5, 0.25, 0.12, 0.06, 0.03, 0.015)
SAFE_BETS = (0.98, 0.5, 0.25, 0.12, 0.06, 0.03)
"""Shares of its stake that each bet puts on the next unit; with .98 a run without any event proves soon."""


def harm_bets(shares: Counts, units: Counts, limit: float, bets: tuple[float, ...] = HARM_BETS) -> Floats:
    """What the bets against "the mean share is at most `limit`" won.

    With X the share of a unit, a bet f multiplies its stake by 1 + f (X - tau) / tau.

    Null: given the past, E[X] <= tau. Units end by a rule that does not look at their outcomes, and are
    counted in the order in which they end; then the sums may be looked at as often as one likes.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024).

    Args:
        shares: the values that X takes, 0 to 1; shape (values,).
        units: how many units had each; shape (..., values). Need not be whole.
        limit: tau, strictly between 0 and 1.
        bets: f, each above 0 and below 1.

    Returns:
        Log of what each bet's stake grew to; shape (`bets`, ...).
    """
    return excess_bets(np.asarray(shares, float) - limit, limit, units, bets)


def safe_bets(shares: Counts, units: Counts, limit: float, bets: tuple[float, ...] = SAFE_BETS) -> Floats:
    """As `harm_bets`, against "the mean share is at least `limit`": factors 1 - f (X - tau) / (1 - tau)."""
    return excess_bets(limit - np.asarray(shares, float), 1.0 - limit, units, bets)


def excess_bets(excess: Counts, room: Counts, units: Counts, bets: tuple[float, ...]) -> Floats:
    """What the bets against "what came was at most what was tolerated, in the mean" won.

    With Z the excess of what came over what was tolerated, and -r the least that Z can be, a bet f
    multiplies its stake by 1 + f Z / r.

    Null: given the past, E[Z] <= 0; r is known before Z is, and may differ from one to the next.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024).

    Args:
        excess: the values that Z takes; shape (values,), or (..., values) where they are not alike.
        room: r, above 0; of a shape that fits.
        units: how many had each; shape (..., values).
        bets: f, each above 0 and below 1.

    Returns:
        Log of what each bet's stake grew to; shape (`bets`, ...).
    """
    factors = np.log1p(np.multiply.outer(np.array(bets), np.asarray(excess, float) / np.asarray(room, float)))
    found: Floats = np.einsum("b...v,...v->b...", factors, np.asarray(units, float))
    return found
