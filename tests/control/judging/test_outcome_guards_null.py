"""Guards on outcomes do not err more often than alpha, through the judge as the examiner asks it.

Canaries that are just as bad as is tolerated, over two stages, looked at again and again, with a tick of the
tests of harm at every look: the chance that one is ever called harmful is at most alpha, and so is the chance
that one is ever proven in the stage under way.
"""

from math import sqrt

import numpy as np
import pytest

from control.judging.guard_evidence import Past
from control.judging.judge import judge, remembered
from control.judging.outcomes.paired_labels import PairedLabels, loss_bets
from control.judging.outcomes.stage_outcomes import StageOutcomes, matured_outcomes
from harness.search import examples
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard
from router.rollout.values import Outcome

ALPHA, LOOKS = 0.1, 7
STAGES = 0.05, 0.4
CONVERSION = Outcome("conversion", "binary", 60)
COMPLAINT = Outcome("complaint", "binary", 60, better="lower")
PAID = Outcome("paid", "number", 60, range=(0, 10))
COST = Outcome("cost", "number", 60, better="lower", range=(0, 10))
LOSS = Outcome("price", "label", 60, output="price", range=(0, 10))


def happens(rng, weight, number, outcome, ratio):
    """Rates drift from look to look, at both sides alike."""
    rate = rng.choice([0.02, 0.2])
    at_canary = rng.random(number) < weight
    values = (rng.random(number) < np.where(at_canary, rate * ratio, rate)).astype(float)
    return matured_outcomes(outcome, 0.1, weight, values, at_canary)


def amounts(rng, weight, number, outcome, ratio):
    at_canary = rng.random(number) < weight
    some = rng.random(number) < np.where(at_canary, 0.2 * ratio, 0.2)
    return matured_outcomes(outcome, 0.1, weight, some * 10 * rng.beta(1, 3, number), at_canary)


def labels(rng, _weight, number, _outcome, _ratio):
    gained, same, lost = rng.multinomial(number // 4, [0.03, 0.84, 0.13])
    return StageOutcomes(0.0, labels=PairedLabels(float(gained), float(same), float(lost)))


def losses(rng, _weight, number, outcome, _ratio):
    gains = rng.choice([0.4, -0.1, -0.35], number // 4, p=[0.2, 0.3, 0.5]) + 0.025
    return StageOutcomes(0.0, bets=loss_bets(gains, 0.1), outcome=outcome)


CASES = {
    "conversions": (OutcomeGuard("g", "conversion", max_drop=0.1), CONVERSION, happens, 0.9),
    "complaints": (OutcomeGuard("g", "complaint", max_rise=0.1), COMPLAINT, happens, 1.1),
    "amounts": (OutcomeGuard("g", "paid", max_drop=0.1), PAID, amounts, 0.9),
    "costs": (OutcomeGuard("g", "cost", max_rise=0.1), COST, amounts, 1.1),
    "labels": (AccuracyGuard("g", "label", 0.1), None, labels, 1.0),
    "losses": (AccuracyGuard("g", "price", 0.1), LOSS, losses, 1.0),
}


def one_run(rng, guard, outcome, come, ratio):
    """Whether a verdict was ever harmful, on everything, and whether ever proven, in the stage under way."""
    tests, harmful, proven, before = {}, False, False, []
    for weight in STAGES:
        counts = [StageCounts(weight, RoleCounts(900, 900), RoleCounts(100, 100))]
        stage = come(rng, weight, 0, outcome, ratio)
        for look in range(LOOKS):
            stage += come(rng, weight, 100 * 2**look, outcome, ratio)
            past = Past(tests=tests, outcomes={"g": [*before, stage]})
            alone = Past(outcomes={"g": [stage]})
            found = judge([guard], counts, ALPHA, None, past)
            harmful |= found.verdict == "harmful"
            found = judge([guard], counts, ALPHA, None, alone)
            proven |= found.guards[0].log_safe is not None and (
                found.guards[0].log_safe >= found.guards[0].log_proof_line
            )
            tests = remembered([guard], counts, past)
        before.append(stage)
    return harmful, proven


@pytest.mark.parametrize("case", CASES)
def test_at_the_tolerance_neither_verdict_comes_more_often_than_alpha(case) -> None:
    """Proof has alpha in each of the two stages."""
    rng, runs = np.random.default_rng(3), 2 * examples(60)
    harmful, proven = np.sum([one_run(rng, *CASES[case]) for _ in range(runs)], axis=0)
    slack = 3 * sqrt(runs * ALPHA)
    assert harmful <= runs * ALPHA + slack
    assert proven <= len(STAGES) * (runs * ALPHA + slack)


@pytest.mark.parametrize(("case", "ratio"), [("conversions", 0.5), ("complaints", 1.8), ("amounts", 0.4)])
def test_what_is_much_worse_is_found(case, ratio) -> None:
    """So that the test above is one of the guard, and not of a judge that never speaks."""
    guard, outcome, come, _ = CASES[case]
    rng = np.random.default_rng(5)
    found = [one_run(rng, guard, outcome, come, ratio)[0] for _ in range(max(5, examples(20)))]
    assert np.mean(found) >= 0.9
