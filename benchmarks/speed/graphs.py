"""A scaler, a classifier and what is made of its scores: as one model, fused, step by step, with a function.

One worker (`understudy up`, stable only), one connection. Each request goes to the three in turn, so that
whatever else the machine does meets all alike; the models are as small as such models get, so that what
passing a tensor on costs is nowhere hidden.
"""

import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree
from sys import executable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.tools.bench import DOCS, LOAD_CORE, free_port, machine, server

FORMS = ("by-hand", "fused", "stepped", "pooled", "python")
AIMS = {"by-hand": "1x", "fused": "1.05x", "stepped": "1.3x"}
ROUNDS = 7
REQUESTS = 1_000
WARM_UP = 300
COLUMNS, CLASSES = 30, 3

ML = "ai.onnx.ml"
FLOAT = TensorProto.FLOAT
DOCUMENT = """\
input: [features]
output: [label, risk]
step:
  - {model_name: scaler, model_version: 1, input_map: {features: features}, output_map: {scaled: scaled}}
  - model_name: classifier
    model_version: 1
    input_map: {scaled: scaled}
    output_map: {label: label, scores: scores}
"""
RISK = "  - {model_name: risk, model_version: 1, input_map: {scores: scores}, output_map: {risk: risk}}\n"
FUNCTION = f"""\
  - python: answers:risk
    inputs: [{{name: scores, datatype: FP32, shape: [-1, {CLASSES}]}}]
    outputs: [{{name: risk, datatype: FP32, shape: [-1, 1]}}]
    input_map: {{scores: scores}}
    output_map: {{risk: risk}}
"""
SOURCE = "def risk(given):\n    return {'risk': given['scores'][:, -1:] * 100}\n"

PAGE = """\
# Graphs: one model made by hand, fused, step by step

`python -m benchmarks.speed.graphs` wrote this page and `graphs.json` (the raw figures). A scaler of
{columns} columns, a linear classifier of {classes} classes and two operators on its scores: in one ONNX
file made by hand, as a graph in one session, and as the same graph with `fuse: false`, on the event loop;
then that graph in a thread (`pooled`), where graphs with steps in Python always run, and so with its last
step in Python (`python`), in a process of its own: what `python` takes beyond `pooled` is the way there and
back, and numpy in place of onnxruntime. One worker of `understudy up` on core 0, with the process of the
function; one connection from core 1; each of {requests:,} requests a round goes to all in turn. {rounds}
rounds; from the first byte sent to the last one received.

{when}. Machine: {machine}, onnx {onnx}.
Load average before: {load:.1f}; above 1, other work shared the machine. What others do makes requests
longer and never shorter, so the more there is of it, the more the tenth percentile tells and the less the
median does. Ratios are those of each round to the model made by hand: the median of the rounds, the lowest
and the highest.

| form | p10 | p50 | p99 | by p10 | by p50 | aimed at, p50 |
|---|---|---|---|---|---|---|"""


