"""MLServer, KServe's Python server and ours as stable and canary of each other, through a node."""

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as triton

from harness.load import Load
from harness.model_servers import INFER
from harness.pilot import piloted
from harness.raw import ask_all, request, tally
from harness.system import eventually, stopped

ROWS = np.random.default_rng(1).uniform(0, 8, (40, 4)).astype(np.float32)
PAIRS = [("mlserver", "kserve"), ("kserve", "ours"), ("ours", "mlserver")]
VERSIONS = {"stable": 1, "canary": 2}


def body(number, **parameters):
    row = ROWS[number % len(ROWS)]
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": row.tolist()}
    return orjson.dumps({"id": f"r{number}", "inputs": [tensor], "parameters": parameters})


def side(server, role, **more):
    name, version = ("flowers", "1") if hasattr(server, "client") else ("flowers", "none")
    asked = {"name": name, "version": version}
    return {"model": f"flowers/{VERSIONS[role]}", "url": server.url, "server": asked, **more}


def document(stable, canary, weight=50, mirror=0, **more):
    return {
        "stable": side(stable, "stable"),
        "canary": side(canary, "canary", weight=weight, mirror=mirror),
        "timeout": "20s",
        **more,
    }


def asked_of(server, number):
    answer = httpx.post(
        server.url + INFER,
        content=body(number),
        headers={"content-type": "application/json"},
        trust_env=False,
    )
    return answer.raise_for_status().json()


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_a_client_is_answered_is_what_the_server_says(one, other, node, servers):
    sides = {"flowers/1": servers[one], "flowers/2": servers[other]}
    with piloted(node, f"pair-{one}", document(*sides.values())) as pilot:
        eventually(pilot.ready, "ready")
        seen = set()
        for number in range(30):
            answer = node.client.post(pilot.infer, content=body(number)).raise_for_status()
            seen.add(key := answer.headers["x-understudy-target"])
            assert answer.json() == asked_of(sides[key], number)
        assert seen == sides.keys()
        for role, key in zip(VERSIONS, sides, strict=True):
            counted = pilot.metric("requests_total", target=f"{key}@{sides[key].url}", role=role)
            assert counted > 0
        assert pilot.metric("requests_total") == 30
        assert {each["sha256"] for each in pilot.view["targets"]} == {"unpinned"}


@pytest.mark.parametrize(("canary", "good"), [("kserve", True), ("wrong", False)])
def test_mirrored_requests_are_compared_and_judged(canary, good, node, servers):
    guards = {"agreement": {"output": "label", "min": 0.9, "mode": "observe"}}
    found = document(servers["mlserver"], servers[canary], 0, 100, guards=guards, compare={"label": "exact"})
    verdict = "proven" if good else "harmful"
    with piloted(node, f"mirrored-{canary}", found) as pilot:
        eventually(pilot.ready, "ready")

        def judged():
            requests = (request(pilot.infer, body(n)) for n in range(40))
            assert tally(ask_all(node.port, requests, 4)).keys() == {(200, "flowers/1")}
            return pilot.guard("agreement:label").get("verdict") == verdict

        eventually(judged, f"it is {verdict}", 120.0)
        verdicts = {"same": 0, "different": 0}
        for each in verdicts:
            verdicts[each] = pilot.metric("comparison_total", output="label", verdict=each)
        assert (verdicts["same"] > 0, verdicts["different"] > 0) == (good, not good)


@pytest.mark.parametrize("name", ["mlserver", "kserve", "ours"])
def test_a_client_with_binary_tensors_is_answered_by_each(name, node, servers):
    found = {"stable": side(servers[name], "stable"), "timeout": "20s"}
    with piloted(node, f"binary-{name}", found) as pilot:
        eventually(pilot.ready, "ready")
        client = triton.InferenceServerClient(f"127.0.0.1:{node.port}")
        features = triton.InferInput("features", ROWS.shape, "FP32")
        features.set_data_from_numpy(ROWS, binary_data=True)
        wanted = [triton.InferRequestedOutput(each, binary_data=True) for each in ("label", "name")]
        answer = client.infer(pilot.model, [features], outputs=wanted)
        client.close()
        direct = [asked_of(servers[name], number)["outputs"] for number in range(len(ROWS))]
        values = {each["name"]: [] for each in direct[0]}
        for outputs in direct:
            for each in outputs:
                values[each["name"]] += each["data"]
        assert answer.as_numpy("label").tolist() == values["label"]
        names = [each.decode() if isinstance(each, bytes) else each for each in answer.as_numpy("name")]
        assert names == values["name"]


@pytest.mark.parametrize("name", ["mlserver", "kserve"])
def test_a_failure_of_the_model_is_hidden_by_stable_and_what_is_no_request_is_told(name, node, servers):
    found = document(servers["ours"], servers[name], 50)
    with piloted(node, f"fails-{name}", found) as pilot:
        eventually(pilot.ready, "ready")
        alone = {"x-understudy-target": "canary"}
        answer = node.client.post(pilot.infer, content=body(0, fail=True), headers=alone)
        assert answer.status_code == 502
        assert "Traceback" not in answer.text
        told = node.client.post(pilot.infer, content=b'{"inputs": 3}', headers=alone)
        assert told.status_code in {400, 422}
        assert "list" in told.json()["error"]
        failing = (request(pilot.infer, body(n, fail=True)) for n in range(30))
        assert tally(ask_all(node.port, failing, 1)).keys() == {(200, "flowers/1")}


@pytest.mark.parametrize("name", ["mlserver", "kserve"])
def test_a_slow_server_is_given_its_time_and_no_more(name, node, servers):
    found = document(servers["ours"], servers[name], 50)
    found["canary"]["server"]["timeout"] = "300ms"
    with piloted(node, f"slow-{name}", found) as pilot:
        eventually(pilot.ready, "ready")
        slow = (request(pilot.infer, body(n, sleep=30)) for n in range(6))
        assert tally(ask_all(node.port, slow, 6)).keys() == {(200, "flowers/1")}


def test_a_server_that_is_killed_or_stopped_costs_no_answer_and_comes_back(node, servers):
    server = servers["kserve"]
    found = document(servers["mlserver"], server, 50)
    found["canary"]["server"] |= {"timeout": "500ms", "health": {"interval": "200ms"}, "eject": {"after": 3}}
    key = f"flowers/2@{server.url}"
    with piloted(node, "killed", found) as pilot:
        eventually(pilot.ready, "ready")

        def answered():
            return pilot.metric("requests_total", target=key, code="200")

        with Load(node.url + pilot.infer, 20, lambda number: ({}, body(number)), timeout=60.0) as load:
            eventually(answered, "the canary answers")
            ejected = pilot.metric("failover_total", target=key)
            with stopped(server.pid):
                eventually(lambda: pilot.metric("failover_total", target=key) > ejected + 5, "stable answers")
            server.kill()
            reasons = {"not_ready", "ejected"}
            before = {each: pilot.metric("failover_total", target=key, reason=each) for each in reasons}
            eventually(
                lambda: any(
                    pilot.metric("failover_total", target=key, reason=each) > before[each] for each in reasons
                ),
                "it is left out",
            )
            server.begin()
            server.wait_ready()
            good = answered()
            eventually(lambda: answered() > good, "the canary answers again")
        assert load.ledger.statuses.keys() == {200}, load.ledger.errors
