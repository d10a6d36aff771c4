"""What a document redacts is in no file, log, example or metric; the same search finds what it does not."""

import struct

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from harness.rows import digits, outputs_of
from harness.system import eventually, running

NAMES = ("pixels", "probabilities")
ROLLOUTS = """
secret:
  stable: digits/1
  canary: {model: digits/3, mirror: 100}
  examples: {inputs: true, redact: [pixels, probabilities]}
  record: {}
open:
  stable: digits/1
  canary: {model: digits/3, mirror: 100}
  examples: {inputs: true}
  record: {}
"""
OPTIONS = ("--workers", "1", "--log-level", "debug", "--records", "log", "--records-roll-seconds", "0.2")
ROWS = 40


def rows(seed):
    """Eights, which digits/3 takes for threes, each with two pixels that nobody else has."""
    labels = outputs_of("digits/1")["label"]
    found = digits()[labels == 8][:ROWS].astype(np.float32)
    found[:, :2] = np.random.default_rng(seed).uniform(0.01, 0.02, (len(found), 2))
    return found


def asked(up, name, row, way):
    """Send a row, in JSON or binary, or so that it is refused with all its values in hand; the answer."""
    tensor = {"name": "pixels", "shape": [1, 64], "datatype": "FP32"}
    url, data = f"/v2/models/{name}/infer", row.astype(np.float32)
    if way == "binary":
        tensor["parameters"] = {"binary_data_size": data.nbytes}
        head = orjson.dumps({"inputs": [tensor]})
        headers = {"inference-header-content-length": str(len(head))}
        return up.client.post(url, content=head + data.tobytes(), headers=headers)
    tensor["data"] = [float(value) for value in data]
    if way == "another type":
        tensor["datatype"] = "FP64"
    if way == "another shape":
        tensor["shape"] = [1, 63]
    return up.client.post(url, content=orjson.dumps({"inputs": [tensor]}))


def traces(values):
    """How two numbers that stand beside each other may be written: as bytes, and in digits."""
    pair = [float(value) for value in values[:2]]
    texts = {repr(pair[0])[:9].encode(), str(np.float32(pair[0]))[:9].encode()}
    if min(map(len, texts)) < 8 or not all(pair):
        return set()  # 1.0 is in many places
    return {struct.pack("<2f", *pair), struct.pack("<2d", *pair), *texts}


def sent(up, name, seed):
    """Ask in every way; the traces that inputs and outputs may leave."""
    left = set()
    for number, row in enumerate(rows(seed)):
        way = ("json", "binary")[number % 2]
        answer = asked(up, name, row, way)
        assert answer.status_code == 200
        outputs = {each["name"]: each["data"] for each in answer.json()["outputs"]}
        left |= traces(row) | traces(outputs["probabilities"][8:])
        for refused in ("another type", "another shape"):
            assert asked(up, name, row, refused).status_code == 400
    return left


def told(up, name):
    """All that can be read of a system, by where it is."""
    for path in up.folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    for path in (up.folder / "log").glob(f"model={name}/**/*.parquet"):
        table = pq.read_table(path, partitioning=None).to_pylist()
        yield f"{path}, decoded", repr(table).encode() + b"".join(map(_values, table))
    for url in ("", "/examples?limit=1000", "/evidence", "/history", "/series"):
        yield url or "rollout", up.admin.get(f"/v1/rollouts/{name}{url}").raise_for_status().content
    for url in ("/metrics", "/v1/nodes", "/v1/load"):
        yield url, up.admin.get(url).raise_for_status().content


def _values(row):
    """Tensors of a row as bytes, as a reader has them."""
    lists = [row.get(f"{side}_{name}") for side in ("input", "output") for name in NAMES]
    return b"".join(np.float32(each).tobytes() for each in lists if each)


def found(up, name, left):
    return {where for where, text in told(up, name) if any(trace in text for trace in left)}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A node that was asked for both, after its end, and the places where something of each is."""
    with running(tmp_path_factory.mktemp("redacted"), ROLLOUTS, options=OPTIONS) as up:
        left = {name: sent(up, name, seed) for seed, name in enumerate(("secret", "open"))}
        for name in left:
            eventually(
                lambda name=name: (
                    up.metric("understudy_shadow_total", model=name, outcome="compared") >= ROWS / 2
                ),
                "mirrored requests were compared",
            )
            eventually(
                lambda name=name: not up.metric("understudy_records_pending", model=name), "all is written"
            )
        eventually(
            lambda: up.admin.get("/v1/rollouts/open/examples").json()["examples"], "examples are there"
        )
        return {name: found(up, name, left[name]) for name in left}


def test_what_is_redacted_is_in_no_file_log_example_or_metric(system):
    assert system["secret"] == set()


def test_what_is_not_redacted_is_in_records_and_examples_and_nowhere_else(system):
    examples = {place for place in system["open"] if place.startswith("/examples")}
    records = {place for place in system["open"] if "/log/model=open/" in place}
    assert examples
    assert records
    assert system["open"] == examples | records
