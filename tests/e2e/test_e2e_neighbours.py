"""Twelve clients at once: an answer never depends on what others ask for."""

import contextlib
import socket
from http.client import HTTPResponse

import orjson
import pytest
from neighbours import MODELS, inputs

from harness.raw import request
from harness.system import running, serving, stopped

CLIENTS = 12
STATED = "stated"
"""The first model again, with the user's word that its rows are independent, which is not so."""


def repository(folder, execution):
    """All models, run in that way."""
    config = f"execution: {execution}\n"
    for name, data in MODELS.items():
        put(folder / "models", name, data, config)
    word = "batching: {max: 16, independent: true}\n"
    put(folder / "models", STATED, MODELS["embedded_averaged_quantized"], config + word)
    return folder / "models"


def put(models, name, data, config):
    (models / name / "1").mkdir(parents=True)
    (models / name / "1" / "model.onnx").write_bytes(data)
    (models / name / "config.yaml").write_text(config)


def wire(model, number):
    members = ("name", "datatype", "shape", "data")
    like = "embedded_averaged_quantized" if model == STATED else model
    tensors = [dict(zip(members, tensor, strict=True)) for tensor in inputs(like, number)]
    return request(f"/v2/models/{model}/infer", orjson.dumps({"inputs": tensors}))


def outputs(line):
    response = HTTPResponse(line, method="POST")
    response.begin()
    body = response.read()
    assert response.status == 200, body
    return orjson.loads(body)["outputs"]


def influenced(port, pid, model):
    """Clients whose answer is another one when all of them ask at once."""
    lines = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(CLIENTS)]
    with contextlib.ExitStack() as stack:
        for line in lines:
            stack.enter_context(line)
        alone = []
        for number, line in enumerate(lines):
            line.sendall(wire(model, number))
            alone.append(outputs(line))
        found = set()
        for _ in range(2):
            with stopped(pid):
                for number, line in enumerate(lines):
                    line.sendall(wire(model, number))
            together = [outputs(line) for line in lines]
            found |= {n for n in range(CLIENTS) if together[n] != alone[n]}
        return sorted(found)


def assert_nobody_is_influenced(port, pid, models=tuple(MODELS)):
    assert {model: influenced(port, pid, model) for model in models} == {model: [] for model in models}
    assert influenced(port, pid, STATED)  # so it would have been seen


@pytest.mark.parametrize("execution", ["inline", "pooled"])
def test_no_neighbour_changes_an_answer_of_the_inference_server(tmp_path, execution):
    with serving(tmp_path, models=repository(tmp_path, execution)) as server:
        for model in MODELS:
            said = server.client.get(f"/v2/models/{model}").json()["parameters"]
            assert not said["rows_joined"]
            assert said["dependence"]
        assert_nobody_is_influenced(server.port, server.process.popen.pid)


def test_no_neighbour_changes_an_answer_behind_the_router(tmp_path):
    models = tuple(MODELS)[:3]
    rollouts = "".join(f"{model}: {{stable: {model}/1}}\n" for model in (*models, STATED))
    with running(tmp_path, rollouts, models=repository(tmp_path, "inline")) as up:
        [pid] = up.pids("worker")
        assert_nobody_is_influenced(up.port, pid, models)
