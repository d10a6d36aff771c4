"""Files of records, laid out as the log writer does it: with columns of a test's own, or by its encoder."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from router.record.account import Account
from router.record.files.columns import Columns
from router.record.files.footers import Footer, metadata_of, written
from router.record.files.rows import Row

HOUR = datetime(2026, 10, 5, 13, tzinfo=UTC)
INSTANCE = "local.worker-0.1"


def write(
    root: Path, name: str, columns: Mapping[str, Sequence[Any]], model: str = "digits", hour: datetime = HOUR
) -> Path:
    """Write one file of a model and hour below `root`."""
    table = pa.table(dict(columns))
    path = _path(root, name, model, hour)
    pq.write_table(table.replace_schema_metadata(metadata_of(footer(model, {INSTANCE: len(table)}))), path)
    return path


def write_rows(
    root: Path, name: str, rows: Iterable[Row], accounts: Mapping[str, Account] | None = None
) -> Path:
    """Write one file of rows of one model and hour, as the log writer does."""
    columns, given = Columns(), list(rows)
    for row in given:
        assert columns.takes(row)
        columns.add(row)
    first = given[0]
    path = _path(root, name, first.model, first.at)
    path.write_bytes(written(columns.table(), footer(first.model, columns.counts, accounts)))
    return path


def footer(
    model: str, rows: Mapping[str, int], accounts: Mapping[str, Account] | None = None, node: str = "local"
) -> Footer:
    """What a file with so many rows says, by the process that counted them."""
    known = {instance: Account(requests=count, written=count) for instance, count in rows.items()}
    return Footer(model, node, dict(Counter(rows)), known if accounts is None else accounts)


def _path(root: Path, name: str, model: str, hour: datetime) -> Path:
    folder = root / f"model={model}" / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.parquet"


def two_versions(root: Path) -> None:
    """Write two hours of a model, of which the second has other outputs."""
    pixels = np.arange(4, dtype=np.float32).reshape(1, 4)
    outputs = {"output_label": np.array([3])}, {"output_scores": np.array([[0.5, 0.25]], np.float32)}
    for hour, (name, found) in enumerate(zip("ab", outputs, strict=True)):
        at = HOUR + timedelta(hours=hour)
        values = {"kind": "request", "receipt": f"{name}0", "request_time": at, "status_code": 200}
        write_rows(root, name, [Row("digits", INSTANCE, at, values, {"input_pixels": pixels, **found}, 100)])
