"""Rows of a Parquet file, and of the prediction log; both need the extra `records`.

Of the log, rows are requests whose inputs were recorded, the latest first in the sense that older files are
not opened once there are enough: a log has more rows than anybody waits for.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import InvalidInput, NotFound, ServingError
from understudy.offline.data.columns import Columns
from understudy.offline.data.rows import LOGGED, RAW, RECORDED
from understudy.records.place import Place, Wanted, open_place

if TYPE_CHECKING:
    import pyarrow as pa

MOST_LOGGED = 100_000
"""Rows of the log, unless somebody says how many."""


def read_parquet(path: Path) -> Columns:
    """The columns of a file.

    Raises:
        InvalidInput: it is no Parquet file.
        ServingError: pyarrow is not installed.
    """
    pq, invalid = _pyarrow()
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except invalid as error:
        raise InvalidInput(f"{path}: not a Parquet file: {_first_line(error)}") from None
    return Columns(str(path), {name: table.column(name).to_pylist() for name in table.column_names})


def read_records(
    place: str, model: str, since_seconds: float | None, limit: int | None
) -> tuple[Columns, str]:
    """The latest requests to a model in the prediction log.

    Args:
        place: a folder, or the URL of a bucket.
        model: public name.
        since_seconds: only those that arrived at most so long ago, whole hours; None for all.
        limit: of rows; None for `MOST_LOGGED`.

    Returns:
        Their columns, and in words what was left out; or nothing.

    Raises:
        NotFound: there is no such request with its inputs; says what there is, and the remedy.
        ServingError: the place cannot be read, or a file in it.
    """
    pq, _ = _pyarrow()
    from understudy.records.present import parquet, present

    since = None if since_seconds is None else datetime.now(UTC) - timedelta(seconds=since_seconds)
    where, most = open_place(place), limit or MOST_LOGGED
    files = present(where, Wanted(model, since))
    if not files:
        raise NotFound(f"records:{place}: no request to {model!r} {_instead(where, model)}")
    rows: list[dict[str, Any]] = []
    opened = 0
    for file in reversed(files):
        if len(rows) >= most:
            break
        with parquet(where, file) as source:
            rows += _requests(pq.read_table(source))
        opened += 1
    if not rows:
        raise NotFound(f"records:{place}: no request to {model!r} with its inputs; {RECORDED}")
    left = opened < len(files) or len(rows) > most
    note = f"the latest {most:,} requests of the log; --limit takes more" if left and limit is None else ""
    return _columns(f"records:{place}", rows[:most]), note


def _instead(where: Place, model: str) -> str:
    """What a log has that has no request to a model as late as wanted, in words."""
    latest = {file.model: file.hour for file in where.files()}  # the oldest hour first
    if model in latest:
        return f"that arrived so late; the latest came in the hour from {latest[model]:%Y-%m-%d %H:%M} UTC"
    others = ", ".join(map(repr, sorted(latest)[:8]))
    return f"is in it; it has requests to {others}" if others else "is in it, nor to anybody else"


def _requests(table: "pa.Table") -> list[dict[str, Any]]:
    """Rows of requests that have inputs, the latest first."""
    inputs = [name for name in table.column_names if name.startswith(LOGGED) and name != RAW]
    rows: list[dict[str, Any]] = table.to_pylist()
    return [
        row
        for row in reversed(rows)
        if row.get("kind", "request") == "request" and any(row[name] is not None for name in inputs)
    ]


def _columns(file: str, rows: list[dict[str, Any]]) -> Columns:
    """Rows as columns; files of other versions may lack some."""
    names = dict.fromkeys(name for row in rows for name in row)
    return Columns(file, {name: [row.get(name) for row in rows] for name in names})


def _pyarrow() -> tuple[Any, type[Exception]]:
    try:
        import pyarrow.parquet as pq
        from pyarrow import ArrowException
    except ImportError:
        raise ServingError("Parquet files need: pip install 'understudy[records]'") from None
    return pq, ArrowException


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
