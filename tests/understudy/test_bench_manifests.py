"""What scales a fleet, by the figures of one node."""

from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.custom_kinds import problems
from router.counting.latency import bucket
from serving.errors import InvalidInput
from understudy.bench.manifests import (
    MOST_TARGET,
    Autoscaler,
    Fleet,
    manifests_of,
    plan,
    planned_rate,
)
from understudy.bench.steps import Objective, Step, Window

OBJECTIVE = Objective(0.02, 0.001, 0.05)


def step(rate, latency=0.001, saturation=None, **further):
    count = round(rate)
    seen = Window(1.0, Counter({200: count}), Counter({bucket(latency): count}), **further)
    return Step(rate, seen, saturation=saturation)


KNEE = step(1000, 0.01)
STEPS = [step(500), KNEE, step(1100, 0.08), step(2000, 1.0)]
AT_PLAN = step(700, 0.005, 0.62)


def planned(fleet=Fleet(500, 5000), at_plan=AT_PLAN, steps=STEPS):  # noqa: B008
    return plan("iris", steps, KNEE, at_plan, OBJECTIVE, fleet)


def test_the_target_is_the_saturation_at_the_rate_to_plan_for_and_every_number_says_from_where():
    assert planned_rate(KNEE) == (KNEE, pytest.approx(700))
    found = planned()
    assert (found.target, found.least, found.most) == (0.62, 2, 8)
    kept, at_plan, wanted = found.reasons
    assert "kept p95 <= 20 ms, p99 <= 50 ms and errors <= 0.10% up to 1,000 requests/s (p99 10" in kept
    assert "left it at 1,100/s (p95 8" in kept
    assert "Planned for is 700/s, 70%" in at_plan
    assert "understudy_saturation 0.62: the target." in at_plan
    assert wanted == "500 to 5,000 requests/s were asked for: 2 to 8 such nodes."


def test_where_p99_left_its_limit_first_it_is_named():
    slow_few = Window(1.0, Counter({200: 1200}), Counter({bucket(0.01): 1180, bucket(0.09): 20}))
    assert "left it at 1,200/s (p99 9" in planned(steps=[KNEE, Step(1200, slow_few)]).reasons[0]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([step(500), KNEE], "the highest that was tried"),
        ([KNEE, step(1200, busy=0.99)], "the load generator and not the node was the limit"),
    ],
)
def test_a_limit_that_was_not_found_is_not_made_up(steps, words):
    assert words in planned(steps=steps).reasons[0]


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.integers(1, 10**5), st.floats(0, 1))
def test_so_many_nodes_take_what_is_asked_and_a_target_can_be_left(one, other, rate, saturation):
    fleet = Fleet(min(one, other), max(one, other))
    found = planned(fleet, step(float(rate), saturation=saturation))
    assert 2 <= found.least <= found.most
    assert found.most * rate >= fleet.high * (1 - 1e-9)
    assert found.least * rate >= fleet.low * (1 - 1e-9)
    assert (found.most - 1) * rate < max(fleet.high, rate * 2)
    assert 0 < found.target <= MOST_TARGET
    assert found.target * 1.1 < 1.0, "else Kubernetes would never scale"


def test_without_figures_there_is_no_manifest():
    with pytest.raises(InvalidInput, match="no rate kept the objective"):
        planned_rate(None)
    with pytest.raises(InvalidInput, match="says no understudy_saturation"):
        planned(at_plan=step(700))
    with pytest.raises(InvalidInput, match="the objective was missed"):
        planned(at_plan=step(700, 0.5, 0.6))


@pytest.mark.parametrize(
    "text", ["", "5", "5..", "..5", "9..5", "0..5", "-1..5", "a..b", "1..inf", "nan..5", "1..2..3"]
)
def test_a_fleet_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"is LOW\.\.HIGH"):
        Fleet.read(text)
    assert Fleet.read("500..5000") == Fleet(500, 5000)


def documents(autoscaler, kind="Deployment"):
    text = manifests_of(autoscaler, planned(), kind, "ml")
    assert all(f"# {reason}\n" in text for reason in planned().reasons)
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_an_autoscaler_of_kubernetes_has_the_plan_and_a_rule_that_makes_the_metric(kind):
    autoscaler, rules = documents(Autoscaler.hpa, kind)
    spec = autoscaler["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": kind, "name": "understudy-node"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    [metric] = spec["metrics"]
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "620m"}
    [rule] = yaml.safe_load(rules["data"]["rules.yaml"])
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"]


def test_keda_has_the_plan_and_its_schema_takes_it():
    [scaled] = documents(Autoscaler.keda)
    assert problems(scaled) == []
    spec = scaled["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 8)
    assert spec["triggers"][0]["metadata"]["threshold"] == "0.62"
    assert 'namespace="ml"' in spec["triggers"][0]["metadata"]["query"]
