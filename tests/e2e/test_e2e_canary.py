"""A canary that dies, stops or fails costs no client anything."""

import os
import shutil
import signal

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.load import Load
from harness.raw import ask_all, request, tally
from harness.rows import DIGITS, body, plain
from harness.system import MODELS, eventually, running

HALF = """
digits:
  stable: digits/1
  canary: {model: digits/2, weight: 50}
  timeout: 300ms
"""
FAILING = """
digits:
  stable: digits/1
  canary: {model: digits/9, weight: 50}
"""


def failing_model() -> bytes:
    """With the signature of the digits; it fails on every image that is not empty, and so not in warm-up."""
    weights = numpy_helper.from_array(np.ones((64, 10), "f4"), "weights")
    only = numpy_helper.from_array(np.zeros(1, "f4"), "only")
    nodes = [
        helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["only", "index"], ["nothing"]),
        helper.make_node("MatMul", ["pixels", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "nothing"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "failing",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 64])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ],
        [weights, only],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with running(tmp_path_factory.mktemp("canary"), HALF) as up:
        yield up


def test_killing_the_canary_again_and_again_under_load_fails_no_request(up):
    with Load(up.url + DIGITS, 150, plain) as load:
        for _ in range(3):
            share = load.ledger.targets["digits/2"]
            eventually(lambda: load.ledger.targets["digits/2"] > share + 30, "canary answers")  # noqa: B023
            (pid,) = eventually(lambda: up.pids("sandbox", "digits/2"), "sandbox reports")
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: up.pids("sandbox", "digits/2") not in ([], [pid]), "another sandbox")  # noqa: B023
        share = load.ledger.targets["digits/2"]
        eventually(lambda: load.ledger.targets["digits/2"] > share + 30, "canary answers again")
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        for target in ("digits/1", "digits/2"):
            counted = up.metric("understudy_requests_total", target=target, code="200")
            assert counted == ledger.targets[target]
        assert up.metric("understudy_requests_total") == ledger.sent
        assert up.metric("understudy_failover_total", target="digits/2") > 0


def test_a_stopped_canary_is_ejected_and_comes_back_when_it_runs_again(up):
    before = up.metric("understudy_requests_total", code="200")
    with Load(up.url + DIGITS, 100, plain) as load:
        eventually(lambda: load.ledger.targets["digits/2"] > 30, "canary answers")
        (pid,) = up.pids("sandbox", "digits/2")
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: up.metric("understudy_failover_total", reason="timeout") > 0, "timed out")
            eventually(lambda: up.metric("understudy_ejections_total", target="digits/2") > 0, "ejected")
            eventually(lambda: up.metric("understudy_failover_total", reason="ejected") > 0, "refused")
            eventually(lambda: up.metric("understudy_failover_total", reason="not_ready") > 0, "not ready")
        finally:
            os.kill(pid, signal.SIGCONT)
        share = load.ledger.targets["digits/2"]
        eventually(lambda: load.ledger.targets["digits/2"] > share + 30, "canary answers again")
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        assert up.metric("understudy_requests_total", code="200") == before + ledger.sent


def test_a_canary_that_always_fails_is_answered_for_by_stable(tmp_path):
    models = tmp_path / "models"
    shutil.copytree(MODELS / "digits" / "1", models / "digits" / "1")
    (models / "digits" / "9").mkdir()
    (models / "digits" / "9" / "model.onnx").write_bytes(failing_model())
    with running(tmp_path, FAILING, models=models) as up:
        answers = tally(ask_all(up.port, (request(DIGITS, body(n)) for n in range(300)), connections=4))
        assert answers == {(200, "digits/1"): 300}
        assert up.metric("understudy_requests_total") == 300
        assert up.metric("understudy_failover_total", target="digits/9") > 0
        forced = iter([request(DIGITS, body(0), {"x-understudy-target": "canary"})])
        assert tally(ask_all(up.port, forced)) == {(400, ""): 1}
