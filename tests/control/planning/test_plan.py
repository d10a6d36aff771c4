import math

import pytest

from control.judging.evidence import limit_test
from control.judging.guards.simulation import Behaviour, Traffic
from control.planning.plan import FIRST_SLICE_SECONDS, plan
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import LatencyGuard
from router.rollout.guards.promql import PromQLGuard
from router.rollout.values import Pause, Prove, SetWeight

ERRORS = ErrorsGuard(max_ratio=1.5, max=0.01)
AGREEMENT = AgreementGuard("label", 0.98)
LATENCY = LatencyGuard(1.25)
HISTOGRAM = {100 + index: int(4000 * math.exp(-((index - 6) ** 2) / 8)) for index in range(13)}
STEPS = (SetWeight(10), Pause(30), Prove(1800), SetWeight(50), Pause(None))
BUSY = Traffic(500, 0.002, HISTOGRAM, mirror=0.2)


def simulate(*guards, steps=STEPS, traffic=BUSY, harmful=None, **others):
    return plan(steps, guards, 0.01, traffic, harmful or Behaviour(0.002), runs=100, **others)


def test_a_plan_has_a_line_for_each_step_in_order():
    planned = simulate(ERRORS)
    assert tuple(line.step for line in planned) == STEPS
    assert [line.passed for line in planned] == sorted((line.passed for line in planned), reverse=True)
    assert [line.caught for line in planned] == sorted(line.caught for line in planned)


def test_a_timed_pause_takes_its_time_and_no_other_step_but_prove_takes_any():
    planned = simulate(ERRORS)
    assert [line.seconds_median for line in planned if not isinstance(line.step, Prove)] == [0, 30, 0, 0]


def test_good_canaries_get_through_and_dead_ones_are_caught_in_the_first_pause():
    planned = simulate(ERRORS, LATENCY, AGREEMENT, harmful=Behaviour(1.0))
    assert planned[-1].passed >= 0.98
    assert planned[1].caught == 1.0
    assert planned[2].seconds_median <= planned[2].seconds_p95 <= 1800


@pytest.mark.parametrize(
    ("guard", "harmful"),
    [
        (LATENCY, Behaviour(0.002, slower=2.0)),
        (AGREEMENT, Behaviour(0.002, disagreement=0.2)),
        (ErrorsGuard(max=0.01), Behaviour(0.05)),
        (ErrorsGuard(max_ratio=1.5), Behaviour(0.05)),
    ],
)
def test_each_guard_catches_its_own_kind_of_harm(guard, harmful):
    planned = simulate(guard, harmful=harmful)
    assert planned[2].caught >= 0.98
    assert planned[2].passed >= 0.9


def test_without_traffic_to_speak_of_nothing_is_proven_and_little_is_caught():
    planned = simulate(ERRORS, traffic=Traffic(0.01, 0.002), harmful=Behaviour(0.05))
    assert planned[2].passed == 0
    assert planned[2].seconds_median is None
    assert planned[-1].caught < 0.2


def test_a_prove_step_that_times_out_into_a_rollback_takes_the_canary_off():
    steps = (SetWeight(10), Prove(5, "rollback"))
    planned = simulate(ERRORS, steps=steps, traffic=Traffic(0.1, 0.002))
    assert planned[1].passed == 0
    assert planned[1].caught == 1.0


def test_before_the_first_weight_no_canary_request_comes():
    planned = simulate(
        ErrorsGuard(max=0.01), steps=(Pause(60), SetWeight(10), Pause(60)), harmful=Behaviour(1.0)
    )
    assert [line.caught for line in planned] == [0.0, 0.0, 1.0]


def test_without_a_guard_that_counts_nothing_is_proven():
    observed = ErrorsGuard(max=0.01, mode="observe")
    watched = PromQLGuard("up", "up", min=1, mode="enforce")
    assert simulate(observed, watched, steps=(SetWeight(10), Prove(60)))[1].passed == 0


def test_unknown_latency_is_left_out_and_keeps_its_part_of_alpha():
    steps = SetWeight(10), Pause(60), Prove(6000)
    without, alone = (
        simulate(*guards, steps=steps, traffic=Traffic(50, 0.002), harmful=Behaviour(0.03))
        for guards in ((ERRORS, LATENCY), (ERRORS,))
    )
    assert without[2].passed > 0.9
    assert without[2].seconds_median == alone[2].seconds_median, "proof is not shared"
    assert 0 < without[1].caught < alone[1].caught


def test_the_time_to_proof_is_that_of_the_test_itself():
    """No disagreement: proof comes at a fixed number of comparisons, here a hundred a second."""
    planned = simulate(AGREEMENT, steps=(Prove(600),), traffic=Traffic(500, 0.0, mirror=0.2))
    needed = next(n for n in range(1, 1000) if limit_test(0, n, 0.02).safe >= math.log(100))
    assert planned[0].seconds_median == pytest.approx(needed / 100, abs=2 * FIRST_SLICE_SECONDS)


def test_the_same_seed_gives_the_same_plan():
    assert simulate(ERRORS, AGREEMENT, seed=7) == simulate(ERRORS, AGREEMENT, seed=7)
