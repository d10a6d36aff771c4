"""`TREES_BASE=COMMIT python -m benchmarks.speed.trees`: this tree beside an earlier one, into trees.md.

Both trees run in the same environment, as `understudy up` on core 0 with wrk on core 1, and take turns; which
of them begins changes with each round. So what is told apart is the code, not the machine's mood.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.batching.models import MLP_WIDTHS, mlp, put
from benchmarks.tools.bench import DOCS, ROOT, Run, machine, median, wrk
from benchmarks.tools.ours import Ours, ours

ROUNDS = int(os.environ.get("TREES_ROUNDS", "7"))
SECONDS = 3.0
BASE = os.environ.get("TREES_BASE", "0344362")  # the last tree before the rooms
IRIS = "/v2/models/iris/infer"
MLP = "/v2/models/mlp/infer"
DIGITS = "/v2/models/digits/infer"


@dataclass(frozen=True, slots=True)
class Case:
    """One way to be asked.

    Attributes:
        rollouts: the file's text; `iris`, `mlp` and `digits` are there.
        path: of the endpoint.
        script: of wrk.
        connections: open at once.
        workers, sandboxes: how many processes of the data plane.
    """

    rollouts: str
    path: str = IRIS
    script: str = "request.lua"
    connections: int = 32
    workers: int = 1
    sandboxes: int = 0


STABLE = "iris: {stable: iris/1}\n"
MIRRORED = "iris: {stable: iris/1, canary: {model: iris/2, weight: 10, mirror: 100}}\n"
CASES = {
    "stable, 1 connection": Case(STABLE, connections=1),
    "stable, 32 connections": Case(STABLE),
    "canary at 10%, mirror 100%, 32 connections": Case(MIRRORED, sandboxes=1),
    "digits of 8 rows, two workers, 64 connections": Case(
        "digits: {stable: digits/4}\n", DIGITS, "workers.lua", 64, workers=2
    ),
    "MLP, binary, batched, 32 connections": Case("mlp: {stable: mlp/1}\n", MLP, "batching.lua"),
}


def main() -> None:
    """Measure and write docs/benchmarks/trees.md."""
    found: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory() as folder, _checkout(Path(folder) / "base") as base:
        models = _models(Path(folder))
        _bodies(Path(folder))
        for name, case in CASES.items():
            found[name] = _turns(case, {"base": base, "now": ROOT}, models, Path(folder) / name)
            print(name, {tree: median(runs) for tree, runs in found[name].items()}, flush=True)
    _write(found)


@contextmanager
def _checkout(folder: Path) -> Iterator[Path]:
    subprocess.run(["git", "worktree", "add", "--detach", str(folder), BASE], cwd=ROOT, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, check=True)


def _models(folder: Path) -> Path:
    """Iris twice, so that the candidate costs what stable costs; digits; the MLP of the batching page."""
    models = folder / "models"
    for name, versions in (("iris", {"1": "1", "2": "1"}), ("digits", {"4": "4"})):
        for version, source in versions.items():
            path = models / name / version / "model.onnx"
            path.parent.mkdir(parents=True)
            path.write_bytes((ROOT / "models" / name / source / "model.onnx").read_bytes())
        (models / name / "config.yaml").write_text("versions: all\n")
    put(mlp(*MLP_WIDTHS), models, "mlp")
    return models


def _bodies(folder: Path) -> None:
    """What wrk's scripts send, where they look for it."""
    pixels = {
        "name": "pixels",
        "shape": [8, 64],
        "datatype": "FP32",
        "data": [float(i % 17) for i in range(512)],
    }
    (folder / "digits.json").write_text(json.dumps({"inputs": [pixels]}))
    row = np.random.default_rng(0).standard_normal((1, MLP_WIDTHS[0])).astype(np.float32).tobytes()
    tensor = {
        "name": "x",
        "shape": [1, MLP_WIDTHS[0]],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(row)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    (folder / "mlp.bin").write_bytes(head + row)
    os.environ |= {
        "WORKERS_BODY": str(folder / "digits.json"),
        "BENCH_BODY": str(folder / "mlp.bin"),
        "BENCH_JSON_LENGTH": str(len(head)),
    }


def _turns(case: Case, trees: dict[str, Path], models: Path, folder: Path) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {tree: [] for tree in trees}
    with ExitStack() as stack:
        systems = {
            tree: stack.enter_context(
                ours(
                    folder / tree,
                    case.rollouts,
                    models=models,
                    cores="0" if case.workers == 1 else "0,1",
                    workers=case.workers,
                    sandboxes=case.sandboxes,
                    tree=path,
                )
            )
            for tree, path in trees.items()
        }
        for number in range(ROUNDS + 1):
            for tree in sorted(systems, reverse=number % 2 == 1):
                run = _run(case, systems[tree])
                if number > 0:  # the first warms up
                    runs[tree].append(run)
    return runs


def _run(case: Case, system: Ours) -> Run:
    return wrk(
        f"http://127.0.0.1:{system.port}{case.path}",
        case.connections,
        SECONDS,
        system.pids["worker"],
        case.script,
        core="1" if case.workers == 1 else "0,1",
    )


def _write(found: dict[str, dict[str, list[Run]]]) -> None:
    raw = {
        name: {tree: [asdict(run) for run in runs] for tree, runs in trees.items()}
        for name, trees in found.items()
    }
    (DOCS / "trees.json").write_text(json.dumps(raw, indent=1) + "\n")
    lines = [
        "# This tree beside an earlier one",
        "",
        f"`TREES_BASE={BASE} make bench PARTS=trees` wrote this page and `trees.json` (the raw figures).",
        f"Both trees ran in turn in the same environment, {ROUNDS} rounds of {SECONDS:g} s after one to warm",
        "up, the one that begins changing; medians. One worker on core 0 and wrk on core 1; two workers and",
        f"wrk have both. CPU is the workers'. {datetime.now(UTC):%d %B %Y}. Machine: {machine()}.",
        "",
        "| load | requests/s, base | now | ratio | CPU a request, base | now | ratio | p50 ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, trees in found.items():
        base, now = median(trees["base"]), median(trees["now"])
        lines.append(
            f"| {name} | {base.requests_per_second:,.0f} | {now.requests_per_second:,.0f} "
            f"| {now.requests_per_second / base.requests_per_second:.3f} "
            f"| {base.cpu_us:.1f} us | {now.cpu_us:.1f} us | {now.cpu_us / base.cpu_us:.3f} "
            f"| {now.p50_us / base.p50_us:.3f} |"
        )
    (DOCS / "trees.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
