"""What pairs of compute times say: does the candidate's model take longer than r times stable's? Pure.

Law: four questions, of the same pairs (Null of harm; that of proof is the reverse):
- typical: P(t_c > r t_s) <= 1/2, in the mean over units of ten pairs that ran one after the other;
- at stable's p90, p95 and p99, e: P(t_c > r e) <= P(t_s > e), by the pairs in which just one of the two
  holds: given that, each is as likely.
Harm is worse by any of them, so the mean of their e-values; proof is being no worse by each, so the least. At
p99 few pairs tell anything: it speaks for harm only.

Validity: load, batches and time of day are alike for both models of a pair, and the random order leaves no
advantage to either. What is assumed is that the noise of one model does not last from one pair to the next;
units soften what there is of it.

Source: sign test and McNemar's test as e-processes, by betting (`control.judging.betting`) and by the mixture
of `control.judging.evidence.limit_test`.
"""

import numpy as np

from control.judging.betting import SAFE_BETS, harm_bets, safe_bets
from control.judging.evidence import Floats, bets_test, limit_ratios, limit_test
from router.counting.pairs import QUANTILES, UNIT_PAIRS, PairCounts

SHARES = np.arange(UNIT_PAIRS + 1) / UNIT_PAIRS
NAMES = ("typical", *(f"p{100 * quantile:.0f}" for quantile in QUANTILES))
PROVES = NAMES[:-1]


def units_ahead(counted: tuple[int, ...], ahead: Floats) -> Floats:
    """Units by their share, now and after so many more pairs at present rates; shape (ahead, values)."""
    units = np.array(counted, float)
    more = np.outer(ahead / UNIT_PAIRS, units / max(units.sum(), 1.0))
    return units + more


def harm_ratios(pairs: PairCounts, ahead: Floats) -> dict[str, Floats]:
    """Of each question the log likelihood ratios of its test of harm; shape (alternatives, ahead)."""
    found = {NAMES[0]: harm_bets(SHARES, units_ahead(pairs.units, ahead), 0.5, SAFE_BETS)}
    for name, (worse, better) in zip(NAMES[1:], pairs.tails, strict=True):
        grown = 1.0 + ahead / pairs.tail_pairs if pairs.tail_pairs else np.ones_like(ahead)
        found[name] = limit_ratios(worse * grown, (worse + better) * grown, 0.5)
    return found


def proofs(pairs: PairCounts, ahead: Floats) -> dict[str, Floats]:
    """Of each question that can prove, the log e-value for being no worse; shape (ahead,)."""
    found = {NAMES[0]: bets_test(safe_bets(SHARES, units_ahead(pairs.units, ahead), 0.5))}
    for name, (worse, better) in zip(PROVES[1:], pairs.tails, strict=False):
        grown = 1.0 + ahead / pairs.tail_pairs if pairs.tail_pairs else np.ones_like(ahead)
        found[name] = limit_test(worse * grown, (worse + better) * grown, 0.5).safe
    return found


def facts(pairs: PairCounts, question: str, ratio: float) -> str:
    """What was counted, in words."""
    if question == NAMES[0]:
        return (
            f"the canary's model took longer than {ratio:g} times stable's in {pairs.slower:,} of"
            f" {pairs.pairs:,} pairs"
        )
    if pairs.tail_pairs == 0:
        return f"stable's {question} is being taken from its times in pairs, {pairs.baseline:,} until now"
    worse, better = pairs.tails[NAMES.index(question) - 1]
    return (
        f"in {worse:,} of {pairs.tail_pairs:,} pairs only the canary's model took longer than {ratio:g} times"
        f" stable's {question}, in {better:,} only stable's took longer than its {question}"
    )
