import json
import os

import pytest
import yaml

from harness.command import told
from harness.pilot import piloted
from router.counting.latency import bucket, edge
from understudy.commands.plan import latency

FILE = """
digits:
  stable: digits/1
  canary:
    model: digits/2
    steps: [{setWeight: 10}, {pause: {duration: 30s}}, {prove: {max: 30m}}, {setWeight: 50}, {pause: {}}]
    mirror: 20
  guards:
    errors: {max: 1%}
    latency: {maxRatio: 1.25}
    agreement: {output: label, min: 98%}
    conversion: {promql: 'orders', min: 10, mode: enforce}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "planned.yaml"
    path.write_text(FILE)
    return path


def plan(*arguments, code=0, admin="http://127.0.0.1:1"):
    environment = {**os.environ, "UNDERSTUDY_CONTROL": admin, "COLUMNS": "200"}
    ended = told("rollouts", "plan", *map(str, arguments), environment=environment)
    assert ended.exit_code == code, (ended.exit_code, ended.stdout, ended.stderr)
    return ended.stdout if code == 0 else ended.stderr


def test_a_file_and_a_given_traffic_need_no_server(file):
    told = json.loads(plan("digits", "-f", file, "--traffic", 200, "--json"))
    assert told["requests_per_second"] == 200
    assert [list(line["step"]) for line in told["steps"]] == [
        ["setWeight"], ["pause"], ["prove"], ["setWeight"], ["pause"],
    ]  # fmt: skip
    proof = told["steps"][2]
    assert 0 < proof["seconds_median"] <= proof["seconds_p95"] <= 1800
    assert proof["passed"] > 0.95
    assert proof["caught"].keys() == {"5% errors", "90% agreement"}
    assert min(proof["caught"].values()) > 0.95
    notes = "; ".join(told["notes"])
    assert "latency: no compute time of stable is known" in notes
    assert "conversion: nobody knows what Prometheus will say" in notes


def test_a_smaller_harm_is_caught_later_and_less_often(file):
    def caught(share):
        told = json.loads(plan("digits", "-f", file, "--traffic", 50, "--harm-errors", share, "--json"))
        return told["steps"][1]["caught"][f"{share} errors"]

    assert caught("2%") < caught("20%")


def test_the_table_names_each_step_and_what_is_left_out(file):
    text = plan("digits", "-f", file, "--traffic", 200)
    for words in ("200 requests/s", "setWeight 10%", "pause 30 s", "prove, at most 30 min", "until resumed",
                  "caught: 5% errors", "left out: latency"):  # fmt: skip
        assert words in text


OUTCOMES = """
digits:
  stable: digits/1
  canary: {model: digits/2, mirror: 50, steps: [{setWeight: 50}, {prove: {}}]}
  outcomes:
    label: {output: label, within: 7d}
    conversion: {kind: binary, within: 10m}
  guards:
    accuracy: {outcome: label, margin: 2%}
    conversions: {outcome: conversion, maxDrop: 5%}
"""


def test_outcomes_are_planned_by_the_shares_that_are_given(tmp_path):
    path = tmp_path / "outcomes.yaml"
    path.write_text(OUTCOMES)
    asked = ["digits", "-f", path, "--traffic", 100]
    given = ["--outcome", "conversion=10%", "--outcome", "label=20%,6%"]
    told = json.loads(plan(*asked, *given, "--json"))
    assert [row["guard"] for row in told["outcomes"]] == ["accuracy", "conversions"]
    assert told["outcomes"][1]["proof"]["outcomes"] > told["outcomes"][1]["harm"]["outcomes"] > 100
    assert told["steps"][1]["seconds_median"] > 600
    text = plan(*asked, *given)
    assert "conversions at 50%: as good a canary is proven after about " in text
    assert "say what share of requests have it: --outcome label=5%" in plan(
        *asked, "--outcome", "conversion=1%"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("clicks=5%", "no outcome of this rollout; it has label, conversion"),
        ("conversion=0", "expected conversion=5%"),
        ("conversion=5%,6%,7%", "expected conversion=5%"),
        ("conversion=often", "expected a percentage"),
    ],
)
def test_a_share_that_cannot_be_is_refused(tmp_path, given, words):
    path = tmp_path / "outcomes.yaml"
    path.write_text(OUTCOMES)
    assert words in plan("digits", "-f", path, "--traffic", 1, "--outcome", given, code=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["other", "--traffic", "5"], "no rollout for model 'other'"),
        (["digits"], "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_planned_is_said_in_a_line(file, arguments, words):
    assert words in plan(*arguments, "-f", file, code=1)


def test_a_harm_that_is_no_share_is_wrong_usage(file):
    assert "expected a percentage" in plan("digits", "-f", file, "--harm-errors", "many", code=2)


def test_a_document_without_steps_cannot_be_planned(file):
    file.write_text("digits: {stable: digits/1}\n")
    assert "no steps to plan" in plan("digits", "-f", file, "--traffic", 5, code=1)


def test_traffic_errors_and_latency_are_measured_at_the_admin_door(node):
    document = yaml.safe_load(FILE)["digits"]
    document["guards"]["conversion"]["mode"] = "observe"
    with piloted(node, "planned", document) as pilot:
        assert "no request in" in plan("planned", "--over", 0.2, code=1, admin=node.admin_url)
        with pilot.load(50):
            told = json.loads(plan("planned", "--over", 2, "--json", admin=node.admin_url))
    assert 25 < told["requests_per_second"] < 75
    assert told["error_rate"] == 0
    assert [note.partition(" queues")[0] for note in told["notes"]] == ["left out: latency:clients:"]
    assert "1.5 times as slow" in told["steps"][0]["caught"]


def test_buckets_of_the_metrics_are_spread_over_those_of_the_guard():
    metrics = "# TYPE understudy_inference_seconds histogram\n" + "".join(
        f'understudy_inference_seconds_bucket{{target="digits/1",le="{edge_}"}} {upto}\n'
        for edge_, upto in (("0.001", 0), ("0.0025", 100), ("0.005", 103), ("+Inf", 103))
    )
    found = latency(metrics, "digits/1")
    assert sum(found.values()) == 103
    assert bucket(0.001) <= min(found)
    assert edge(max(found)) <= 0.005
    assert latency(metrics, "digits/2") == {}


SEVERAL = """
shop:
  stable: digits/1
  candidates: [{model: digits/2, weight: 25}, {model: digits/3, weight: 25}]
  outcomes: {paid: {kind: binary, within: 1h}}
  guards: {errors: {max: 1%}}
  best: {outcome: paid, max: 14d}
"""


def test_several_candidates_are_planned_until_the_best_of_them_is_named(tmp_path):
    path = tmp_path / "several.yaml"
    path.write_text(SEVERAL)
    asked = ["shop", "-f", path, "--traffic", 100]
    told = json.loads(plan(*asked, "--outcome", "paid=10%", "--json"))
    assert [each["target"] for each in told["candidates"]] == ["digits/2", "digits/3"]
    assert told["candidates"][0]["caught"]["5% errors"]["1 h"] > 0.95
    assert told["best"][1]["takes"]["outcomes"] > 100
    text = plan(*asked, "--outcome", "paid=10%", "--ahead", "30%")
    for words in ("taken off in 10 min", "digits/2, 30% ahead of all others, is named after about"):
        assert words in text
    assert "--outcome paid=5%" in plan(*asked)
