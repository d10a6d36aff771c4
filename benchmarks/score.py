"""`python -m benchmarks.score [--rows N]`: `understudy score` beside bare loops of onnxruntime.

The file is Parquet with a column for each of the 30 inputs of `cancer`: held-out rows, each number up to 10%
off. The bare loop is what people write: batches of Arrow, stacked into an array, `session.run`, with a thread
for each CPU inside the session; its answers are thrown away, or written as Parquet with zstd as ours are. The
third kind runs the loop in a thread for each CPU over row groups, each run with one: what the cores can do.
All in processes of their own, in turns; seconds are those from the first batch, or of the whole job, the
checks of the model with it. The most memory is that of the process, of a tenth of the rows and of all.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.tools.bench import ROOT, add_out, machine, publish
from serving.host.cpus import available_cpus
from serving.models.files.repository import Repository
from serving.models.session.onnx_model import OnnxModel

MODELS = ROOT / "models"
GROUP_ROWS, BLOCK_ROWS = 100_000, 16_384
LOOPS = {
    "plain": "a bare loop, answers thrown away",
    "writing": "a bare loop that writes its answers",
    "threads": "bare loops in a thread for each CPU, answers thrown away",
}

Floats = npt.NDArray[np.float32]


def write_rows(path: Path, rows: int) -> None:
    """A file of so many rows, written in row groups."""
    held_out = np.load(MODELS / "cancer" / "heldout.npz")["inputs"].astype("f4")
    rng = np.random.default_rng(1)
    names = [f"features_{at}" for at in range(held_out.shape[1])]
    schema = pa.schema([("id", pa.int64()), *((name, pa.float32()) for name in names)])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, GROUP_ROWS):
            count = min(GROUP_ROWS, rows - first)
            chosen = held_out[rng.integers(0, len(held_out), count)]
            off = rng.uniform(0.9, 1.1, chosen.shape).astype("f4")
            columns = [pa.array(np.arange(first, first + count)), *map(pa.array, (chosen * off).T.copy())]
            writer.write_table(pa.table(columns, schema=schema))


def bare(kind: str, path: Path, key: str, batch: int) -> float:
    """Seconds of a bare loop over a file."""
    name, _, version = key.partition("/")
    cpus = available_cpus()
    model = OnnxModel.load(Repository(MODELS).find(name, version), 1 if kind == "threads" else cpus)
    names = [spec.name for spec in model.signature.outputs]

    def run(feeds: dict[str, Any]) -> list[Any]:
        return model.native.run(names, feeds, None)  # type: ignore[no-any-return]

    run({"features": np.zeros((batch, 30), "f4")})
    began = time.perf_counter()
    groups = pq.ParquetFile(path).metadata.num_row_groups
    if kind == "threads":
        with ThreadPoolExecutor(cpus) as threads:
            list(threads.map(lambda group: [*_answers(path, [group], batch, run)] and None, range(groups)))
    elif kind == "plain":
        for _ in _answers(path, range(groups), batch, run):
            pass
    else:
        _write(path.with_suffix(".out"), _answers(path, range(groups), batch, run))
    return time.perf_counter() - began


def _answers(
    path: Path, groups: Sequence[int], batch: int, run: Callable[[dict[str, Any]], list[Any]]
) -> Iterator[list[Any]]:
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if name.startswith("features")]
        for rows in file.iter_batches(BLOCK_ROWS, row_groups=list(groups), columns=names):
            features = np.stack([column.to_numpy() for column in rows.columns], axis=1)
            for first in range(0, len(features), batch):
                yield run({"features": features[first : first + batch]})


def _write(path: Path, answers: Iterator[list[Any]]) -> None:
    schema = pa.schema([("label", pa.int64()), ("probabilities", pa.list_(pa.float32(), 2))])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for label, probabilities in answers:
            lists = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), 2)
            writer.write_table(pa.table([pa.array(label), lists], schema=schema))


def _in_a_process(*arguments: str) -> dict[str, float]:
    """What a process of its own says, and the most memory that it took (its children's left out)."""
    code = (
        "import json, resource, runpy, sys\n"
        "try:\n runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)\n"
        "except SystemExit as ended:\n assert not ended.code, ended\n"
        "print(); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    text, _, peak = done.stdout.rstrip().rpartition("\n")
    return {"seconds": float(json.loads(text)["seconds"]), "peak_bytes": float(peak)}


def _ours(path: Path, key: str, batch: int, folder: Path) -> dict[str, float]:
    return _in_a_process(
        "understudy", "score", str(path), str(folder), "--model", key, "--models", str(MODELS),
        "--batch", str(batch), "--json",
    )  # fmt: skip


def measure(rows: int, key: str, batch: int, turns: int) -> dict[str, Any]:
    """Ours and the bare loops in turns, and the most memory of a tenth of the rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, tenth = folder / "rows.parquet", folder / "tenth.parquet"
        write_rows(whole, rows)
        write_rows(tenth, rows // 10)
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in ("ours", *LOOPS)}
        for turn in range(turns):
            found["ours"].append(_ours(whole, key, batch, folder / f"out-{turn}"))
            for kind in LOOPS:
                arguments = "benchmarks.score", "--bare", kind, str(whole), key, str(batch)
                found[kind].append(_in_a_process(*arguments))
        return {
            "model": key,
            "rows": rows,
            "batch": batch,
            "seconds": {kind: median(run["seconds"] for run in runs) for kind, runs in found.items()},
            "peak_bytes": max(run["peak_bytes"] for run in found["ours"]),
            "peak_bytes_of_a_tenth": _ours(tenth, key, batch, folder / "out-tenth")["peak_bytes"],
            "runs": found,
        }


AIMED = (
    "Aimed at is 80% of a bare loop, whose session has a thread for each CPU, as ours have together. A loop"
    " in threads, each with calls of its own, is what the cores can do."
)


def page(measured: Sequence[dict[str, Any]], turns: int, load: float) -> str:
    """The figures as a page; `load` is the average before it began."""
    rows = []
    for each in measured:
        ours = each["seconds"]["ours"]
        rows.append(f"| {each['model']}: `understudy score` | {ours:.1f} s | {each['rows'] / ours:,.0f} | |")
        rows += [
            f"| {words} | {each['seconds'][kind]:.1f} s | {each['rows'] / each['seconds'][kind]:,.0f}"
            f" | {each['seconds'][kind] / ours:.0%} |"
            for kind, words in LOOPS.items()
        ]
    memory = "; ".join(
        f"{each['model']}: {each['peak_bytes'] / 1e6:,.0f} MB for all rows,"
        f" {each['peak_bytes_of_a_tenth'] / 1e6:,.0f} MB for a tenth of them"
        for each in measured
    )
    about = (
        f"`python -m benchmarks.score --turns {turns}`, {dt.datetime.now(dt.UTC):%Y-%m-%d}:"
        f" {measured[0]['rows']:,} rows of 30 columns, Parquet. {machine()}. Load average before: {load:.1f};"
        " nothing that we started ran beside it."
    )
    return "\n".join(
        [
            "# Scoring files",
            "",
            about,
            "",
            AIMED,
            "",
            "| | time | rows/s | ours, as a share of it |",
            "|---|---|---|---|",
            *rows,
            "",
            f"The most memory: {memory}.",
            "",
        ]
    )


def main() -> None:
    """Measure, and write page and figures; or be one of the bare loops."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--bare", nargs=4, metavar=("KIND", "FILE", "MODEL", "BATCH"))
    add_out(parser)
    given = parser.parse_args()
    if given.bare:
        kind, file, key, batch = given.bare
        print(json.dumps({"seconds": bare(kind, Path(file), key, int(batch))}))
        return
    load = os.getloadavg()[0]
    found = [measure(given.rows, key, given.batch, given.turns) for key in ("cancer/1", "cancer/2")]
    publish(given.out, "score", {"models": found}, page(found, given.turns, load))


if __name__ == "__main__":
    main()
