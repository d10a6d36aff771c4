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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx

from benchmarks.batching_load import Alone, Question, alone, ask, drive, questions
from benchmarks.batching_models import (
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
from benchmarks.bench import DOCS, ROOT, machine
from benchmarks.peers.load import Closed
from benchmarks.peers.peer import Place
from benchmarks.peers.processes import adopt_orphans, started

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


@dataclass(frozen=True, slots=True)
class Process:
    """One process that holds the model.

    Attributes:
        load_seconds: what it reports: verification, session, warm-up, search for the best batch.
        resident_bytes: with the model, before the load test.
        peak_bytes: the most it ever had, loading included.
    """

    load_seconds: float
    resident_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one model; sizes in bytes.

    Attributes:
        empty_bytes: resident memory of a worker whose only model is tiny.
        busy_bytes: by connections, what the worker's peak was above its resident memory before.
    """

    file_bytes: int
    request_bytes: int
    answer_bytes: int
    alone: list[Alone]
    worker: Process
    sandbox: Process
    empty_bytes: int
    runs: dict[int, list[Closed]]
    busy_bytes: dict[int, int]


def main() -> None:
    """Measure and write docs/benchmarks/large.md."""
    adopt_orphans()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        empty = _empty_bytes(Path(name) / "empty")
        for index, (title, work) in enumerate(WORK.items()):
            results[title] = _measure(title, work, Path(name) / str(index), empty)
    _write(results, _copy_us())


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
        rf'^understudy_model_load_seconds{{target="{key}"}} (\S+)$', _get(place, "/metrics"), re.M
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


# ---------------------------------------------------------------------- the page


def _write(results: Mapping[str, Result], copy_us: float) -> None:
    raw = {title: asdict(result) for title, result in results.items()}
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "large.json").write_text(json.dumps(raw, indent=1) + "\n")
    lines = [
        "# Larger work",
        "",
        "`make bench PARTS=large` wrote this page and `large.json` (the raw figures). Models with random weights,",
        "float32, built on the spot; one row a request as a binary tensor both ways. `understudy up` with one",
        "worker, and the same model as an idle canary in a sandbox, on core 0; wrk (a closed loop) on core 1;",
        f"{ROUNDS} rounds of {SECONDS} s, medians. onnxruntime alone: one thread, in a loop, before and after.",
        f"Taken on {datetime.now(UTC):%Y-%m-%d}. Machine: {machine()}.",
        "",
        "| model | files | request | answer | alone, a run | c=1 p50 | added | c=1 CPU | c=4 requests/s | of alone |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_speed(title, result) for title, result in results.items()),
        "",
        "Load: by onnxruntime alone the session only; by ours with SHA-256, verification in a process of its own",
        "(not repeated for the sandbox, as its pass is remembered), warm-up and the search for the best batch.",
        "Memory in MB: what onnxruntime alone gained by its load; the worker's and the sandbox's resident memory",
        "with the model and their peak so far; and what the worker's peak was above that under load. A worker",
        f"with a tiny model has {next(iter(results.values())).empty_bytes / 1e6:.0f} MB.",
        "",
        "| model | alone, load | ours, load | alone, memory | worker | peak | sandbox | peak | c=1 | c=4 |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_memory(title, result) for title, result in results.items()),
        "",
        *_copies(results["largest value of an image"], copy_us),
    ]
    (DOCS / "large.md").write_text("\n".join(lines) + "\n")


def _speed(title: str, result: Result) -> str:
    floor = statistics.median(one.seconds[1] for one in result.alone)
    p50, cpu = (
        statistics.median(getattr(run, name) for run in result.runs[1]) for name in ("p50_us", "cpu_us")
    )
    rate = statistics.median(run.requests_per_second for run in result.runs[4])
    return (
        f"| {title} | {result.file_bytes / 1e6:.0f} MB | {result.request_bytes / 1e3:.0f} kB "
        f"| {result.answer_bytes / 1e3:.0f} kB | {floor * 1e3:.2f} ms | {p50 / 1e3:.2f} ms "
        f"| {p50 - floor * 1e6:,.0f} us | {cpu / 1e3:.2f} ms | {rate:,.1f} | {rate * floor:.0%} |"
    )


def _memory(title: str, result: Result) -> str:
    loads = statistics.median(one.load_seconds for one in result.alone), result.worker.load_seconds
    sizes = [
        statistics.median(one.load_bytes for one in result.alone),
        result.worker.resident_bytes, result.worker.peak_bytes,
        result.sandbox.resident_bytes, result.sandbox.peak_bytes,
        *result.busy_bytes.values(),
    ]  # fmt: skip
    cells = [f"{seconds:.2f} s" for seconds in loads] + [f"{size / 1e6:,.0f}" for size in sizes]
    return f"| {title} | {' | '.join(cells)} |"


def _copies(result: Result, copy_us: float) -> list[str]:
    """How often a request's bytes are moved: by memory and by time, where the model does next to nothing."""
    cpu = statistics.median(run.cpu_us for run in result.runs[1])
    floor = statistics.median(one.seconds[1] for one in result.alone) * 1e6
    return [
        f"Copies, from the model that only looks for the largest of {result.request_bytes / 1e3:.0f} kB: at c=1 the",
        f"worker's memory grew by {result.busy_bytes[1] / result.request_bytes:.1f} times the request, its",
        f"bytes at the most; all processes of the server took {cpu:.0f} us CPU a request, the run itself {floor:.0f}",
        f"us of it, and copying the tensor once takes {copy_us:.0f} us (in the cache, without page faults).",
    ]


if __name__ == "__main__":
    main()
