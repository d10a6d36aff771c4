"""Points of a real control plane, with a stand-in for its node."""

import time

import orjson
import pytest

import control.dashboard.series
from control.dashboard.series import KEPT_POINTS, Series
from control.fleet.nodes import Nodes
from control.fleet.sight import GONE_SECONDS
from control.rollouts.progress import begin
from control.rollouts.writer import Entry
from router.rollout.parser import parse_one
from router.wire.report import Report
from serving.telemetry.families import SECONDS_BUCKETS

DOCUMENT = b"{stable: digits/1, canary: {model: digits/2, weight: 20}}"


class Rollouts:
    """The part of the door and of the examiner that points are made from."""

    def __init__(self, *models: str) -> None:
        parsed = {model: parse_one(model, DOCUMENT, "test") for model in models}
        self.entries = {model: Entry(rollout, begin(rollout), 1) for model, rollout in parsed.items()}
        self.judgements, self.arms, self.best = {}, {}, {}


def node(answered: dict[str, int], failures: int = 0, name: str = "a") -> Report:
    rows = [
        {
            "model": "digits", "target": target, "role": role, "requests": answered.get(role, 0),
            "failures": failures if role == "canary" else 0,
            "latency": [0] * 9 + [answered.get(role, 0)] + [0] * (len(SECONDS_BUCKETS) - 9),
        }
        for target, role in (("digits/1", "stable"), ("digits/2", "canary"))
    ]  # fmt: skip
    machine = {"cpus": 2, "busy_seconds": 1.0, "memory_bytes": 2, "available_bytes": 1}
    use = {"answered": rows, "compared": [], "processes": [], "machine": machine}
    return Report(instance=name, node=name, kind="node", revision=1, wait=0, use=use)


class Clock:
    """Seconds that the test moves."""

    at = 1000.0


@pytest.fixture
def told():
    nodes, rollouts, clock = Nodes(), Rollouts("digits", "iris"), Clock()
    return nodes, rollouts, clock, Series(rollouts, nodes, rollouts, lambda: clock.at)


def points(series: Series, model: str = "digits", since: float = 0.0):
    return orjson.loads(series.json(model, since))


def test_shares_rates_and_latencies_follow_from_two_reports(told):
    nodes, _, clock, series = told
    nodes.hear(node({"stable": 100, "canary": 100}), clock.at)
    series.look(clock.at)
    clock.at += 1
    nodes.hear(node({"stable": 130, "canary": 110}, failures=5), clock.at)
    series.look(clock.at)
    first, second = points(series)
    assert [row["share"] for row in first["targets"]] == [None, None]
    stable, canary = second["targets"]
    assert (stable["target"], stable["role"], stable["share"]) == ("digits/1", "stable", 75)
    assert (canary["requests_per_second"], canary["failures_per_second"]) == (10, 5)
    assert SECONDS_BUCKETS[8] < stable["p50_seconds"] < stable["p99_seconds"] <= SECONDS_BUCKETS[9]
    assert (second["weight"], second["at"]) == (20, 1001)
    assert points(series, since=1000.5) == [second]
    assert points(series, "iris")[-1]["targets"][0]["requests_per_second"] == 0
    assert points(series, "unknown") == []


def test_a_node_that_is_gone_no_longer_counts_and_a_new_one_starts_from_nothing(told):
    nodes, _, clock, series = told
    for requests in (0, 50):
        clock.at += 1
        nodes.hear(node({"stable": requests}), clock.at)
        series.look(clock.at)
    assert points(series)[-1]["targets"][0]["requests_per_second"] == 50
    clock.at += GONE_SECONDS
    series.look(clock.at)
    assert points(series)[-1]["targets"][0]["requests_per_second"] == 0
    nodes.hear(node({"stable": 10_000}, name="b"), clock.at)
    series.look(clock.at)
    assert points(series)[-1]["targets"][0]["requests_per_second"] == 0


def test_what_is_kept_is_bounded_and_goes_with_its_rollout(told, monkeypatch):
    _, rollouts, clock, series = told
    for _ in range(KEPT_POINTS + 10):
        clock.at += 1
        series.look(clock.at)
    assert len(points(series)) == KEPT_POINTS
    assert len(series.json("digits", 0)) < 1 << 20
    monkeypatch.setattr(control.dashboard.series, "MAX_POINTS", 20)
    series.look(clock.at + 1)
    assert len(points(series)) == len(points(series, "iris")) == 10
    del rollouts.entries["iris"]
    series.look(clock.at + 2)
    assert points(series, "iris") == []
    assert series.last("iris") is None


def test_a_look_at_a_thousand_rollouts_is_quick():
    rollouts, nodes = Rollouts(*(f"m{number}" for number in range(1000))), Nodes()
    series = Series(rollouts, nodes, rollouts, time.time)
    began = time.process_time()
    series.look(1.0)
    assert time.process_time() - began < 0.5
