"""Files of records as the log writer lays them out, with columns of a test's own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HOUR = datetime(2026, 10, 5, 13, tzinfo=UTC)


def write(
    root: Path,
    name: str,
    columns: Mapping[str, Sequence[Any]],
    model: str = "digits",
    hour: datetime = HOUR,
    footer: Mapping[bytes, bytes] | None = None,
) -> Path:
    """Write one file of a model and hour below `root`."""
    folder = root / f"model={model}" / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(dict(columns)).replace_schema_metadata(dict(footer or {})), path)
    return path
