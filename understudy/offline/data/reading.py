"""Files of rows: .npz, .csv, .jsonl and, with the extra `records`, .parquet.

Law: a file is read whole or refused; what is refused is named by file, line or row, and column. Nothing of it
is ever executed: pickled objects in an .npz are not read.
"""

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from serving.errors import InvalidInput
from understudy.offline.data.columns import Cells, Columns
from understudy.offline.data.parquet import read_parquet

MOST_CELL = 1 << 28
"""Characters of a cell of a CSV: a picture as a list is longer than what Python allows by itself."""


def read(path: Path) -> Columns:
    """The columns of a file, by what its name ends with.

    Raises:
        InvalidInput: it is not there, is of no known kind, or has a fault.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"{path}: rows are read from {', '.join(READERS)} files")
    try:
        found = reader(path)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    if not found.rows:
        raise InvalidInput(f"{path}: there is no row in it")
    return found


def _npz(path: Path) -> Columns:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Cells] = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        raise InvalidInput(f"{path}: not an .npz of plain arrays; write it with numpy.savez") from None
    rows: dict[int, str] = {}
    for name, array in arrays.items():
        if not np.ndim(array):
            raise InvalidInput(f"{path}: array {name!r} has no rows; its first dimension is to be the rows")
        rows.setdefault(len(array), name)
    if len(rows) > 1:
        (one, first), (other, second) = list(rows.items())[:2]
        raise InvalidInput(f"{path}: {first!r} has {one} rows and {second!r} {other}; each row needs all")
    return Columns(str(path), arrays)


def _csv(path: Path) -> Columns:
    csv.field_size_limit(MOST_CELL)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        cells: list[list[str]] = []
        lines: list[int] = []
        try:
            header = next(reader, [])
            begins = reader.line_num + 1
            for row in reader:
                if row:
                    _same_width(path, begins, header, row)
                    cells.append(row)
                    lines.append(begins)
                begins = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path}:{reader.line_num + 1}: not CSV in UTF-8: {error}") from None
    for name in header:
        if header.count(name) > 1:
            raise InvalidInput(f"{path}:1: column {name!r} is there twice; give each a name of its own")
    columns: dict[str, Cells] = {name: [row[at] for row in cells] for at, name in enumerate(header)}
    return Columns(str(path), columns, lines)


def _same_width(path: Path, line: int, header: list[str], row: list[str]) -> None:
    if len(row) != len(header):
        raise InvalidInput(f"{path}:{line}: {len(row)} values for {len(header)} columns; separate by commas")


def _json_lines(path: Path) -> Columns:
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        row = _json_object(path, number, line)
        if not lines:
            columns = {name: [] for name in row}
        for name in [*(name for name in columns if name not in row), *(row.keys() - columns.keys())]:
            wrong = "is missing" if name in columns else "is not in the first row"
            raise InvalidInput(f"{path}:{number}: column {name!r} {wrong}; every row needs the same columns")
        for name, value in row.items():
            columns[name].append(value)
        lines.append(number)
    return Columns(str(path), columns, lines)


def _json_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{path}:{number}: not JSON: {error}; write one object a line") from None
    if not isinstance(row, dict):
        raise InvalidInput(f"{path}:{number}: not a JSON object of columns; write one object a line")
    return row


READERS: dict[str, Callable[[Path], Columns]] = {
    ".npz": _npz,
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": read_parquet,
}
"""By what a file's name ends with."""
