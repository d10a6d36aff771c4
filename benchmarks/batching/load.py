"""Driving a server with binary tensors: one question of known answer, wrk, onnxruntime alone beside it."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.load import Closed, LoadError, closed
from benchmarks.peers.processes import cpu_seconds
from benchmarks.tools.bench import LOAD_CORE, ROOT, SERVER_CORE

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import onnxruntime

TOLERANCE = 1e-3
"""Of the largest value: a batch is summed up in another order than a row by itself."""

HERE = Path(__file__).parent
JSON_LENGTH = "inference-header-content-length"


class WrongAnswerError(Exception):
    """What a server answered is not what onnxruntime says."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request as bytes, and its answer.

    Attributes:
        body: the JSON of the Open Inference Protocol and the bytes of `x` behind it; or these bytes alone.
        json_length: of the JSON; None where there is none.
        answer: `y`, FP32.
    """

    body: bytes
    json_length: int | None
    answer: np.ndarray


def questions(model: Path, inputs: Sequence[np.ndarray], *, oip: bool = True) -> list[Question]:
    """A question for each input `x` of one row, answered by onnxruntime itself."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = []
    for x in inputs:
        head = _head(x) if oip else b""
        answer = session.run(["y"], {"x": x})[0]
        found.append(Question(head + x.tobytes(), len(head) if oip else None, answer))
    return found


def _head(x: np.ndarray) -> bytes:
    datatype = {"f": "FP32", "i": "INT64"}[x.dtype.kind]
    parameters = {"binary_data_size": x.nbytes}
    tensor = {"name": "x", "shape": x.shape, "datatype": datatype, "parameters": parameters}
    return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()


def ask(url: str, question: Question) -> None:
    """Ask and compare.

    Raises:
        WrongAnswerError: the answer is another one.
        OSError: no connection, or another status than 200.
    """
    headers = {"content-type": "application/octet-stream"}
    if question.json_length is not None:
        headers[JSON_LENGTH] = str(question.json_length)
    with urllib.request.urlopen(urllib.request.Request(url, question.body, headers), timeout=20) as reply:
        body, length = reply.read(), int(reply.headers.get(JSON_LENGTH, 0))
    right = question.answer.ravel()
    found = np.frombuffer(body, np.float32, offset=length) if (len(body) - length) % 4 == 0 else None
    if found is None or found.shape != right.shape:
        raise WrongAnswerError(f"{len(body) - length} bytes of tensors, expected {right.nbytes}")
    if np.abs(found - right).max() > TOLERANCE * np.abs(right).max():
        raise WrongAnswerError(f"answered {found[:3]}..., right is {right[:3]}...")


def drive(url: str, question: Question, connections: int, seconds: int, folder: Path) -> Closed:
    """The figures of wrk in a closed loop; the CPU time is that of all descendants of this process.

    Raises:
        LoadError: wrk failed, or a request did.
    """
    file = folder / "body"
    file.write_bytes(question.body)
    script = str(ROOT / "benchmarks" / "tools" / "batching.lua")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "20s"]
    length = "" if question.json_length is None else str(question.json_length)
    before = cpu_seconds()
    done = subprocess.run(
        ["taskset", "-c", LOAD_CORE, *command, "-s", script, url],
        capture_output=True, text=True, check=False, timeout=seconds + 60,
        env={**os.environ, "BENCH_BODY": str(file), "BENCH_JSON_LENGTH": length},
    )  # fmt: skip
    if done.returncode:
        raise LoadError(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    run = closed(done.stdout, cpu_seconds() - before)
    if run.errors:
        raise LoadError(f"{run.errors} requests failed")
    return run


@dataclass(frozen=True, slots=True)
class Alone:
    """onnxruntime with one thread on the server's core, without a server.

    Attributes:
        seconds: median of a run, by batch.
        load_seconds: to make the session.
        load_bytes: of resident memory that this took for good.
    """

    seconds: dict[int, float]
    load_seconds: float
    load_bytes: int


def alone(model: Path, x: np.ndarray, batches: Sequence[int], seconds: float, folder: Path) -> Alone:
    """Measure each batch for that long, in a process of its own."""
    row = folder / "row.npy"
    np.save(row, x)
    sizes = ",".join(map(str, batches))
    command = [sys.executable, str(HERE / "alone.py"), str(model), str(row), sizes, f"{seconds:g}"]
    done = subprocess.run(
        ["taskset", "-c", SERVER_CORE, *command],
        capture_output=True, text=True, check=True, timeout=len(batches) * (seconds + 10) + 60, cwd=ROOT,
    )  # fmt: skip
    found = json.loads(done.stdout)
    runs = {int(batch): median for batch, median in found["seconds"].items()}
    return Alone(runs, found["load_seconds"], found["load_bytes"])
