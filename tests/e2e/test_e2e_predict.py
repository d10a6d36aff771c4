"""KServe's V1 on a node: the answers of V2, by the same router, counted, mirrored and recorded alike."""

import gzip

import orjson
import pytest

from harness.fences import Reader, fences, matches
from harness.pilot import piloted
from harness.rows import DIGITS, body, digits, outputs_of
from harness.system import ROOT, eventually, running, serving

PAGE = ROOT / "docs" / "migration" / "kserve.md"
RECORDED = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 0, "mirror": 100},
    "compare": {"label": "exact"},
    "outcomes": {"label": {"output": "label", "within": "7d"}},
}


def instances(*rows: int) -> bytes:
    return orjson.dumps({"instances": digits()[list(rows)].tolist()})


def predict(system, model: str, content: bytes, **headers: str):
    return system.client.post(f"/v1/models/{model}:predict", content=content, headers=headers)


def expected(target: str, *rows: int) -> list:
    found = outputs_of(target)
    return [
        {"label": found["label"][row], "probabilities": pytest.approx(found["probabilities"][row], abs=1e-6)}
        for row in rows
    ]


def test_answers_are_those_of_v2_with_target_and_receipt(node):
    with piloted(node, "predict", RECORDED) as pilot:
        eventually(pilot.ready, "the canary is ready")
        answer = predict(node, pilot.model, instances(0, 1, 2), **{"x-request-id": "one"})
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"predictions": expected("digits/1", 0, 1, 2)}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-understudy-target"] == "digits/1"
        assert answer.headers["x-request-id"] == "one"
        told = {"receipt": answer.headers["x-understudy-receipt"], "name": "label", "value": 1}
        assert node.client.post("/v1/outcomes", json=told).json()["accepted"] == 1
        path = f"/v1/models/{pilot.model}:predict?through=asgi"
        assert node.client.post(path, content=instances(0, 1, 2)).json() == answer.json()
        forced = predict(node, pilot.model, instances(5), **{"x-understudy-target": "canary"})
        assert forced.json() == {"predictions": expected("digits/2", 5)}
        assert forced.headers["x-understudy-target"] == "digits/2"
        v2 = node.client.post(pilot.infer, content=body(5)).json()["outputs"]
        one = predict(node, pilot.model, instances(5)).json()["predictions"][0]
        assert [one["label"], *one["probabilities"]] == [*v2[0]["data"], *v2[1]["data"]]  # digit for digit


def test_each_request_is_counted_and_mirrored_once(node):
    with piloted(node, "predict-counted", RECORDED) as pilot:
        eventually(pilot.ready, "the canary is ready")
        for row in range(20):
            assert predict(node, pilot.model, instances(row)).status_code == 200
        eventually(lambda: pilot.metric("requests_total", role="stable") == 20, "all are counted")
        eventually(lambda: pilot.metric("shadow_total", outcome="compared") == 20, "all are compared")


def test_bodies_may_be_compressed_both_ways(node):
    coded = {"content-encoding": "gzip", "accept-encoding": "gzip"}
    answer = predict(node, "digits", gzip.compress(instances(3)), **coded)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == {"predictions": expected("digits/1", 3)}


@pytest.mark.parametrize(
    ("model", "content", "status", "words"),
    [
        ("nothing", b'{"instances": [[1]]}', 404, "unknown model 'nothing'"),
        ("digits", b"{}", 400, "'instances' must be a list"),
        ("digits", b'{"instances": [[1, 2]]}', 400, "'pixels': dimension 1 of the shape is 2"),
        ("digits", b'{"instances": [', 400, "not valid JSON"),
    ],
)
def test_what_is_wrong_is_said_as_in_v2(node, model, content, status, words):
    answer = predict(node, model, content)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_other_methods_and_paths_are_not_there(node):
    assert node.client.get("/v1/models/digits:predict").status_code == 404
    assert node.client.put("/v1/models/digits:predict").status_code == 405
    assert node.client.post("/v1/models/digits:explain").status_code in {404, 405}
    assert node.client.post("/v1/models/digits").headers["allow"] == "GET, HEAD"


def test_models_are_listed_and_ready(node):
    assert "digits" in node.client.get("/v1/models").json()["models"]
    assert node.client.get("/v1/models/digits").json() == {"name": "digits", "ready": True}
    assert node.client.get("/v1/models/nothing").status_code == 404


def test_it_is_recorded_as_v2_is(tmp_path):
    options = ("--records", "log", "--records-roll-seconds", "0.3")
    with running(tmp_path, "digits: {stable: digits/1, record: {sample: 100%}}\n", options=options) as up:
        receipts = [
            predict(up, "digits", instances(7)).headers["x-understudy-receipt"],
            up.client.post(DIGITS, content=body(7)).headers["x-understudy-receipt"],
        ]
        written = {"model": "digits", "kind": "request", "outcome": "written"}
        eventually(lambda: up.metric("understudy_records_total", **written) == 2, "both are written")
        by_receipt = {row["receipt"]: row for row in rows(tmp_path / "log")}
        by_v1, by_v2 = (by_receipt[receipt] for receipt in receipts)
        for column in ("input_pixels", "input_pixels_shape", "output_label", "output_probabilities"):
            assert list(by_v1[column]) == list(by_v2[column])
        assert (by_v1["status_code"], by_v1["role"], by_v1["drawn"]) == (200, "stable", "stable")


def rows(log) -> list[dict]:
    """The rows of a prediction log."""
    import duckdb

    found = duckdb.sql(f"select * from read_parquet('{log}/**/*.parquet', union_by_name=true)")
    return found.df().to_dict("records")


def test_serve_alone_speaks_it_too_as_the_page_says(tmp_path):
    with serving(tmp_path) as server:
        found = predict(server, "digits", instances(*range(100))).json()["predictions"]
        labels = outputs_of("digits/4")["label"][:100]  # the highest version
        assert [row["label"] for row in found] == labels.tolist()
        somebody = Reader(tmp_path, {}, {"localhost:8000": server.url})
        [command, output] = [block for block in fences(PAGE) if block.language in {"sh", "text"}]
        assert matches(output.text, somebody.run(command.text, 30.0))
