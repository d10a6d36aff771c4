"""What a query of records gives, as people and programs read it."""

import csv
import sys
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
import typer

from understudy.output import table
from understudy.records.querying import Result

_SHOWN_ROWS = 1000
_SHOWN_VALUES = 6


def as_json(result: Result) -> None:
    """Print a line of JSON for each row; NaN and infinities are null."""
    for row in result.rows():
        typer.echo(_json(dict(zip(result.columns, row, strict=True))))


def as_csv(result: Result) -> None:
    """Print comma-separated values; lists are JSON, NULL is empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows():
        writer.writerow(map(_cell, row))


def as_table(result: Result) -> None:
    """Print a table of the first rows, and how many more there are."""
    rows = result.rows()
    table("", list(result.columns), [list(map(_shown, row)) for row in islice(rows, _SHOWN_ROWS)])
    if more := sum(1 for _ in rows):
        typer.echo(f"... and {more:,} rows more: --json and --csv print all, --parquet FILE keeps them")


def _json(value: Any) -> str:
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> Any:
    """What JSON has no form for: text of bytes where they are some, and of decimals, intervals and UUIDs."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | dict):
        return _json(value)
    return _plain(value) if isinstance(value, bytes) else value


def _shown(value: Any) -> str:
    """A value as a cell of a table has room for it."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.6g}"
        case datetime():
            return value.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "")
        case list():
            more = ", ..." if len(value) > _SHOWN_VALUES else ""
            return f"[{', '.join(map(_shown, islice(value, _SHOWN_VALUES)))}{more}]"
    return str(_cell(value))
