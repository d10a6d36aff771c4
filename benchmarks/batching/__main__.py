"""Batching: a large MLP with binary tensors on one core, beside Triton, mosec and onnxruntime alone.

Servers are started one at a time. Each is driven in rounds, and in each round onnxruntime alone is measured
on the same core while the server idles, so that a machine whose speed drifts slows both alike.
"""

import os
import re
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.batching.load import Question, WrongAnswerError, alone, ask, drive, questions
from benchmarks.batching.models import MLP_WIDTHS, mlp, put
from benchmarks.batching.report import Measured, write
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.environments import NotInstalledError, install, packages, pinned
from benchmarks.peers.load import LoadError
from benchmarks.peers.peer import Place, common
from benchmarks.peers.processes import NotStartedError, adopt_orphans, started

ROUNDS = int(os.environ.get("BATCHING_ROUNDS", "3"))
SECONDS = int(os.environ.get("BATCHING_SECONDS", "4"))  # wrk takes whole ones
CONNECTIONS = (1, 8, 32, 64)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SERVERS = Path(__file__).parent / "servers"
ROWS_CHECKED = 64
OURS = "understudy up"
HOW = (
    "`make bench PARTS=batching` wrote this page and `batching.json` (the raw figures). One MLP of the",
    f"widths {', '.join(map(str, MLP_WIDTHS))} in float32; a request is one row as a binary tensor (3 kB in,",
    "4 kB out). The server with all its processes on core 0, wrk (a closed loop) on core 1, one server at a",
    f"time; {ROUNDS} rounds of {SECONDS} s each, medians. The answers to {ROWS_CHECKED} different rows, 16",
    "at once, are compared with onnxruntime's before and after. CPU time is that of all its processes.",
    "Figures move with the machine; the ratios were taken in one run.",
)


@dataclass(frozen=True, slots=True)
class Server:
    """One server of the MLP.

    Attributes:
        configuration: what was chosen, for the page.
        command: to start it; given the model's file.
        pins: name of its environment among the peers'; empty for this repository's own.
        package: whose version is told.
        path: of its endpoint.
        oip: whether it speaks the Open Inference Protocol; else it takes the bytes of a row.
        batches: of its metrics, where they are (given port and second port) and the names of two counters,
            the rows that were run and the batches.
    """

    title: str
    configuration: str
    command: Callable[[Place, Path], Sequence[str]]
    batches: tuple[str, str, str]
    environment: Mapping[str, str]
    pins: str = ""
    package: str = ""
    path: str = "/v2/models/mlp/infer"
    oip: bool = True


def _ours(place: Place, model: Path) -> Sequence[str]:
    rollouts = place.folder / "rollouts.yaml"
    rollouts.write_text("mlp: {stable: mlp/1}\n")
    return [
        sys.executable, "-m", "understudy", "up", "--models", str(model.parents[2]),
        "--rollouts", str(rollouts), "--host", "127.0.0.1", "--port", str(place.port),
        "--admin-port", str(place.other), "--workers", "1", "--state-dir", str(place.folder / "state"),
        "--log-level", "info",
    ]  # fmt: skip


def _triton(place: Place, _: Path) -> Sequence[str]:
    [triton] = [peer for peer in PEERS if peer.name == "triton"]
    command = [part for part in triton.command(place) if not part.startswith("--model-repository")]
    return [*command, f"--model-repository={SERVERS / 'triton'}"]


def _mosec(place: Place, _: Path) -> Sequence[str]:
    script = str(SERVERS / "mosec_mlp.py")
    return [place.python, script, "--address", "127.0.0.1", "--port", str(place.port), "--log-level", "error"]


ALL = (
    Server(
        OURS,
        "one worker; rollout, metrics and control on; batching as it comes (`auto`)",
        _ours,
        ("http://127.0.0.1:{other}/metrics", "understudy_batch_size_sum", "understudy_batch_size_count"),
        {},
    ),
    Server(
        "Triton",
        "tritonserver of nvidia-pytriton, Python backend with onnxruntime, one instance, dynamic batching up"
        " to 64 without delay, two HTTP threads, metrics on",
        _triton,
        ("http://127.0.0.1:{other}/metrics", "nv_inference_count", "nv_inference_exec_count"),
        {},
        pins="triton",
        package="nvidia-pytriton",
    ),
    Server(
        "mosec",
        "one worker, plain bytes in and out, batches of up to 64 after at most 1 ms (its least)",
        _mosec,
        ("http://127.0.0.1:{port}/metrics", "mosec_service_batch_size_sum", "mosec_service_batch_size_count"),
        {"MLP_BATCH": "64", "MLP_WAIT_MS": "1"},
        pins="mosec",
        package="mosec",
        path="/inference",
        oip=False,
    ),
)


