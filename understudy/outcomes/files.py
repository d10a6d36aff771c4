"""Files of outcomes, row by row: .parquet (with the extra `records`), .csv, .jsonl.

Law: a file may be larger than memory, so it is read in pieces, and twice: once to see that each row is
understood, before any is told, and once to tell them.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from serving.errors import InvalidInput, ServingError
from understudy.outcomes.lines import COLUMNS, READ, Missing, NoRecord, line_of, request_id_of, typed

MOST_FAULTS: Final = 20
"""Rows that are named; further ones are only counted."""
_ROWS: Final = 10_000
_GROUND_TRUTH: Final = ("groundTruthData", "eventMetadata", "eventVersion")


class Row(NamedTuple):
    """One row: where it stands, as errors say it, and its values by column; or what is wrong with it."""

    place: str
    values: Mapping[str, Any]
    fault: str = ""


class Line(NamedTuple):
    """A row as it is told: where it stands, and as a line of `POST /v1/outcomes`."""

    place: str
    text: bytes


class Checked(NamedTuple):
    """What a look through a whole file found.

    Args:
        rows: how many there are.
        faulty: of them, rows that are not understood.
        faults: the first of these in words, with their places.
        unread: columns that nobody reads.
        unrecorded: rows whose request has no receipt in the prediction log.
    """

    rows: int
    faulty: int
    faults: list[str]
    unread: list[str]
    unrecorded: int = 0


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a file, by what its name ends with.

    Raises:
        InvalidInput: it is not there, or of no known kind.
        ServingError: it takes a package that is not installed.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"{path}: outcomes are read from {', '.join(_READERS)} files")
    try:
        yield from reader(path)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None


def check(path: Path, missing: Missing) -> Checked:
    """Read a file to its end, and tell nobody.

    Raises:
        InvalidInput: it cannot be read at all.
        ServingError: it takes a package that is not installed.
    """
    rows = faulty = unrecorded = 0
    faults: list[str] = []
    columns: dict[str, None] = {}
    for row in rows_of(path):
        rows += 1
        columns |= dict.fromkeys(row.values)
        try:
            _line(row, missing)
        except NoRecord:
            unrecorded += 1
        except InvalidInput as error:
            faulty += 1
            if len(faults) < MOST_FAULTS:
                faults.append(str(error))
    if not rows:
        raise InvalidInput(f"{path}: there is no outcome in it")
    unread = [name for name in columns if name not in (*READ, *_GROUND_TRUTH)]
    return Checked(rows, faulty, faults, unread, unrecorded)


def request_ids(path: Path) -> set[str]:
    """Of the rows that name their request by an id.

    Raises:
        InvalidInput: the file cannot be read at all.
        ServingError: it takes a package that is not installed.
    """
    return {found for row in rows_of(path) if (found := request_id_of(row.values)) is not None}


def lines(path: Path, missing: Missing) -> Iterator[Line]:
    """Each row as it is told; without those whose request has no receipt.

    Raises:
        InvalidInput: a row is not understood, so the file is not the one that was checked.
    """
    for row in rows_of(path):
        with suppress(NoRecord):
            yield _line(row, missing)


def _line(row: Row, missing: Missing) -> Line:
    if row.fault:
        raise InvalidInput(f"{row.place}: {row.fault}")
    try:
        return Line(row.place, line_of(row.values, missing))
    except NoRecord:
        raise
    except InvalidInput as error:
        raise InvalidInput(f"{row.place}: {error}") from None


def _csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _once(path, header)
            begins = reader.line_num + 1
            for cells in reader:
                if cells:
                    yield _of_cells(f"{path}:{begins}", header, cells)
                begins = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path}:{reader.line_num + 1}: not CSV in UTF-8: {error}") from None


def _once(path: Path, header: list[str]) -> None:
    """Refuse a name that two columns have, for nobody knows which of them is meant."""
    for name in header:
        if header.count(name) > 1:
            raise InvalidInput(f"{path}:1: column {name!r} is there twice; give each a name of its own")
    if "value" not in header:
        raise InvalidInput(f"{path}:1: no column `value`; the first line names them: {', '.join(COLUMNS)}")


def _of_cells(place: str, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        return Row(place, {}, f"{len(cells)} values for {len(header)} columns; separate by commas")
    return Row(place, {name: typed(name, cell) for name, cell in zip(header, cells, strict=True)})


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _of_json(f"{path}:{number}", line)


def _of_json(place: str, line: bytes) -> Row:
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Row(place, {}, f"not JSON: {error}; write one object a line")
    if not isinstance(values, dict):
        return Row(place, {}, "not a JSON object; write one a line")
    return Row(place, values)


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ServingError("Parquet files need: pip install 'understudy[records]'") from None
    try:
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            names = file.schema_arrow.names
            wanted = [name for name in names if name in READ]
            others = dict.fromkeys(name for name in names if name not in READ)
            number = 0
            for batch in file.iter_batches(_ROWS, columns=wanted):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}: row {number}", others | values)
    except pa.ArrowException as error:
        first, _, _ = str(error).partition("\n")
        raise InvalidInput(f"{path}: not a Parquet file: {first}") from None


_READERS: Final[dict[str, Callable[[Path], Iterator[Row]]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _json_lines,
}
"""By what a file's name ends with."""
