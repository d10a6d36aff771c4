"""`drift`: do the canary's answers shift against stable's? Weighed, in words. Pure.

Law: of a pair of answers to the same request and of one value k, D is 1 where the canary alone answered with
k, -1 where stable alone did, else 0, so that the mean of D is by how much the canary's share of k is above
stable's. Harm: of some value and in one direction, that mean is above `max`; the e-value is the mean over
`MOST_VALUES` values, two directions and all bets, which is one whatever hangs together among them. Proof: of
every value and in both directions it is below `max`; the least of these e-values is one. No reference of an
earlier day is needed, and no season matters: both sides answer at the same moment.

Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024); the mean and
the least of e-values as in Vovk and Wang, E-values: calibration, combination and applications (2021).
"""

import numpy as np

from control.judging.betting import HARM_BETS, SAFE_BETS, excess_bets
from control.judging.evidence import Evidence, Floats, bets_test
from control.judging.guard_evidence import AHEAD, GuardEvidence, Past, Pooled
from control.judging.guards.judged import Judged
from control.judging.guards.simulation import Runs, SimulatedGuard, Traffic
from control.judging.verdicts import share
from router.counting.shifts import MOST_VALUES, NO_SHIFT, Shift
from router.rollout.guards.drift import DriftGuard

_D = np.array([1.0, 0.0, -1.0])


def _weigh(guard: DriftGuard, pooled: Pooled, _past: Past) -> GuardEvidence | str:
    shift = sum((row.shifts.get(guard.output, NO_SHIFT) for row in pooled.rows), NO_SHIFT)
    if not shift.pairs:
        return (
            f"no two answers to one request were counted by a class, or probabilities, of {guard.output} yet"
        )
    if len(shift.alone) > MOST_VALUES:
        return f"{guard.output} has more than {MOST_VALUES} values, which are not told apart: it is no class"
    facts = _facts(shift, guard.max)
    harm, safe = log_e(shift, guard.max, 1.0 + AHEAD / shift.pairs)
    return GuardEvidence(
        Evidence(harm, safe), facts, facts, f"no value more than {share(guard.max)} apart", {}
    )


def log_e(shift: Shift, most: float, ahead: Floats) -> tuple[Floats, Floats]:
    """The log e-values for harm and for proof; shape of `ahead`.

    Args:
        shift: what was counted.
        most: by how much shares may be apart.
        ahead: how many times as much is looked at: 1, and more of the same.
    """
    units = _units(shift)
    harm = excess_bets(_D - most, 1.0 + most, units, HARM_BETS)
    safe = bets_test(np.multiply.outer(excess_bets(most - _D, 1.0 - most, units, SAFE_BETS), ahead))
    every = harm.reshape(-1)
    return bets_test(np.multiply.outer(every, ahead)), safe.min(axis=(0, 1))


def _units(shift: Shift) -> Floats:
    """Pairs by D; shape (values, directions, 3). Values that were never answered alone count, too."""
    alone = [*shift.alone.values(), *[(0, 0)] * (MOST_VALUES - len(shift.alone))]
    more, less = np.array(alone, float).T
    same = shift.pairs - more - less
    return np.array([[more, same, less], [less, same, more]]).transpose(2, 0, 1)


def _facts(shift: Shift, most: float) -> str:
    if not shift.alone:
        return f"the canary answered with the same value as stable in all of {shift.pairs:,} pairs"
    value, (canary, stable) = max(shift.alone.items(), key=lambda item: abs(item[1][0] - item[1][1]))
    apart = (canary - stable) / shift.pairs
    direction = "above" if apart > 0 else "below"
    return (
        f"of {shift.pairs:,} pairs of answers only the canary's was {value!r} in {canary:,}, and only"
        f" stable's in {stable:,}: its share of answers is {share(abs(apart))} {direction} stable's,"
        f" tolerated {share(most)}"
    )


def _simulate(_guard: DriftGuard, _of: Runs) -> SimulatedGuard | None:
    return None


def _untold(_guard: DriftGuard, _traffic: Traffic) -> str:
    return "how often answers move from one value to another is not known before"


JUDGED: dict[type, Judged] = {DriftGuard: Judged(_weigh, _simulate, _untold)}
