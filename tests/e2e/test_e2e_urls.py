"""Targets behind URLs: another Understudy, and servers that misbehave in every way."""

from typing import get_args

import numpy as np
import pytest

from harness.hostile import DIGITS as METADATA
from harness.hostile import Manner, hostile
from harness.raw import ask_all, request, tally
from harness.rows import DIGITS, body, outputs_of
from harness.system import eventually, running, serving

ROLLOUT = """
digits:
  stable: %s
  canary: {model: digits/2%s, weight: 50}
  timeout: 200ms
"""
MISBEHAVING = [manner for manner in get_args(Manner) if manner != "well"]
STATUS = {"503": 503, "hang": 504, "close": 503, "reset": 503}


def asked(up, number=40, connections=1):
    """How many answers of each status and target to some digits."""
    return tally(ask_all(up.port, (request(DIGITS, body(n)) for n in range(number)), connections))


def test_another_server_answers_as_stable_and_as_canary_what_its_model_says(tmp_path):
    with serving(tmp_path) as other:
        text = ROLLOUT % (f"{{model: digits/1, url: '{other.url}'}}", f", url: '{other.url}'")
        with running(tmp_path, text.replace("200ms", "2s")) as up:
            seen = set()
            for number in range(60):
                answer = up.client.post(DIGITS, content=body(number))
                assert answer.status_code == 200
                key = answer.headers["x-understudy-target"]
                seen.add(key)
                expected = outputs_of(key.partition("@")[0])
                for output in answer.json()["outputs"]:
                    given = np.array(output["data"], expected[output["name"]].dtype)
                    np.testing.assert_array_equal(given, expected[output["name"]][number])
            assert seen == {"digits/1", "digits/2"}, "without the URLs behind them"
            for key in seen:
                assert up.metric("understudy_requests_total", target=f"{key}@{other.url}", code="200") > 0
            assert up.metric("understudy_requests_total") == 60
            metadata = up.client.get("/v2/models/digits").json()
            assert metadata["inputs"][0]["name"] == "pixels"


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    with hostile() as server:
        text = ROLLOUT % ("digits/1", f", url: '{server.url}'")
        with running(tmp_path_factory.mktemp("canary"), text) as up:
            yield server, up


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    with hostile() as server:
        text = f"digits:\n  stable: {{model: digits/2, url: '{server.url}'}}\n  timeout: 200ms\n"
        with running(tmp_path_factory.mktemp("stable"), text) as up:
            yield server, up


@pytest.mark.parametrize("manner", MISBEHAVING)
def test_stable_answers_for_a_canary_that_misbehaves(manner, canary):
    server, up = canary
    key = f"digits/2@{server.url}"
    eventually(lambda: asked(up, 4)[200, "digits/2"] > 0, "the canary answers")
    counted = up.metric("understudy_requests_total", target=key, code="200")
    server.manner = manner
    try:
        before = up.metric("understudy_failover_total", target=key)
        while up.metric("understudy_failover_total", target=key) < before + 3:
            assert asked(up, 1) == {(200, "digits/1"): 1}
        assert up.metric("understudy_requests_total", target=key, code="200") == counted
    finally:
        server.manner = "well"


def test_a_canary_that_keeps_failing_is_ejected_and_tried_again(canary):
    server, up = canary
    key = f"digits/2@{server.url}"
    server.manner = "500"
    try:
        ejected = up.metric("understudy_ejections_total", target=key)
        refused = up.metric("understudy_failover_total", target=key, reason="ejected")
        eventually(
            lambda: (
                set(asked(up)) == {(200, "digits/1")}
                and up.metric("understudy_ejections_total", target=key) == ejected + 1
                and up.metric("understudy_failover_total", target=key, reason="ejected") > refused
            ),
            "ejected",
        )
    finally:
        server.manner = "well"
    eventually(lambda: asked(up, 4)[200, "digits/2"] > 0, "the canary answers again")


def test_a_canary_of_another_signature_gets_no_request(tmp_path):
    with hostile() as server:
        server.metadata = {**METADATA, "inputs": [{"name": "pixels", "datatype": "FP64", "shape": [-1, 64]}]}
        text = ROLLOUT % ("digits/1", f", url: '{server.url}'")
        with running(tmp_path, "digits: {stable: digits/1}") as up:
            up.edit(text)
            key = f"digits/2@{server.url}"

            def refused():
                told = [t["problems"] for t in up.view("digits")["targets"] if t["role"] == "canary"]
                return any("FP64" in problem for problems in told for problem in problems.values())

            eventually(refused, "the view says why")
            assert asked(up) == {(200, "digits/1"): 40}
            assert server.asked == 0
            assert up.metric("understudy_failover_total", target=key, reason="not_ready") > 0


@pytest.mark.parametrize("manner", MISBEHAVING)
def test_a_stable_that_misbehaves_gives_a_clean_error_that_is_counted(manner, stable):
    server, up = stable
    key = f"digits/2@{server.url}"
    eventually(lambda: asked(up, 1) == {(200, "digits/2"): 1}, "stable answers")
    status = STATUS.get(manner, 502)
    before = up.metric("understudy_requests_total", target=key, code=str(status))
    server.manner = manner
    try:
        answer = up.client.post(DIGITS, content=body(0))
    finally:
        server.manner = "well"
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert up.metric("understudy_requests_total", target=key, code=str(status)) == before + 1
