"""The page on graphs is done as it is written; and on the same node, what a canary of a graph has to keep."""

import shutil

import numpy as np
import pytest
from graph_folders import put_graph
from graphs import FLOAT, graph, node, value

from harness.fences import beside, follow
from harness.pilot import Pilot, piloted
from harness.system import MODELS, ROOT, eventually, running

PAGE = ROOT / "docs" / "graphs.md"
SECONDS = 60.0

PAIR = """\
{head}input: [x]
output: [transformed, by]
step:
  - {{model_name: transformer, model_version: 1, input_map: {{x: x}}, output_map: {{y: transformed}}}}
  - {{model_name: predictor, model_version: 1, input_map: {{x: transformed}}, output_map: {{y: by}}}}
"""


def times(factor):
    return graph(
        [node("Mul", ["x", "f"], ["y"])],
        [value("x", FLOAT, ["rows", 1])],
        [value("y", FLOAT, ["rows", 1])],
        [("f", np.array(factor, "f4"))],
    )


def tagged(number):
    """A predictor that says which one it is, whatever it is given."""
    nodes = [node("Mul", ["x", "nothing"], ["none"]), node("Add", ["none", "me"], ["y"])]
    constants = [("nothing", np.array(0, "f4")), ("me", np.array(number, "f4"))]
    return graph(nodes, [value("x", FLOAT, ["rows", 1])], [value("y", FLOAT, ["rows", 1])], constants)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    shutil.copytree(MODELS / "iris", folder / "models" / "iris")
    for version in (1, 2):
        models = {"transformer/1": times(version), "predictor/1": tagged(version)}
        head = "fuse: false\n" if version == 2 else ""
        put_graph(folder / "models", "pair", version, models, PAIR.format(head=head))
    return folder


@pytest.fixture(scope="module")
def up(folder):
    with running(folder, "pair: {stable: pair/1}\n", models=folder / "models") as up:
        yield up


def test_every_command_of_the_page_does_what_it_says(up, folder):
    reader = beside(up, folder)
    try:
        assert follow(PAGE, reader, SECONDS, Pilot(up, "flowers").ready) == 4
        pilot = Pilot(up, "flowers")
        compared = {"model": "flowers", "output": "label"}
        eventually(lambda: up.metric("understudy_comparison_total", **compared) > 0, "labels are compared")
        assert up.admin.get("/v1/models/flowers/2").json()["graph"] == "fused"
        assert pilot.metric("failover_total") == 0
    finally:
        up.admin.delete("/v1/rollouts/flowers").raise_for_status()


def test_a_transformer_never_meets_the_predictor_of_another_version(up):
    """KServe #1669: there, canaries of a transformer and a predictor are drawn one by one."""
    document = {"stable": "pair/1", "canary": {"model": "pair/2", "weight": 50, "mirror": 100}}
    with piloted(up, "pairs", document) as pilot:
        eventually(pilot.ready, "ready")
        seen = set()
        for number in range(1, 200):
            item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}
            answer = up.client.post(pilot.infer, json={"inputs": [item]}).raise_for_status()
            outputs = {output["name"]: output["data"][0] for output in answer.json()["outputs"]}
            by = answer.headers["x-understudy-target"]
            assert by == f"pair/{outputs['by']:.0f}"
            assert outputs["transformed"] == number * outputs["by"]
            seen.add(by)
        assert seen == {"pair/1", "pair/2"}

        def told() -> bool:
            """The candidate's steps are timed, those of one session are not."""
            runs = [
                up.metric("understudy_step_seconds_count", target="pair/2", step=step)
                for step in ("transformer", "predictor")
            ]
            return runs[0] == runs[1] > 0

        eventually(told, "steps are timed")
        assert up.metric("understudy_step_seconds_count", target="pair/1") == 0
