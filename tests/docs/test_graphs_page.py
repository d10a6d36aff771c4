"""The page on graphs is done as it is written; and on the same node, what a canary of a graph has to keep."""

import secrets
import shutil

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