def main() -> None:
    """Measure and write docs/benchmarks/batching.md; PEERS selects among the servers by their names."""
    adopt_orphans()
    wanted = os.environ.get("PEERS", "")
    servers = [one for one in ALL if one.title == OURS or not wanted or one.pins in wanted.split(",")]
    results: dict[str, dict[int, list[Measured]]] = {server.title: {} for server in servers}
    floors: dict[str, list[dict[int, float]]] = {}
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = put(mlp(*MLP_WIDTHS), folder / "models", "mlp") / "model.onnx"
        for index, server in enumerate(servers):
            place = folder / str(index)
            place.mkdir()
            try:
                _measure(server, place, model, results, floors, notes)
            except (NotInstalledError, NotStartedError, LoadError, WrongAnswerError) as error:
                notes[server.title] = str(error)
    write(results, floors, [_note(server, notes.get(server.title, "")) for server in servers], HOW)


def _measure(
    server: Server,
    folder: Path,
    model: Path,
    results: dict[str, dict[int, list[Measured]]],
    floors: dict[str, list[dict[int, float]]],
    notes: dict[str, str],
) -> None:
    rows = np.random.default_rng(1).random((ROWS_CHECKED, MLP_WIDTHS[0])).astype(np.float32)
    asked = questions(model, [row[None] for row in rows], oip=server.oip)
    place = Place(install(server.pins) if server.pins else Path(sys.prefix), folder)
    url = f"http://127.0.0.1:{place.port}{server.path}"
    log = folder / "log"
    environment = {**_environment(server, place), "MLP_MODEL": str(model)}
    with started(server.command(place, model), environment, log, lambda: _answers(url, asked[0]), 60):
        _ask_all(url, asked)
        for _ in range(ROUNDS):
            floor = alone(model, rows[:1], BATCHES, SECONDS / 8, folder).seconds
            floors.setdefault(server.title, []).append(floor)
            print("alone, rows/s:", {batch: round(batch / run) for batch, run in floor.items()}, flush=True)
            for connections in CONNECTIONS:
                before = _counters(server, place)
                run = drive(url, asked[0], connections, SECONDS, folder)
                rows_run, batches = (b - a for a, b in zip(before, _counters(server, place), strict=True))
                one = Measured(run, rows_run / max(batches, 1))
                results[server.title].setdefault(connections, []).append(one)
                print(server.title, f"c={connections}", one, flush=True)
        _ask_all(url, asked)
    if found := re.search(r"max_rows=(\d+).*?rows_per_second=({.*?})", log.read_text(errors="replace")):
        notes[server.title] = f"the search at load chose {found[1]} of these rows/s: {found[2]}"


def _note(server: Server, more: str) -> str:
    version = f" {pinned(server.pins, server.package)}" if server.pins else ""
    return f"{server.title}{version}: {server.configuration}" + (f"; {more}" if more else "")


def _environment(server: Server, place: Place) -> dict[str, str]:
    if not server.pins:
        return {"OMP_NUM_THREADS": "1"}
    path = f"{SERVERS}:{packages(place.home)}"
    return {**common(place.home), "PYTHONPATH": path, **server.environment}


def _answers(url: str, question: Question) -> bool:
    ask(url, question)
    return True


def _ask_all(url: str, asked: Sequence[Question]) -> None:
    """All rows, many at once: a server that batches must not mix them up."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda question: ask(url, question), asked))


def _counters(server: Server, place: Place) -> tuple[float, float]:
    """Rows run and batches run so far."""
    where, rows, batches = server.batches
    with urllib.request.urlopen(where.format(port=place.port, other=place.other), timeout=10) as answer:
        text = answer.read().decode()
    return _sum(text, rows), _sum(text, batches)


def _sum(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


if __name__ == "__main__":
    main()
