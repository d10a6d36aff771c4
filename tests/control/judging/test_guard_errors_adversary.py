"""Harm of `errors` with both limits, attacked: good is an error rate of at most the greater of the two."""

import math

import pytest

from control.judging.guard_evidence import Past, pool
from control.judging.guards.registry import judged
from harness.adversary import worst_expectation
from harness.search import USUAL, examples
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.errors import ErrorsGuard

WEIGHTS = (0.1, 0.5)
GUARD = ErrorsGuard(1.5, 0.02)


def harm(seen):
    """The e-value of what came (weight, whether at the canary, whether it failed); 0 while there is none."""
    stages = []
    for weight in WEIGHTS:
        roles = []
        for canary in (False, True):
            failed = [step[2] for step in seen if step[:2] == (weight, canary)]
            roles.append(RoleCounts(len(failed), len(failed), sum(failed), sum(failed)))
        stages.append(StageCounts(weight, *roles))
    found = judged(GUARD).weigh(GUARD, pool(stages), Past())
    return 0.0 if isinstance(found, str) else math.exp(float(found.evidence.harm[0]))


def move(weight, at_canary, at_stable):
    """One request; the chances that it fails."""
    parts = []
    for canary, drawn, chance in ((True, weight, at_canary), (False, 1 - weight, at_stable)):
        parts += [
            (drawn * chance, (weight, canary, True)),
            (drawn * (1 - chance), (weight, canary, False)),
        ]
    return parts


@pytest.mark.parametrize(
    "rates",
    [[(0.0, 0.0), (0.3, 0.2), (0.99, 0.66)], [(0.0, 0.0), (0.02, 0.0), (0.02, 1.0)]],
    ids=["the ratio is kept", "the limit is kept"],
)
def test_an_adversary_who_keeps_either_limit_makes_no_more_than_one_of_it(rates):
    """Outages, quiet times and weights as it likes, and it stops when it likes."""
    moves = [move(weight, *pair) for weight in WEIGHTS for pair in rates]
    assert worst_expectation(harm, moves, 4 if examples(USUAL) >= USUAL else 3) <= 1 + 1e-9


def test_one_who_breaks_both_makes_more():
    assert worst_expectation(harm, [move(0.5, 0.9, 0.1)], 4) > 1.3
