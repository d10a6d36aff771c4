"""The page on graphs is done as it is written; and on the same node, what a canary of a graph has to keep."""

import secrets
import shutil

import httpx
import numpy as np
import pytest
from graph_folders import put_graph
from graphs import FLOAT, graph, node, value

from harness.collector import Collector
from harness.fences import beside, follow
from harness.pilot import Pilot, piloted
from harness.receivers import hooking
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
def collector():
    with hooking() as hook:
        yield Collector(hook)


@pytest.fixture(scope="module")
def up(folder, collector):
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.hook.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    traced["OTEL_TRACES_SAMPLER"] = "parentbased_always_off"  # only what comes with a trace is traced
    traced["UNDERSTUDY_PYTHON_STEPS"] = "true"
    with running(folder, "pair: {stable: pair/1}\n", models=folder / "models", environment=traced) as up:
        yield up


def steps_are_spans(pilot, collector):
    """Each step of a request that is traced, in its order, below the span of the process that ran it."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01", "x-understudy-target": "canary"}
    item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    pilot.up.client.post(pilot.infer, json={"inputs": [item]}, headers=headers).raise_for_status()

    def steps():
        return [span for _, span in collector.spans(trace).values() if span.name == "step"]

    eventually(lambda: len(collector.spans(trace)) >= 5 and len(steps()) == 2, "all spans arrived")
    found = sorted(steps(), key=lambda span: span.start_time_unix_nano)
    assert [span.attributes[0].value.string_value for span in found] == ["transformer", "predictor"]
    for span in found:
        of, parent = collector.spans(trace)[span.parent_span_id.hex()]
        assert (parent.name, of["service.instance.id"].rpartition("/")[0]) == ("infer", "sandbox of pair/2")
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 1e9


def test_every_command_of_the_page_does_what_it_says(up, folder):
    def ready() -> bool:
        return all(Pilot(up, view["model"]).ready() for view in up.admin.get("/v1/rollouts").json())

    def compared(model: str, output: str, **verdict: str) -> float:
        return up.metric("understudy_comparison_total", model=model, output=output, **verdict)

    reader = beside(up, folder)
    try:
        assert follow(PAGE, reader, SECONDS, ready) == 8
        eventually(lambda: compared("flowers", "label") > 0, "labels are compared")
        assert up.admin.get("/v1/models/flowers/2").json()["graph"] == "fused"
        assert Pilot(up, "flowers").metric("failover_total") == 0
        eventually(lambda: compared("species", "species", verdict="different") > 0, "names are compared")
        assert compared("species", "species") == compared("species", "species", verdict="different")
        of = "step 'centimetres' is Python, which no ONNX graph can hold"
        models = [up.admin.get(f"/v1/models/species/{version}").json() for version in (1, 2)]
        assert [model["graph"] for model in models] == [f"stepped: {of}"] * 2
        assert models[0]["sha256"] != models[1]["sha256"]
        assert up.metric("understudy_step_seconds_count", target="species/2", step="named") > 0
    finally:
        for view in up.admin.get("/v1/rollouts").json():
            up.admin.delete(f"/v1/rollouts/{view['model']}").raise_for_status()


FRAIL = """\
input: [x]
output: [y]
sandbox: {time: 2s}
step:
  - python: frail:same
    inputs: [{name: x, datatype: FP32, shape: [-1, 1]}]
    outputs: [{name: y, datatype: FP32, shape: [-1, 1]}]
    input_map: {x: x}
    output_map: {y: y}
"""
SAME = """\
import os, time

while not os.path.exists(GO):
    time.sleep(0.05)


def same(given):
    if given["x"][0, 0] == 13:
        os._exit(13)
    return {"y": given["x"]}
"""


def test_a_function_that_ends_its_process_harms_no_other_model(up, folder):
    """It is held back while it is imported, so that it is seen what is said meanwhile."""
    put_graph(folder / "models", "frail", 1, {}, FRAIL)
    go = folder / "go"
    go.touch()
    (folder / "models" / "frail" / "1" / "frail.py").write_text(SAME.replace("GO", repr(str(go))))

    def asked(name: str, number: float) -> httpx.Response:
        item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}
        return up.client.post(f"/v2/models/{name}/infer", json={"inputs": [item]})

    def is_ready() -> bool:
        return up.client.get("/v2/models/frail/ready").status_code == 200

    with (
        piloted(up, "frail", {"stable": "frail/1"}) as pilot,
        piloted(up, "neighbour", {"stable": "pair/1"}) as other,
    ):
        eventually(lambda: pilot.ready() and other.ready(), "ready")
        eventually(lambda: asked("frail", 1).status_code == 200, "it answers")
        go.unlink()
        failed = asked("frail", 13)
        assert (failed.status_code, failed.json()) == (
            500,
            {"error": "step 'same': its process ended (exit code 13)"},
        )
        assert not is_ready()
        assert asked("frail", 1).status_code == 503
        assert asked("neighbour", 1).status_code == 200
        eventually(lambda: up.metric("understudy_model_ready", target="frail/1") == 0, "metrics say so")
        eventually(lambda: not pilot.ready(), "control knows")
        go.touch()
        eventually(is_ready, "it is ready again")
        assert asked("frail", 1).json()["outputs"][0]["data"] == [1.0]
        eventually(pilot.ready, "control knows")
        assert up.metric("understudy_step_process_ends_total", target="frail/1", reason="ended") == 1


def test_a_transformer_never_meets_the_predictor_of_another_version(up, collector):
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
        steps_are_spans(pilot, collector)
        assert up.metric("understudy_step_seconds_count", target="pair/1") == 0
