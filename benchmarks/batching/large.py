"""Larger work: images, sequences of tokens, and models of 100 MB and more, on one core.

For each model `understudy up` is started with it as stable, and with the same as an idle canary in a sandbox;
then it is driven with binary tensors. onnxruntime alone is measured before and after, on the same core.
"""

import json
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from benchmarks.batching.large_report import Process, Result, write
from benchmarks.batching.load import Question, alone, ask, drive, questions
from benchmarks.batching.models import (
    IMAGE,
    TOKENS,
    VOCABULARY,
    WIDE_WIDTHS,
    encoder,
    largest,
    mlp,
    put,
    resnet,
)
from benchmarks.peers.load import Closed
from benchmarks.peers.peer import Place
from benchmarks.peers.processes import adopt_orphans, started
from benchmarks.tools.bench import ROOT

ROUNDS = int(os.environ.get("LARGE_ROUNDS", "3"))
SECONDS = int(os.environ.get("LARGE_SECONDS", "4"))
CONNECTIONS = (1, 4)
START_SECONDS = 120
_RANDOM = np.random.default_rng(2)


@dataclass(frozen=True, slots=True)
class Work:
    """One model and one row of its input."""

    build: Callable[[], onnx.ModelProto]
    row: np.ndarray
    external: bool = False


def _image() -> np.ndarray:
    return _RANDOM.random((1, *IMAGE)).astype(np.float32)


def _wide() -> np.ndarray:
    return _RANDOM.random((1, WIDE_WIDTHS[0])).astype(np.float32)


WORK: Mapping[str, Work] = {
    "largest value of an image": Work(largest, _image()),
    "ResNet-18": Work(resnet, _image()),
    "encoder, 6 layers": Work(encoder, _RANDOM.integers(0, VOCABULARY, (1, TOKENS))),
    "wide MLP": Work(lambda: mlp(*WIDE_WIDTHS), _wide()),
    "wide MLP, external data": Work(lambda: mlp(*WIDE_WIDTHS), _wide(), external=True),
}


def main() -> None:
    """Measure and write docs/benchmarks/large.md."""
    adopt_orphans()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        empty = _empty_bytes(Path(name) / "empty")
        for index, (title, work) in enumerate(WORK.items()):
            results[title] = _measure(title, work, Path(name) / str(index), empty)
    write(results, _copy_us())


def _measure(title: str, work: Work, folder: Path, empty_bytes: int) -> Result:
    built = work.build()
    files = [put(built, folder / "models", "large", external=work.external, version=str(v)) for v in (1, 2)]
    del built
    (folder / "models" / "large" / "config.yaml").write_text("versions: all\n")
    model = files[0] / "model.onnx"
    [question] = questions(model, [work.row])
    floors = [alone(model, work.row, [1], SECONDS, folder)]
    place = Place(Path(sys.prefix), folder)
    url = f"http://127.0.0.1:{place.port}/v2/models/large/infer"
    rollout = "large: {stable: large/1, canary: {model: large/2, weight: 0, mirror: 0}}\n"
    runs: dict[int, list[Closed]] = {connections: [] for connections in CONNECTIONS}
    busy: dict[int, int] = {}
    with started(
        _up(place, rollout), {}, folder / "log", lambda: _ready(place, url, question), START_SECONDS
    ):
        pids = _pids(place)
        worker, sandbox = (_process(pids[kind], place, key) for kind, key in KINDS.items())
        for _ in range(ROUNDS):
            for connections in CONNECTIONS:
                before = _restart_peak(pids["worker"])
                run = drive(url, question, connections, SECONDS, folder)
                busy[connections] = max(
                    busy.get(connections, 0), _status_bytes(pids["worker"], "VmHWM") - before
                )
                runs[connections].append(run)
                print(title, f"c={connections}", run, flush=True)
        ask(url, question)
    floors.append(alone(model, work.row, [1], SECONDS, folder))
    size = sum(file.stat().st_size for file in files[0].iterdir())
    return Result(
        size, len(question.body), question.answer.nbytes, floors, worker, sandbox, empty_bytes, runs, busy
    )


KINDS = {"worker": "large/1", "sandbox": "large/2"}


def _up(place: Place, rollouts: str) -> list[str]:
    file = place.folder / "rollouts.yaml"
    file.write_text(rollouts)
    return [
        sys.executable, "-m", "understudy", "up", "--models", str(place.folder / "models"),
        "--rollouts", str(file), "--host", "127.0.0.1", "--port", str(place.port),
        "--admin-port", str(place.other), "--workers", "1", "--state-dir", str(place.folder / "state"),
        "--log-level", "error",
    ]  # fmt: skip


def _empty_bytes(folder: Path) -> int:
    """Resident memory of a worker that serves iris."""
    folder.mkdir()
    place = Place(Path(sys.prefix), folder)
    command = _up(place, "iris: {stable: iris/1}\n")
    command[command.index("--models") + 1] = str(ROOT / "models")
    with started(command, {}, folder / "log", lambda: "worker" in _pids(place), START_SECONDS):
        time.sleep(1)  # until it has settled
        return _status_bytes(_pids(place)["worker"], "VmRSS")


# ---------------------------------------------------------------------- processes


def _get(place: Place, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{place.other}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def _pids(place: Place) -> dict[str, int]:
    """By the kind of process; there is one of each."""
    rows = json.loads(_get(place, "/v1/nodes"))
    return {row["kind"]: int(row["instance"].rpartition("/")[2]) for row in rows}


def _ready(place: Place, url: str, question: Question) -> bool:
    """Whether it answers rightly and both processes have loaded the model."""
    ask(url, question)
    loaded = set(re.findall(r'understudy_model_ready{target="([^"]*)"} 1', _get(place, "/metrics")))
    return set(KINDS) <= set(_pids(place)) and set(KINDS.values()) <= loaded


def _process(pid: int, place: Place, key: str) -> Process:
    found = re.search(
        rf'^understudy_model_load_seconds{{target="{key}"}} (\S+)$', _get(place, "/metrics"), re.MULTILINE
    )
    assert found is not None
    return Process(float(found[1]), _status_bytes(pid, "VmRSS"), _status_bytes(pid, "VmHWM"))


def _status_bytes(pid: int, field: str) -> int:
    """A field of /proc/PID/status, which the kernel gives in KiB (proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise KeyError(field)


def _restart_peak(pid: int) -> int:
    """Let the peak begin at what is resident now, which is returned in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status_bytes(pid, "VmRSS")


def _copy_us() -> float:
    """Microseconds to copy an image's tensor once: the measure of what moving a request costs."""
    source = _image()
    into = np.empty_like(source)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        np.copyto(into, source)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    main()
