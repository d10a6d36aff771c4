"""Targets behind URLs: another Understudy, and servers that misbehave in every way."""

from typing import get_args

import numpy as np
import pytest

from harness.hostile import DIGITS as METADATA
from harness.hostile import Manner, hostile
from harness.load import Load
from harness.pilot import piloted
from harness.raw import ask_all, request, tally
from harness.rows import body, outputs_of
from harness.system import eventually, serving

MISBEHAVING = [manner for manner in get_args(Manner) if manner != "well"]
STATUS = {"503": 503, "hang": 504, "close": 503, "reset": 503}


def half(url, stable="digits/1", timeout="200ms"):
    """Half of the requests to a canary there."""
    canary = {"model": "digits/2", "url": url, "weight": 50}
    return {"stable": stable, "canary": canary, "timeout": timeout}


def asked(pilot, number=40, connections=1):
    """How many answers of each status and target to some digits."""
    return tally(ask_all(pilot.up.port, (request(pilot.infer, body(n)) for n in range(number)), connections))


def test_another_server_answers_as_stable_and_as_canary_what_its_model_says(node, tmp_path):
    with serving(tmp_path) as other:
        document = half(other.url, {"model": "digits/1", "url": other.url}, "2s")
        with piloted(node, "elsewhere", document) as pilot:
            eventually(pilot.ready, "ready")
            seen = set()
            for number in range(60):
                answer = node.client.post(pilot.infer, content=body(number))
                assert answer.status_code == 200
                key = answer.headers["x-understudy-target"]
                seen.add(key)
                expected = outputs_of(key.partition("@")[0])
                for output in answer.json()["outputs"]:
                    given = np.array(output["data"], expected[output["name"]].dtype)
                    np.testing.assert_array_equal(given, expected[output["name"]][number])
            assert seen == {"digits/1", "digits/2"}, "without the URLs behind them"
            for key in seen:
                assert pilot.metric("requests_total", target=f"{key}@{other.url}", code="200") > 0
            assert pilot.metric("requests_total") == 60
            metadata = node.client.get("/v2/models/elsewhere").json()
            assert metadata["inputs"][0]["name"] == "pixels"


@pytest.fixture(scope="module")
def canary(node):
    with hostile() as server, piloted(node, "url-canary", half(server.url)) as pilot:
        eventually(pilot.ready, "ready")
        yield server, pilot


@pytest.fixture(scope="module")
def stable(node):
    with hostile() as server:
        document = {"stable": {"model": "digits/2", "url": server.url}, "timeout": "200ms"}
        with piloted(node, "url-stable", document) as pilot:
            eventually(pilot.ready, "ready")
            yield server, pilot


@pytest.mark.parametrize("manner", MISBEHAVING)
def test_stable_answers_for_a_canary_that_misbehaves(manner, canary):
    server, pilot = canary
    key = f"digits/2@{server.url}"
    eventually(lambda: asked(pilot, 4)[200, "digits/2"] > 0, "the canary answers")
    counted = pilot.metric("requests_total", target=key, code="200")
    server.manner = manner
    try:
        before = pilot.metric("failover_total", target=key)
        while pilot.metric("failover_total", target=key) < before + 3:
            assert asked(pilot, 4) == {(200, "digits/1"): 4}
        assert pilot.metric("requests_total", target=key, code="200") == counted
    finally:
        server.manner = "well"


def test_a_canary_that_keeps_failing_is_ejected_and_tried_again(canary):
    server, pilot = canary
    key = f"digits/2@{server.url}"
    server.manner = "500"
    try:
        ejected = pilot.up.metric("understudy_ejections_total", target=key)
        refused = pilot.metric("failover_total", target=key, reason="ejected")
        eventually(
            lambda: (
                set(asked(pilot)) == {(200, "digits/1")}
                and pilot.up.metric("understudy_ejections_total", target=key) > ejected
                and pilot.metric("failover_total", target=key, reason="ejected") > refused
            ),
            "ejected",
        )
    finally:
        server.manner = "well"
    eventually(lambda: asked(pilot, 4)[200, "digits/2"] > 0, "the canary answers again")


def test_a_canary_of_another_signature_gets_no_request(node):
    with hostile() as server:
        server.metadata = {**METADATA, "inputs": [{"name": "pixels", "datatype": "FP64", "shape": [-1, 64]}]}
        with piloted(node, "other-signature", half(server.url)) as pilot:

            def refused():
                told = [t["problems"] for t in pilot.view["targets"] if t["role"] == "canary"]
                return any("FP64" in problem for problems in told for problem in problems.values())

            eventually(refused, "the view says why")
            assert asked(pilot) == {(200, "digits/1"): 40}
            assert server.asked == 0
            key = f"digits/2@{server.url}"
            assert pilot.metric("failover_total", target=key, reason="not_ready") > 0


@pytest.mark.parametrize("manner", MISBEHAVING)
def test_a_stable_that_misbehaves_gives_a_clean_error_that_is_counted(manner, stable):
    server, pilot = stable
    key = f"digits/2@{server.url}"
    eventually(lambda: asked(pilot, 1) == {(200, "digits/2"): 1}, "stable answers")
    status = STATUS.get(manner, 502)
    before = pilot.metric("requests_total", target=key, code=str(status))
    server.manner = manner
    try:
        answer = pilot.up.client.post(pilot.infer, content=body(0))
    finally:
        server.manner = "well"
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert pilot.metric("requests_total", target=key, code=str(status)) == before + 1


def test_how_servers_are_asked_is_edited_under_load_and_no_client_notices(node):
    with hostile() as server:
        document = half(server.url, {"model": "digits/1", "url": server.url}, "10s")
        with piloted(node, "url-edited", document) as pilot:
            eventually(pilot.ready, "ready")
            with Load(node.url + pilot.infer, 40, lambda number: ({}, body(number % 40))) as load:
                for number in range(1, 4):
                    asked = {"connections": number, "headers": {"x-tenant": f"t{number}"}}
                    for side in ("stable", "canary"):
                        document[side]["server"] = asked
                    revision = pilot.put(document)
                    eventually(lambda wanted=revision: in_force(pilot, wanted), "in force")
                    eventually(lambda name=asked["headers"]["x-tenant"]: server.tenant == name, "asked so")
            assert load.ledger.statuses.keys() == {200}, load.ledger.errors
            assert {each["sha256"] for each in pilot.view["targets"]} == {"unpinned"}


def in_force(pilot, revision):
    return pilot.view["revision"] == revision and pilot.view["in_force_everywhere"]