def main() -> None:
    """Measure and write docs/benchmarks/graphs.md."""
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    load = os.getloadavg()[0]
    rounds: list[dict[str, dict[str, float]]] = []
    with (
        tempfile.TemporaryDirectory() as name,
        _serving(Path(name)) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = {form: _asked(connection, form)[1] for form in FORMS}
        if len(set(answers.values())) > 1:
            raise SystemExit(f"different answers: {answers}")
        for _ in range(WARM_UP):
            for form in FORMS:
                _asked(connection, form)
        for _ in range(ROUNDS):
            rounds.append(_round(connection))
            print(rounds[-1], flush=True)
    _write(rounds, load)


# ------------------------------------------------------------------ the models


def _model(nodes: list[onnx.NodeProto], inputs: list[str], outputs: list[str]) -> bytes:
    """Of tensors named in `_SHAPES`."""
    body = helper.make_graph(
        nodes, "graph", [_SHAPES[name] for name in inputs], [_SHAPES[name] for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in _CONSTANTS.items()
         if any(name in node.input for node in nodes)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString()


_SHAPES = {
    "features": helper.make_tensor_value_info("features", FLOAT, ["rows", COLUMNS]),
    "scaled": helper.make_tensor_value_info("scaled", FLOAT, ["rows", COLUMNS]),
    "label": helper.make_tensor_value_info("label", TensorProto.INT64, ["rows"]),
    "scores": helper.make_tensor_value_info("scores", FLOAT, ["rows", CLASSES]),
    "risk": helper.make_tensor_value_info("risk", FLOAT, ["rows", 1]),
}
_CONSTANTS = {
    "from": np.array([CLASSES - 1]),
    "to": np.array([CLASSES]),
    "axis": np.array([1]),
    "hundred": np.array([100], "f4"),
}


def _steps() -> dict[str, tuple[list[onnx.NodeProto], list[str], list[str]]]:
    drawn = np.random.default_rng(0)
    offset, scale = (drawn.uniform(0.5, 2, COLUMNS).astype("f4").tolist() for _ in range(2))
    weights = drawn.normal(size=COLUMNS * CLASSES).astype("f4").tolist()
    scaler = helper.make_node("Scaler", ["features"], ["scaled"], domain=ML, offset=offset, scale=scale)
    classifier = helper.make_node(
        "LinearClassifier", ["scaled"], ["label", "scores"], domain=ML, coefficients=weights,
        intercepts=[0.1] * CLASSES, classlabels_ints=list(range(CLASSES)), post_transform="SOFTMAX",
    )  # fmt: skip
    last = helper.make_node("Slice", ["scores", "from", "to", "axis"], ["last"])
    percent = helper.make_node("Mul", ["last", "hundred"], ["risk"])
    return {
        "scaler": ([scaler], ["features"], ["scaled"]),
        "classifier": ([classifier], ["scaled"], ["label", "scores"]),
        "risk": ([last, percent], ["scores"], ["risk"]),
    }


def _put_models(folder: Path) -> None:
    steps = _steps()
    together = [node for nodes, _, _ in steps.values() for node in nodes]
    (folder / "by-hand" / "1").mkdir(parents=True)
    (folder / "by-hand" / "1" / "model.onnx").write_bytes(_model(together, ["features"], ["label", "risk"]))
    for form in FORMS[1:]:
        for name, (nodes, inputs, outputs) in steps.items():
            if (form, name) == ("python", "risk"):
                continue
            place = folder / form / "1" / name / "1"
            place.mkdir(parents=True)
            (place / "model.onnx").write_bytes(_model(nodes, inputs, outputs))
        head = "" if form == "fused" else "fuse: false\n"
        last = FUNCTION if form == "python" else RISK
        (folder / form / "1" / "graph.yaml").write_text(head + DOCUMENT + last)
    (folder / "python" / "1" / "answers.py").write_text(SOURCE)
    for form in FORMS:
        execution = "pooled" if form in {"pooled", "python"} else "inline"
        (folder / form / "config.yaml").write_text(f"execution: {execution}\n")


@contextmanager
def _serving(folder: Path) -> Iterator[int]:
    """The port of a node with one worker and all of them."""
    _put_models(folder / "models")
    copytree("models/iris", folder / "models" / "iris")
    names = "".join(f"{name}: {{stable: {name}/1}}\n" for name in (*FORMS, "iris"))
    (folder / "rollouts.yaml").write_text(names)
    port, admin = free_port(), free_port()
    command = [
        executable, "-m", "understudy", "up", "--models", str(folder / "models"), "--rollouts",
        str(folder / "rollouts.yaml"), "--host", "127.0.0.1", "--port", str(port), "--admin-port",
        str(admin), "--state-dir", str(folder / "state"), "--log-level", "error",
        "--python-steps",
    ]  # fmt: skip
    with server(command, f"http://127.0.0.1:{port}/v2/models/iris/infer"):
        yield port


# ------------------------------------------------------------------ asking


def _requests() -> dict[str, bytes]:
    values = np.random.default_rng(1).normal(size=COLUMNS).round(4).tolist()
    tensor = {"name": "features", "shape": [1, COLUMNS], "datatype": "FP32", "data": values}
    body = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    head = b"POST /v2/models/%s/infer HTTP/1.1\r\nhost: b\r\ncontent-length: %d\r\n\r\n"
    return {form: head % (form.encode(), len(body)) + body for form in FORMS}


_REQUESTS = _requests()


def _asked(connection: socket.socket, form: str) -> tuple[float, str]:
    """Seconds until the whole answer was there, and its outputs."""
    began = time.perf_counter()
    connection.sendall(_REQUESTS[form])
    data = connection.recv(65_536)
    while True:
        head, _, body = data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if length and len(body) >= int(length):
            break
        data += connection.recv(65_536)
    seconds = time.perf_counter() - began
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"{form}: {data!r}")
    return seconds, json.dumps(json.loads(body)["outputs"])


def _round(connection: socket.socket) -> dict[str, dict[str, float]]:
    """Latencies of each form, microseconds."""
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    for number in range(REQUESTS):
        for place in range(len(FORMS)):
            form = FORMS[(number + place) % len(FORMS)]
            times[form].append(_asked(connection, form)[0] * 1e6)
    return {
        form: {
            "p10": round(float(np.quantile(taken, 0.1)), 1),
            "p50": round(statistics.median(taken), 1),
            "p99": round(float(np.quantile(taken, 0.99)), 1),
        }
        for form, taken in times.items()
    }


def _write(rounds: list[dict[str, dict[str, float]]], load: float) -> None:
    (DOCS / "graphs.json").write_text(json.dumps(rounds, indent=1) + "\n")
    lines = [
        PAGE.format(
            when=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine(), onnx=onnx.__version__, load=load,
            columns=COLUMNS, classes=CLASSES, requests=REQUESTS, rounds=ROUNDS,
        )
    ]  # fmt: skip
    for form in FORMS:
        figures = [statistics.median(each[form][name] for each in rounds) for name in ("p10", "p50", "p99")]
        shown = " | ".join(f"{figure:,.1f} us" for figure in figures)
        ratios = " | ".join(_ratio(rounds, form, name) for name in ("p10", "p50"))
        lines.append(f"| {form} | {shown} | {ratios} | {AIMS.get(form, '-')} |")
    (DOCS / "graphs.md").write_text("\n".join(lines) + "\n")


def _ratio(rounds: list[dict[str, dict[str, float]]], form: str, name: str) -> str:
    found = sorted(each[form][name] / each["by-hand"][name] for each in rounds)
    return f"{statistics.median(found):.3f}x ({found[0]:.3f} to {found[-1]:.3f})"


if __name__ == "__main__":
    main()
