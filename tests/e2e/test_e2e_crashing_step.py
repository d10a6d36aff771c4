"""The canary of a graph whose Python step kills its process: nobody's request fails, and it is taken off."""

import shutil

import httpx

from harness.system import MODELS, eventually, running

GRAPH = """\
input: [inches]
output: [label]
sandbox: {time: 60s}
step:
  - python: features:centimetres
    inputs: [{name: inches, datatype: FP32, shape: [-1, 4]}]
    outputs: [{name: centimetres, datatype: FP32, shape: [-1, 4]}]
    input_map: {inches: inches}
    output_map: {centimetres: features}
  - {model_name: iris, model_version: 1, input_map: {features: features}, output_map: {label: label}}
"""
SOUND = """\
def centimetres(tensors):
    return {"centimetres": tensors["inches"] * 2.54}
"""
CRASHES = """\
import os, signal

def crashed(tensors):
    os.kill(os.getpid(), signal.SIGSEGV)

""" + SOUND.replace("    return", '    if tensors["inches"].max() > 2:\n        crashed(tensors)\n    return')
ROLLOUTS = """\
species:
  stable: species/1
  canary: {model: species/2, weight: 50}
  guards: {errors: {max: 5%}}
"""
SMALL, LARGE = [[1.9, 1.2, 0.6, 0.1]], [[2.5, 1.2, 2.0, 0.7]]
"""Rows of which the second kills the canary's step."""


def test_nobodys_request_fails_and_the_canary_is_taken_off(tmp_path):
    models = tmp_path / "models"
    for version, source in (("1", SOUND), ("2", CRASHES)):
        folder = models / "species" / version
        shutil.copytree(MODELS / "iris" / "1", folder / "iris" / "1")
        (folder / "graph.yaml").write_text(GRAPH)
        (folder / "features.py").write_text(source)
    with running(tmp_path, ROLLOUTS, models=models, options=("--workers", "1", "--python-steps")) as up:
        assert {answered(up.client, SMALL) for _ in range(20)} == {(0, "species/1"), (0, "species/2")}

        def taken_off():
            assert answered(up.client, LARGE)[0] == 2
            return up.view("species")["status"]["phase"] == "rolled_back"

        eventually(taken_off, "the canary is taken off")
        assert up.view("species")["status"]["reason"].startswith("errors: harmful")
        assert up.metric("understudy_failover_total", model="species", reason="failed") > 0
        assert answered(up.client, LARGE) == (2, "species/1")


def answered(client: httpx.Client, row):
    """The label of a row, and who gave it."""
    tensor = {"name": "inches", "datatype": "FP32", "shape": [1, 4], "data": row}
    answer = client.post("/v2/models/species/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0], answer.headers["x-understudy-target"]
