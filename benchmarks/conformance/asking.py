"""A real `understudy serve` on a repository of cases, asked by a real client (tritonclient.http)."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.conformance.cases import Case
from benchmarks.conformance.judge import Answer, Served
from benchmarks.tools.bench import ROOT, free_port

START_SECONDS = 600.0
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs: its address, and why models were not loaded, by their names."""

    host: str
    refusals: dict[str, str]


@contextmanager
def serving(cases: Sequence[Case]) -> Iterator[Server]:
    """`understudy serve` with these cases as its models, from when it is ready until the end of the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases:
            version = folder / "models" / case.name / "1"
            version.mkdir(parents=True)
            (version / "model.onnx").write_bytes(case.model)
        host = f"127.0.0.1:{free_port()}"
        command = [
            sys.executable, "-m", "understudy", "serve", "--models", str(folder / "models"), "--host",
            "127.0.0.1", "--port", host.rpartition(":")[2], "--state-dir", str(folder / "state"),
            "--threads", "1", "--log-level", "error",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            _wait(host, process)
            yield Server(host, _refusals(host))
        finally:
            process.terminate()
            process.wait(60)


def _wait(host: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{host}/v2/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("understudy serve did not get ready")


def _refusals(host: str) -> dict[str, str]:
    with urllib.request.urlopen(f"http://{host}/v2/repository/index", b"{}", timeout=60) as answer:
        rows = json.loads(answer.read())
    return {row["name"]: row["reason"] for row in rows if row["state"] != "READY"}


def ask(client: triton.InferenceServerClient, server: Server, case: Case) -> Served:
    """What the server gives for every data set of a case, in binary and in JSON."""
    if case.name in server.refusals:
        return Served(server.refusals[case.name])
    names = [output["name"] for output in client.get_model_metadata(case.name)["outputs"]]
    binary, text = (
        tuple(infer(client, case.name, feeds, names, binary=binary) for feeds in case.inputs)
        for binary in (True, False)
    )
    return Served("", binary, text)


def infer(
    client: triton.InferenceServerClient,
    model: str,
    feeds: dict[str, np.ndarray],
    outputs: Sequence[str],
    *,
    binary: bool,
) -> Answer:
    """Send one data set and read the answer."""
    if not binary and any(array.dtype.name == "bfloat16" for array in feeds.values()):
        return Answer({}, "a BF16 input", unsendable=True)
    try:
        inputs = []
        for name, array in feeds.items():
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            inputs.append(tensor.set_data_from_numpy(array, binary_data=binary))
        wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in outputs]
        result = client.infer(model, inputs, outputs=wanted)
        return Answer({name: result.as_numpy(name) for name in outputs})
    except InferenceServerException as error:
        return Answer({}, f"{error.status() or 'client'}: {error.message()}"[:300])
