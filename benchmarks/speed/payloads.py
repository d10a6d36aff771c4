"""Requests of 4 to 1,000,000 floats, in JSON and in binary, to the same model: what a request costs.

One worker (`understudy up`, stable only). The model gives the largest of its inputs, so that the request is
nearly all there is to do; a binary request asks for its answer in binary too, as tritonclient does.
"""

import json
import os
import struct
import tempfile
import urllib.request
from dataclasses import asdict
from pathlib import Path
from sys import executable

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.speed.hotpath import workers
from benchmarks.tools.bench import DOCS, Run, free_port, machine, median, server, wrk

SIZES = (4, 64, 1_000, 16_000, 150_000, 1_000_000)
ROUNDS = 3
SECONDS = 3.0
CONNECTIONS = 8


def main() -> None:
    """Measure and write docs/benchmarks/payloads.md."""
    results: dict[int, dict[str, list[Run]]] = {size: {"JSON": [], "binary": []} for size in SIZES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _put_models(folder / "models")
        (folder / "rollouts.yaml").write_text("largest: {stable: largest/1}\niris: {stable: iris/1}\n")
        port, admin = free_port(), free_port()
        command = [
            executable, "-m", "understudy", "up", "--models", str(folder / "models"), "--rollouts",
            str(folder / "rollouts.yaml"), "--host", "127.0.0.1", "--port", str(port), "--admin-port",
            str(admin), "--state-dir", str(folder / "state"), "--log-level", "error",
        ]  # fmt: skip
        address = f"http://127.0.0.1:{port}/v2/models"
        with server(command, f"{address}/iris/infer"):
            pids = workers(admin)
            for _ in range(ROUNDS):
                for size in SIZES:
                    for form in ("JSON", "binary"):
                        run = _measure(f"{address}/largest/infer", folder, size, form, pids)
                        results[size][form].append(run)
                        print(f"{size:,} floats in {form}", run, flush=True)
    _write(results)


def _put_models(folder: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=1)],
        "largest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for name, data in {
        "largest": model.SerializeToString(),
        "iris": Path("models/iris/1/model.onnx").read_bytes(),
    }.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.onnx").write_bytes(data)
    (folder / "largest" / "config.yaml").write_text("execution: inline\n")


def _request(size: int, form: str) -> tuple[bytes, dict[str, str], float]:
    """Its body, its headers, and the right answer."""
    values = np.random.default_rng(size).normal(size=size).round(4).astype(np.float32)
    tensor = {"name": "x", "shape": [1, size], "datatype": "FP32"}
    answer = float(values.max())
    if form == "JSON":
        data = [round(float(value), 4) for value in values]
        body = json.dumps({"inputs": [{**tensor, "data": data}]}, separators=(",", ":")).encode()
        return body, {"content-type": "application/json"}, answer
    described = {**tensor, "parameters": {"binary_data_size": values.nbytes}}
    message = {"inputs": [described], "parameters": {"binary_data_output": True}}
    text = json.dumps(message, separators=(",", ":")).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(text)),
    }
    return text + values.tobytes(), headers, answer


def _measure(url: str, folder: Path, size: int, form: str, pids: list[int]) -> Run:
    body, headers, expected = _request(size, form)
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as reply:
        content = reply.read()
    if form == "JSON":
        [got] = json.loads(content)["outputs"][0]["data"]
    else:
        (got,) = struct.unpack("<f", content[-4:])
    if abs(got - expected) > 1e-6:
        raise SystemExit(f"wrong answer: {got}, not {expected}")
    file = folder / "body"
    file.write_bytes(body)
    os.environ["BENCH_BODY"] = str(file)
    os.environ["BENCH_TYPE"] = headers["content-type"]
    os.environ["BENCH_JSON_LENGTH"] = headers.get("inference-header-content-length", "")
    return wrk(url, CONNECTIONS, SECONDS, pids, "payload.lua")


def _write(results: dict[int, dict[str, list[Run]]]) -> None:
    raw = {
        str(size): {form: [asdict(run) for run in runs] for form, runs in forms.items()}
        for size, forms in results.items()
    }
    (DOCS / "payloads.json").write_text(json.dumps(raw, indent=1) + "\n")
    lines = [
        "# Payloads: JSON and binary",
        "",
        "`make bench PARTS=payloads` wrote this page and `payloads.json` (the raw figures). One worker of",
        f"`understudy up` on core 0, wrk on core 1 with {CONNECTIONS} connections; one FP32 input of so many",
        "floats (four decimals in JSON), the largest as output; binary requests ask for binary answers.",
        f"{ROUNDS} rounds of {SECONDS:g} s in turn, medians. CPU time is the worker's.",
        "",
        f"Machine: {machine()}, onnx {onnx.__version__}.",
        "",
        "| floats | bytes in binary | JSON: requests/s | CPU | binary: requests/s | CPU | of JSON's |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, forms in results.items():
        text, binary = median(forms["JSON"]), median(forms["binary"])
        lines.append(
            f"| {size:,} | {4 * size:,} | {text.requests_per_second:,.0f} | {text.cpu_us:,.1f} us "
            f"| {binary.requests_per_second:,.0f} | {binary.cpu_us:,.1f} us "
            f"| {binary.cpu_us / text.cpu_us:.2f} |"
        )
    (DOCS / "payloads.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
