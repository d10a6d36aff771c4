"""A plan of a placement: the canary has as many requests as without one, and stable fewer beside it."""

import pytest

from control.judging.guards.simulation import Traffic
from control.planning.placed import on_its_nodes, placed_note
from router.rollout.parser import parse_one
from router.rollout.values import Prove, SetWeight

TRAFFIC = Traffic(200.0, 0.01)
DOCUMENT = """
stable: m/1
canary: {model: m/2, steps: [setWeight: 5, prove: {}]%s}
guards: {errors: {max: 1%%}}
"""


def rollout(placement: str):
    return parse_one("m", DOCUMENT % placement, "test")


def test_on_a_part_of_the_nodes_each_step_draws_more_of_fewer_requests():
    there, traffic = on_its_nodes(rollout(", placement: {nodes: 10%}"), TRAFFIC)
    assert there.canary.steps == (SetWeight(50.0), Prove())
    assert traffic.requests_per_second == pytest.approx(20.0)
    assert traffic.requests_per_second * 50.0 == pytest.approx(TRAFFIC.requests_per_second * 5.0)
    assert "draws 10 times its share" in placed_note(rollout(", placement: {nodes: 10%}"))[0]


@pytest.mark.parametrize(("placement", "note"), [("", 0), (", placement: {waves: [eu, us]}", 1)])
def test_elsewhere_the_steps_are_those_of_the_document(placement, note):
    there, traffic = on_its_nodes(rollout(placement), TRAFFIC)
    assert (there.canary.steps, traffic) == (rollout(placement).canary.steps, TRAFFIC)
    assert len(placed_note(rollout(placement))) == note
