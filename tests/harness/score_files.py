"""Files of rows to be scored, small parts of them, and what an output has."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.system import MODELS
from understudy.scoring.asked import Asked
from understudy.scoring.formats import block, lines

DIGITS = np.load(MODELS / "digits" / "heldout.npz")


def digits(rows: int, *, turn: int = 0) -> dict[str, Any]:
    """The columns `id` and `pixels` of so many held-out digits, repeated where there are not enough."""
    places = (np.arange(rows) + turn) % len(DIGITS["inputs"])
    return {
        "id": [f"c{at}" for at in range(rows)],
        "pixels": DIGITS["inputs"][places].astype("f4").tolist(),
    }


def write(path: Path, columns: Mapping[str, Sequence[Any]], group: int = 1000) -> Path:
    """A file of these columns, by what its name ends with; in groups of so many rows, where it has such."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(flat(columns))
            writer.writerows(zip(*flat(columns).values(), strict=True))
    else:
        table = pa.table(dict(columns))
        if path.suffix == ".parquet":
            pq.write_table(table, path, row_group_size=group)
        else:
            with pa.ipc.new_file(path, table.schema) as file:
                file.write_table(table, max_chunksize=group)
    return path


def flat(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Columns of lists as one for each element."""
    found: dict[str, Sequence[Any]] = {}
    for name, values in columns.items():
        if isinstance(values[0], list):
            found |= {f"{name}_{at}": [row[at] for row in values] for at in range(len(values[0]))}
        else:
            found[name] = values
    return found


@contextmanager
def small_chunks(rows: int = 1, size: int = 20_000) -> Iterator[None]:
    """Parts of about so many rows, or bytes of text, for as long as the block."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(block, "CHUNK_ROWS", rows)
        patched.setattr(lines, "CHUNK_BYTES", size)
        yield


def asked(source: Path, folder: Path, key: str = "digits/1", **more: Any) -> Asked:
    """A job for the bundled models."""
    return Asked(source, folder, MODELS, key, **{"jobs": 2, **more})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """All rows of an output, part by part."""
    return [row for part in sorted(folder.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]


def bad_of(folder: Path) -> list[dict[str, Any]]:
    """All bad rows of an output, part by part."""
    parts = sorted((folder / "_bad").glob("*.jsonl"))
    return [orjson.loads(line) for part in parts for line in part.read_bytes().splitlines()]
