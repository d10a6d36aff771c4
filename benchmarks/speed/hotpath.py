"""The hot path: one worker on one core, iris-sized JSON, beside the floor, in one run.

Every server is started once and they take turns: a machine whose speed drifts slows them alike.
"""

import json
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from sys import executable

from benchmarks.tools.bench import DOCS, Run, free_port, machine, median, server, wrk

ROUNDS = 5
SECONDS = 4.0
INFER = "/v2/models/iris/infer"
ROLLOUTS = {
    "understudy up: stable": "iris: {stable: iris/1}\n",
    "understudy up: canary at 0.1%": ("iris: {stable: iris/1, canary: {model: iris/2, weight: 0.1}}\n"),
    "understudy up: canary at 0.1%, mirror 100%": (
        "iris: {stable: iris/1, canary: {model: iris/2, weight: 0.1, mirror: 100}}\n"
    ),
    "understudy up: canary at 10%": "iris: {stable: iris/1, canary: {model: iris/2, weight: 10}}\n",
    "understudy up: canary at 10%, mirror 100%": (
        "iris: {stable: iris/1, canary: {model: iris/2, weight: 10, mirror: 100}}\n"
    ),
}
FLOOR = "floor: bare httptools protocol"
BARE = "serving.http.connection and the model, neither routed nor counted"
ALONE = {FLOOR: "floor.py", BARE: "bare.py"}


def main() -> None:
    """Measure and write docs/benchmarks/hotpath.md."""
    results: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        models = _models(Path(folder))
        _measure({**dict.fromkeys(ALONE), **ROLLOUTS}, Path(folder), models, results)
    _write(results)


def _models(folder: Path) -> Path:
    """A repository with iris twice, so that the candidate costs what stable costs."""
    source = Path("models/iris/1/model.onnx").read_bytes()
    for number in ("1", "2"):
        path = folder / "models" / "iris" / number / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(source)
    (folder / "models" / "iris" / "config.yaml").write_text("versions: all\n")
    return folder / "models"


def _measure(
    servers: Mapping[str, str | None], folder: Path, models: Path, results: dict[str, dict[str, list[Run]]]
) -> None:
    with ExitStack() as stack:
        urls: dict[str, tuple[str, list[int]]] = {}
        for index, (name, rollouts) in enumerate(servers.items()):
            port, admin = free_port(), free_port()
            url = f"http://127.0.0.1:{port}{INFER}"
            if rollouts is None:
                command = [executable, f"benchmarks/{ALONE[name]}", str(port)]
                process = stack.enter_context(server(command, url))
                urls[name] = url, [process.pid]
                continue
            file = folder / f"{index}.yaml"
            file.write_text(rollouts)
            command = [
                executable, "-m", "understudy", "up", "--models", str(models), "--rollouts", str(file),
                "--host", "127.0.0.1", "--port", str(port), "--admin-port", str(admin),
                "--state-dir", str(folder / f"state{index}"), "--log-level", "error",
            ]  # fmt: skip
            stack.enter_context(server(command, url))
            urls[name] = url, workers(admin)
        for _ in range(ROUNDS):
            for name, (url, pids) in urls.items():
                for connections in (32, 1):
                    run = wrk(url, connections, SECONDS, pids)
                    results.setdefault(name, {}).setdefault(f"c={connections}", []).append(run)
                    print(name, f"c={connections}", run, flush=True)


def workers(admin_port: int) -> list[int]:
    """The process ids of a node's workers, as control knows them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/v1/nodes") as answer:
        rows = json.loads(answer.read())
    return [int(row["instance"].rpartition("/")[2]) for row in rows if row["kind"] == "worker"]


def _write(results: Mapping[str, Mapping[str, list[Run]]]) -> None:
    raw = {
        name: {load: [asdict(run) for run in runs] for load, runs in loads.items()}
        for name, loads in results.items()
    }
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "hotpath.json").write_text(json.dumps(raw, indent=1) + "\n")
    floor = {load: median(runs) for load, runs in results[FLOOR].items()}
    lines = [
        "# The hot path",
        "",
        "`make bench PARTS=hotpath` wrote this page and `hotpath.json` (the raw figures). One worker on",
        "core 0, wrk on core 1, an iris-sized JSON request (4 floats in; label and 3 probabilities out),",
        f"{ROUNDS} rounds of {SECONDS:g} s in turn, medians. CPU time is the worker's (or the floor's).",
        "Metrics and counts are on. Sandbox, control and supervisor run on core 0 too: what they do costs",
        "requests/s, not CPU a request. Figures move with the machine; the ratios were taken in one run.",
        "What is added is CPU a request beyond that of the same protocol and model without a router: the",
        "choice, the evidence, the metrics, the mirror. With a canary at 0.1% stable answers nearly all.",
        "",
        f"Machine: {machine()}.",
        "",
        "| server | c=32 requests/s | of the floor | CPU a request | added | c=1 p50 | of the floor |",
        "|---|---|---|---|---|---|---|",
    ]
    bare = median(results[BARE]["c=32"]).cpu_us
    for name, loads in results.items():
        many, one = median(loads["c=32"]), median(loads["c=1"])
        lines.append(
            f"| {name} | {many.requests_per_second:,.0f} "
            f"| {many.requests_per_second / floor['c=32'].requests_per_second:.0%} | {many.cpu_us:.1f} us "
            f"| {f'{many.cpu_us - bare:.1f} us' if name in ROLLOUTS else ''} "
            f"| {one.p50_us:.0f} us | {one.p50_us / floor['c=1'].p50_us:.2f}x |"
        )
    (DOCS / "hotpath.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
