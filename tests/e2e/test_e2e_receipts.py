"""Receipts on real answers: on every wire, of either role, on failures; control reads them, nobody a key."""

import contextlib
import gzip
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from harness.control import is_problem
from harness.pilot import piloted
from harness.rows import DIGITS, body, digits
from harness.system import eventually
from router.counting.split import key_hash

NAME = "x-understudy-receipt"
RECORDED = {"stable": "digits/1", "record": {"sample": "100%"}, "sticky": {"header": "x-user"}}
BINARY = "inference-header-content-length"


def canary(model, weight):
    return {**RECORDED, "canary": {"model": model, "weight": weight}}


def binary(row) -> tuple[bytes, dict[str, str]]:
    size = {"binary_data_size": row.nbytes}
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(row.shape), "parameters": size}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return head + row.tobytes(), {BINARY: str(len(head))}


def said(up, answer):
    """What control says of an answer's receipt."""
    return up.admin.get(f"/v1/receipts/{answer.headers[NAME]}").raise_for_status().json()


def secrets(up) -> list[bytes]:
    """The keys that control keeps."""
    with contextlib.closing(sqlite3.connect(up.folder / "state" / "state.db")) as database:
        return [secret for (secret,) in database.execute("SELECT secret FROM receipt_keys")]


def test_every_answer_has_a_receipt_whatever_the_wire_and_whoever_answered(two):
    json, (content, lengths) = body(0), binary(digits()[:1])
    by_stable, by_canary = {"x-understudy-target": "stable"}, {"x-understudy-target": "canary"}
    with piloted(two, "receipts", canary("digits/2", 100)) as pilot:
        eventually(pilot.ready, "the canary is ready")
        asked = [
            (pilot.infer, json, {}, "canary", "canary", 200),
            (pilot.infer, content, lengths, "canary", "canary", 200),
            (pilot.infer, gzip.compress(json), {"content-encoding": "gzip"}, "canary", "canary", 200),
            (pilot.infer, json, {"accept-encoding": "gzip"}, "canary", "canary", 200),
            (pilot.infer + "?through=asgi", json, {"x-user": "u1"}, "canary", "canary", 200),
            (pilot.infer, json, by_stable, "stable", None, 200),
            (pilot.infer, content, by_stable | lengths, "stable", None, 200),
            (f"/v2/models/{pilot.model}/versions/1/infer", json, {}, "stable", None, 200),
            (pilot.infer, json, by_canary, "canary", None, 200),
            (pilot.infer, b"{}", by_stable, "stable", None, 400),
            (pilot.infer + "?through=asgi", b"{}", by_stable, "stable", None, 400),
            (pilot.infer, b"{}", {}, "stable", "canary", 400),
        ]
        for path, content_, headers, role, drawn, status in asked:
            before = time.time()
            answer = two.client.post(path, content=content_, headers=headers)
            assert answer.status_code == status, answer.text
            found = said(two, answer)
            assert (found["model"], found["role"], found["drawn"]) == (pilot.model, role, drawn), path
            assert (found["stage"], found["node"]) == (pilot.status["stage"], "local")
            assert found["arrived"] == pytest.approx(before, abs=10.0)
            user = headers.get("x-user")
            assert found["sticky_key_hash"] == (f"{key_hash(user.encode()):016x}" if user else "")


def test_receipts_of_requests_that_share_runs_are_all_different(two):
    with piloted(two, "receipts-apart", RECORDED) as pilot, ThreadPoolExecutor(16) as many:
        answers = list(many.map(lambda _: two.client.post(pilot.infer, content=body(0)), range(100)))
        receipts = {answer.headers[NAME] for answer in answers}
        assert len(receipts) == 100
        assert {said(two, answer)["drawn"] for answer in answers[:5]} == {"stable"}


def test_a_request_that_falls_over_stays_with_the_side_that_was_drawn(node):
    with piloted(node, "receipts-failing", canary("digits/9", 100)) as pilot:
        eventually(pilot.ready, "the canary is ready")
        answer = node.client.post(pilot.infer, content=body(0))
        found = said(node, answer)
        assert (answer.status_code, found["role"], found["drawn"]) == (200, "stable", "canary")


def test_a_rollout_that_does_not_ask_has_none_and_what_is_no_receipt_is_refused(node):
    answer = node.client.post(DIGITS, content=body(0))
    assert answer.status_code == 200
    assert NAME not in answer.headers
    for text in ("A" * 72, "x", "%20" * 72):
        assert "receipt" in is_problem(node.admin.get(f"/v1/receipts/{text}"), 400)["detail"]


def test_a_person_rotates_the_key_and_the_receipts_before_are_taken(node):
    with piloted(node, "receipts-rotated", RECORDED) as pilot:
        before = node.client.post(pilot.infer, content=body(0))
        made = node.admin.post("/v1/receipt-keys").raise_for_status().json()
        assert len(secrets(node)) >= 2

        def signs():
            after = node.client.post(pilot.infer, content=body(0)).headers[NAME]
            return after[:3] != before.headers[NAME][:3]

        eventually(signs, f"key {made['id']} signs")
        assert said(node, before)["model"] == pilot.model


def test_keys_are_told_to_nodes_only(node):
    with piloted(node, "receipts-secret", RECORDED) as pilot:
        node.client.post(pilot.infer, content=body(0)).raise_for_status()
        paths = node.admin.get("/openapi.json").json()["paths"]
        reading = [path for path, methods in paths.items() if "get" in methods and path != "/v1/events"]
        texts = [node.admin.get(path.replace("{model}", pilot.model)).content for path in reading]
        texts += [file.read_bytes() for file in node.folder.glob("*.log")]
        state = node.folder / "state"
        for secret in secrets(node):
            for form in (secret, secret.hex().encode(), orjson.dumps(secret.decode("latin-1"))[1:-1]):
                assert not any(form in text for text in texts)
        kept = state / "receipt-keys.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert all(secret.hex() in kept.read_text() for secret in secrets(node))
        assert len(reading) > 12
