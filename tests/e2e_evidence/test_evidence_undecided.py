"""What is missing, broken or late makes a verdict later, never another one."""

import os
import signal

import pytest

from harness.pilot import piloted, rollout
from harness.rows import body
from harness.system import alive, children, eventually

ERRORS = {"errors": {"maxRatio": 1.5, "max": "5%"}}


@pytest.fixture
def up(node):
    return node


def test_without_a_request_nothing_is_proven_and_nothing_is_taken_off(up):
    guards = {**ERRORS, "latency": {"maxRatio": 1.25}, "agreement": {"output": "label", "min": "95%"}}
    with piloted(up, "idle", rollout("digits/2", guards, {"prove": {"max": "3s"}}, mirror=100)) as pilot:
        status = pilot.wait_phase("paused")
        assert status["cause"] == "undecided"
        assert "not proven within 3 s" in status["sentence"]
        for fact in ("no canary request was counted yet", "no 10 pairs", "no answer was compared in label"):
            assert fact in status["sentence"]
        assert {guard["verdict"] for guard in pilot.judgement["guards"]} == {"undecided"}
        assert pilot.history[0]["evidence"]["verdict"] == "undecided"


def test_three_canary_requests_decide_nothing(up):
    with piloted(up, "three", rollout("digits/2", ERRORS, weight=50)) as pilot:
        pilot.wait_step(2)
        while pilot.up.metric("understudy_requests_total", model="three", role="canary") < 3:
            assert up.client.post("/v2/models/three/infer", content=body(0)).status_code == 200
        eventually(lambda: pilot.counted == 3, "the three are counted")
        pilot.look()
        assert pilot.status["phase"] == "progressing"
        assert pilot.guard("errors")["verdict"] == "undecided"
        assert "0 of 3 canary requests failed" in pilot.judgement["reason"]
        assert pilot.guard("errors")["more_to_proof"] > 3


def test_a_promql_guard_without_a_prometheus_decides_nothing(up):
    guards = {
        "errors": {"max": "50%"},
        "orders": {"promql": "vector(1)", "min": 1, "interval": "1s", "mode": "enforce"},
    }
    with piloted(up, "nobody", rollout("digits/2", guards, weight=50)) as pilot:
        with pilot.load(30):
            eventually(lambda: pilot.guard("errors").get("verdict") == "proven", "the other guard is proven")
        pilot.look()
        assert pilot.status["phase"] == "progressing"
        assert pilot.judgement["verdict"] == "undecided"
        assert "Prometheus last gave no value" in pilot.judgement["reason"]


def test_a_worker_that_is_killed_takes_no_count_along_and_makes_no_verdict(up):
    with piloted(up, "worker", rollout("digits/2", {"errors": {"maxRatio": 1.5}}, weight=50)) as pilot:
        with pilot.load(40):
            eventually(lambda: pilot.counted >= 40, "counts")
            [pid] = up.pids("worker")
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not alive(pid), "the worker is gone")
            before = pilot.counted
            eventually(lambda: pilot.counted >= before + 40, "the next worker counts on")
        assert pilot.status["phase"] == "progressing"
        assert pilot.guard("errors")["verdict"] == "undecided"


def test_a_control_that_is_killed_goes_on_at_the_same_step_with_the_same_counts(up):
    with piloted(up, "control", rollout("digits/2", {"errors": {"maxRatio": 1.5}}, weight=50)) as pilot:
        with pilot.load(40):
            eventually(lambda: pilot.counted >= 40, "counts")
            before, stage = pilot.counted, pilot.status["stage"]
            [pid] = children(up.process.popen.pid, "control")
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not alive(pid), "control is gone")
            eventually(lambda: pilot.counted >= before + 20, "the next control has all counts")
            status = pilot.status
        assert (status["phase"], status["step"], status["stage"]) == ("progressing", 2, stage)
        assert "restart" not in pilot.history[0]["reason"]
        assert pilot.history[0]["kind"] == "autopilot"
