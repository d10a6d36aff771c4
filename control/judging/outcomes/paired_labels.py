"""Labels that come later, of requests that both sides answered: is the candidate as often right? Pure.

Law: of each label two answers to the same request are scored by one rule, so load, time of day and users are
alike for both. With D = 1 where only the candidate was right, -1 where only the reference was, else 0, the
mean of D is the gain in accuracy, and what is tested is that, whatever the accuracy.

Validity: labels may come late, in any order, and for any part of the requests, as long as who is labelled
does not depend on *which* side was right; the statement is about what was labelled. Where disagreements are
labelled more often, by chances that are known, `probability` weighs them back. Where users acted on the
reference's answer, labels lean towards it: no test sees that.

Source: McNemar's test as an e-process (Robbins' mixture, `control.judging.evidence.limit_test`); Waudby-Smith
and Ramdas (2024) for a margin. Weights by inverse probability as in Horvitz and Thompson (1952).
"""

from dataclasses import dataclass

import numpy as np

from control.judging.betting import excess_bets
from control.judging.evidence import Counts, Evidence, limit_test
from control.judging.outcomes.mean_bets import BETS, MeanBets, bet_on_mean


@dataclass(frozen=True, slots=True)
class PairedLabels:
    """How many labels of each kind: with equal chances of a label these are sufficient.

    Args:
        gained: only the candidate was right, n+.
        same: both were, or neither, n0.
        lost: only the reference was right, n-.
    """

    gained: float = 0.0
    same: float = 0.0
    lost: float = 0.0

    def __add__(self, other: "PairedLabels") -> "PairedLabels":
        return PairedLabels(self.gained + other.gained, self.same + other.same, self.lost + other.lost)

    @property
    def labels(self) -> float:
        """All of them."""
        return self.gained + self.same + self.lost

    def to_json(self) -> list[float]:
        """As JSON values."""
        return [self.gained, self.same, self.lost]

    @classmethod
    def from_json(cls, value: list[float]) -> "PairedLabels":
        """What `to_json` made."""
        return cls(*map(float, value))


def superiority_test(counts: PairedLabels) -> Evidence:
    """Is the candidate right more often than the reference, or less often? McNemar's question.

    Given that just one of two answers is right, is it as likely the candidate's?

    Null of `safe` (large: it is more accurate): given the past, P(D = 1) <= P(D = -1).
    Null of `harm` (large: it is less accurate): P(D = 1) >= P(D = -1).
    """
    return limit_test(counts.lost, counts.gained + counts.lost, 0.5)


def accuracy_bets(counts: PairedLabels, margin: float) -> MeanBets:
    """Is the candidate less accurate by more than a margin? The bets of harm and of being no worse.

    A bet f on safety multiplies its stake by 1 + f (D + delta) / (1 - delta) at each label, one on harm by
    1 - f (D + delta) / (1 + delta).

    Null of harm: given the past, E[D] >= -delta. Null of safe: E[D] <= -delta.

    Args:
        counts: of labels.
        margin: delta, a fraction, at least 0 and below 1; 1% is .01.
    """
    excess = np.array([1.0, 0.0, -1.0]) + margin
    units = np.array(counts.to_json())
    return MeanBets(
        counts.labels,
        float(excess @ units),
        excess_bets(-excess, 1.0 + margin, units, BETS),
        excess_bets(excess, 1.0 - margin, units, BETS),
    )


def loss_bets(
    gains: Counts, margin: float, probability: Counts = 1.0, least_probability: float = 1.0
) -> MeanBets:
    """As `accuracy_bets`, of any bounded loss, and of requests that were labelled with known chances.

    With q the chance with which a request was labelled and q_min the least of all, (D + delta) q_min / q
    stands in place of D + delta: over requests, labelled or not, its mean is q_min times that of D + delta.
    So a label of a request that is rarely labelled counts more, and the others less.

    Null of harm: given the past, E[D] >= -delta over all requests, labelled or not. Of safe: E[D] <= -delta.
    Assumes: q of a request was fixed before it was known who is right, and the label was drawn with it.

    Args:
        gains: D, the reference's loss less the candidate's, -1 to 1; shape (labels,).
        margin: delta, in units of the loss, at least 0 and below 1.
        probability: q, above 0 and at most 1; one number or shape (labels,).
        least_probability: q_min, fixed beforehand.

    Raises:
        ValueError: if a q is below q_min or above 1, or a gain is beyond -1 to 1.
    """
    q = np.asarray(probability, float)
    if not 0.0 < least_probability <= 1.0 or not np.all((q >= least_probability) & (q <= 1.0)):
        raise ValueError("a label's probability is not between the least that was said and 1")
    excess = (np.asarray(gains, float) + margin) * least_probability / q
    return bet_on_mean(excess, margin - 1.0, margin + 1.0)
