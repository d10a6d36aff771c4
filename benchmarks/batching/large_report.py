"""The page of the benchmark of larger work."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from benchmarks.batching.load import Alone
from benchmarks.peers.load import Closed
from benchmarks.tools.bench import DOCS, machine


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


HOW = (
    "`make bench PARTS=large` wrote this page and `large.json` (the raw figures). Models with random",
    "weights, float32, built on the spot; one row a request as a binary tensor both ways. `understudy up`",
    "with one worker, and the same model as an idle canary in a sandbox, on core 0; wrk (a closed loop) on",
    "core 1; medians of several rounds. onnxruntime alone: one thread, in a loop, before and after.",
)
LOADED = (
    "Load: by onnxruntime alone the session only; by ours with SHA-256, verification in a process of its own",
    "(the sandbox finds its pass remembered), warm-up and the search for the best batch. Memory in MB: what",
    "onnxruntime alone gained by its load; the worker's and the sandbox's resident memory with the model and",
    "their peak so far; and how far the worker's peak rose above that under load.",
)


def write(results: Mapping[str, Result], copy_us: float) -> None:
    """Write docs/benchmarks/large.md and the raw figures; `copy_us` is what one copy of an image takes."""
    raw = {title: asdict(result) for title, result in results.items()}
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "large.json").write_text(json.dumps(raw, indent=1) + "\n")
    tiny = next(iter(results.values())).empty_bytes / 1e6
    lines = [
        "# Larger work",
        "",
        *HOW,
        f"Taken on {datetime.now(UTC):%Y-%m-%d}. Machine: {machine()}.",
        "",
        "| model | files | request | answer | alone | c=1 p50 | added | CPU | c=4 requests/s | of alone |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_speed(title, result) for title, result in results.items()),
        "",
        *LOADED,
        f"A worker with tiny models has {tiny:.0f} MB.",
        "",
        "| model | alone, load | ours, load | alone, memory | worker | peak | sandbox | peak | c=1 | c=4 |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_memory(title, result) for title, result in results.items()),
        "",
        *_copies(next(iter(results.values())), copy_us),
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
    alone_us = statistics.median(one.seconds[1] for one in result.alone) * 1e6
    grown = result.busy_bytes[1] / result.request_bytes
    return [
        f"Copies: the first model only looks for the largest of {result.request_bytes / 1e3:.0f} kB. The",
        f"worker's memory rose at c=1 by {grown:.1f} times the request at the most. All processes took",
        f"{cpu:.0f} us CPU a request, of which the run takes {alone_us:.0f} us; to copy the tensor once, in",
        f"the cache, takes {copy_us:.0f} us.",
    ]
