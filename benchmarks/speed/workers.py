"""`python -m benchmarks.speed.workers`: two workers on two cores against one, into workers.md.

The work is CPU-bound: digits/4, eight images a request. One worker has
core 0 and the generator (wrk, closed loop) core 1. Two workers have both cores and the generator takes
what it needs from them, so besides the plain ratio there is one with its share accounted for: requests for
each second of CPU that the workers got, times two cores. What the cores take from each other (caches,
memory, the clock) nobody's program can give back: the same model by onnxruntime alone, in a loop without any
server, on one core and on both at once, says how much that is.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import orjson

from benchmarks.tools.bench import DOCS, ROOT, machine, wrk
from benchmarks.tools.ours import Ours, ours

ROUNDS = 5
SECONDS = 4.0
CONNECTIONS = 32
ROWS = 8
GOAL = 1.8
CORES = {1: "0", 2: "0,1"}
GENERATOR_CORE = {1: "1", 2: "0,1"}
PATH = "/v2/models/digits/infer"
PIXELS = [float(i % 17) for i in range(64 * ROWS)]
BODY = {"inputs": [{"name": "pixels", "shape": [ROWS, 64], "datatype": "FP32", "data": PIXELS}]}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of wrk.

    Attributes:
        requests_per_second: answered with 200; anything else fails the benchmark.
        p50_us, p99_us: latency.
        worker_cores: CPU time of the workers in seconds, a second.
        other_cores: that of control and supervisor.
        requests_per_cpu_second: of the workers.
    """

    requests_per_second: float
    p50_us: float
    p99_us: float
    worker_cores: float
    other_cores: float
    requests_per_cpu_second: float


def main() -> None:
    """Measure and write."""
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed")
    samples: dict[int, list[Sample]] = {1: [], 2: []}
    loops: list[float] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        body = Path(folder) / "body.json"
        body.write_bytes(orjson.dumps(BODY))
        os.environ["WORKERS_BODY"] = str(body)
        systems = {
            workers: stack.enter_context(
                ours(
                    Path(folder) / str(workers),
                    "digits: {stable: digits/4}\n",
                    models=ROOT / "models",
                    cores=cores,
                    workers=workers,
                )
            )
            for workers, cores in CORES.items()
        }
        for _ in range(ROUNDS):
            for workers, system in systems.items():
                samples[workers].append(_measure(system, workers))
                print(workers, samples[workers][-1], flush=True)
            loops.append(_alone(2) / _alone(1))
            print("alone", loops[-1], flush=True)
    _write(samples, loops)


def _measure(system: Ours, workers: int) -> Sample:
    before = system.cpu_seconds()
    url = f"http://127.0.0.1:{system.port}{PATH}"
    run = wrk(url, CONNECTIONS * workers, SECONDS, [], "workers.lua", core=GENERATOR_CORE[workers])
    cpu = {kind: (seconds - before[kind]) / SECONDS for kind, seconds in system.cpu_seconds().items()}
    each = run.requests_per_second / cpu["worker"]
    others = cpu["control and supervisor"]
    return Sample(run.requests_per_second, run.p50_us, run.p99_us, cpu["worker"], others, each)


def _alone(cores: int) -> float:
    """Runs for each second of CPU, summed over loops that run at once, one a core."""
    loops = [
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.speed.workers_alone",
            str(SECONDS)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for core in range(cores)
    ]  # fmt: skip
    return sum(float(loop.communicate()[0]) for loop in loops)


def _write(samples: dict[int, list[Sample]], loops: list[float]) -> None:
    raw: dict[str, object] = {str(n): [asdict(sample) for sample in found] for n, found in samples.items()}
    raw["onnxruntime alone, two against one"] = loops
    (DOCS / "workers.json").write_text(json.dumps(raw, indent=1) + "\n")
    middle = {
        workers: Sample(
            *(median(column) for column in zip(*(asdict(s).values() for s in found), strict=True))
        )
        for workers, found in samples.items()
    }
    plain = median(
        two.requests_per_second / one.requests_per_second for one, two in zip(*samples.values(), strict=True)
    )
    accounted = median(
        2 * two.requests_per_cpu_second / one.requests_per_cpu_second
        for one, two in zip(*samples.values(), strict=True)
    )
    page = [
        "# Two workers against one", "",
        "`make bench PARTS=workers` wrote this page and `workers.json` (the raw figures).",
        str(__doc__).split("\n\n", 1)[1].strip(), "",
        f"{ROUNDS} rounds of {SECONDS:g} s in turn, {CONNECTIONS} connections for each worker, medians.",
        f"{datetime.now(UTC):%Y-%m-%d}. Machine: {machine()}.", "",
        "| workers | requests/s | p50 | p99 | cores they used | by control | requests a CPU second |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {workers} | {s.requests_per_second:,.0f} | {s.p50_us / 1e3:.1f} ms | {s.p99_us / 1e3:.1f} ms "
            f"| {s.worker_cores:.2f} | {s.other_cores:.3f} | {s.requests_per_cpu_second:,.0f} |"
            for workers, s in middle.items()
        ), "",
        f"Two against one, round by round: {plain:.2f}x as measured, {accounted:.2f}x with the generator's",
        f"share accounted for; the goal is {GOAL}x. onnxruntime alone, without a server:",
        f"{median(loops):.2f}x ({min(loops):.2f} to {max(loops):.2f}x in the rounds).", "",
    ]  # fmt: skip
    (DOCS / "workers.md").write_text("\n".join(page))
    print("\n".join(page))


if __name__ == "__main__":
    main()
