"""Models that are damaged, are bombs, or change under a process that serves them: the old one serves on."""

import os
import shutil

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.pilot import piloted
from harness.rows import body, outputs_of
from harness.system import MODELS, eventually

STABLE = {"stable": "digits/1"}


def with_digits_signature(nodes, constants, **domains):
    """A model that looks like the digits from outside."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 64])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ],
        constants,
    )
    opsets = [helper.make_opsetid(name, number) for name, number in {"": 17, **domains}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def answers(*before):
    """Nodes that answer from the pixels, plus `nothing`."""
    return [
        *before,
        helper.make_node("MatMul", ["pixels", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "nothing"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]


WEIGHTS = numpy_helper.from_array(np.ones((64, 10), "f4"), "weights")


def bomb(elements):
    filled = helper.make_node(
        "ConstantOfShape", ["size"], ["filled"], value=numpy_helper.from_array(np.zeros(1, "f4"))
    )
    least = helper.make_node("ReduceMax", ["filled"], ["nothing"], keepdims=0)
    size = numpy_helper.from_array(np.array([elements]), "size")
    return with_digits_signature(answers(filled, least), [WEIGHTS, size]).SerializeToString()


def of_a_custom_domain():
    node = helper.make_node("Own", ["pixels"], ["nothing"], domain="somebodys.library")
    return with_digits_signature(answers(node), [WEIGHTS], **{"somebodys.library": 1}).SerializeToString()


def external(location):
    """Weights in a file of this name."""
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[64, 10])
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    nothing = numpy_helper.from_array(np.zeros(1, "f4"), "nothing")
    return with_digits_signature(answers(), [weights, nothing]).SerializeToString()


def good(number):
    return (MODELS / "digits" / str(number) / "model.onnx").read_bytes()


HOSTILE = {
    "empty": lambda: b"",
    "truncated": lambda: good(2)[:-5000],
    "garbled": lambda: bytes(255 - byte for byte in good(2)),
    "bomb of 2^44 elements": lambda: bomb(1 << 44),
    "bomb of 40 GB": lambda: bomb(10 << 30),
    "custom domain": of_a_custom_domain,
    "external data outside": lambda: external("../../../../../../etc/hostname"),
    "external data by absolute path": lambda: external("/etc/hostname"),
    "external data behind a link": lambda: external("weights.bin"),
}


@pytest.fixture(scope="module")
def serving(at):
    with piloted(at.up, "models", STABLE) as pilot:
        yield at.up, pilot


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_model_is_refused_without_a_path_and_the_old_one_serves(kind, serving, request):
    up, pilot = serving
    version = 100 + list(HOSTILE).index(kind)  # what was refused may be remembered by its name
    folder = up.folder / "models" / "digits" / str(version)
    folder.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(folder))
    (folder / "model.onnx").write_bytes(HOSTILE[kind]())
    (folder / "weights.bin").symlink_to("/etc/hostname")
    revision = up.view("models")["revision"]
    with pilot.load(30) as load:
        put = up.admin.put(
            "/v1/rollouts/models",
            json={"stable": "digits/1", "canary": {"model": f"digits/{version}", "weight": 50}},
            timeout=240,
        )
        eventually(lambda: load.ledger.sent >= 10, "load")
        ledger = load.stop()
    assert 400 <= put.status_code < 500, put.text
    detail = put.json()["detail"]
    assert f"digits/{version}" in detail
    for secret in (str(up.folder), "/etc", "Traceback", ".py"):
        assert secret not in put.text, put.text
    assert up.view("models")["revision"] == revision
    assert set(ledger.statuses) == {200}, ledger.errors
    assert set(ledger.targets) == {"digits/1"}


def test_a_file_overwritten_while_its_model_serves_changes_no_answer(serving):
    up, pilot = serving
    file = up.folder / "models" / "digits" / "1" / "model.onnx"
    kept = file.read_bytes()
    expected = outputs_of("digits/1")["label"]
    with pilot.load(40) as load:
        eventually(lambda: load.ledger.sent >= 20, "load")
        with file.open("r+b") as damaged:  # in place: a mapped file would change under the process
            damaged.write(os.urandom(len(kept)))
        try:
            for number in range(50):
                answer = up.client.post("/v2/models/models/infer", content=body(number)).raise_for_status()
                [label] = [o["data"] for o in answer.json()["outputs"] if o["name"] == "label"]
                assert label == [expected[number]]
        finally:
            file.write_bytes(kept)
        ledger = load.stop()
    assert set(ledger.statuses) == {200}, ledger.errors
