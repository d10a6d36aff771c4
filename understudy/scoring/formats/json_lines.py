"""JSON lines: an object a line. What is kept of it is text: a string as it is, all else as JSON."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import json as arrow_json

from serving.errors import InvalidInput
from understudy.scoring.formats.block import BLOCK_ROWS, Bad, Block, Chunk, Layout, Wanted, as_text, numbered
from understudy.scoring.formats.lines import read_bytes, text_chunks


class JsonLines:
    """As `Format`."""

    def layout(self, path: Path) -> Layout:
        """As `Format`; its columns are those of the first line that is an object."""
        return Layout(
            dict.fromkeys(_first(path), pa.string()),
            list(text_chunks(path, 0, 1, quoted=False)),
            lines=True,
        )

    def blocks(self, path: Path, layout: Layout, chunk: Chunk, wanted: Wanted) -> Iterator[Block]:
        """As `Format`."""
        data = read_bytes(path, chunk)
        if (whole := _fast(data, chunk, _first(path), wanted)) is not None:
            for begin in range(0, len(whole), BLOCK_ROWS):
                yield whole.slice(begin, begin + BLOCK_ROWS)
            return
        known = frozenset(layout.columns)
        lines = list(enumerate(data.split(b"\n"), chunk.first))
        for begin in range(0, len(lines), BLOCK_ROWS):
            yield _block(lines[begin : begin + BLOCK_ROWS], known, wanted)


def _first(path: Path) -> dict[str, Any]:
    """The first row."""
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                row = _object(line)
                if not isinstance(row, str):
                    return row
    raise InvalidInput(f"{path}: no line of it is a JSON object of columns; write one a line")


def _fast(data: bytes, chunk: Chunk, first: Mapping[str, Any], wanted: Wanted) -> Block | None:
    """All rows at once; None where one has a fault, or a column is not what it is in the first row."""
    texts = pa.schema([(name, pa.string()) for name, value in first.items() if isinstance(value, str)])
    try:
        table = arrow_json.read_json(
            pa.BufferReader(data),
            arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            arrow_json.ParseOptions(explicit_schema=texts, newlines_in_values=False),
        )
    except pa.ArrowException:
        return None
    names = set(table.column_names)
    if table.num_rows != chunk.rows or not names.issuperset(wanted.names):
        return None
    if not wanted.further and names - first.keys():
        return None
    columns = {name: table.column(name).combine_chunks() for name in wanted.names}
    if any(columns[name].null_count for name in wanted.inputs):  # is it null, or missing?
        return None
    kept = [name for name in wanted.kept if name not in wanted.inputs]
    if not all(_is_plain(columns[name].type) for name in kept):
        return None
    columns |= {name: columns[name].cast(pa.string()) for name in kept}
    return numbered(chunk.first, columns, table.num_rows)


def _is_plain(kind: Any) -> bool:
    """Whether a type of Arrow becomes text as JSON has it."""
    return pa.types.is_string(kind) or pa.types.is_int64(kind) or pa.types.is_boolean(kind)  # type: ignore[no-any-return]


def _block(lines: list[tuple[int, bytes]], known: frozenset[str], wanted: Wanted) -> Block:
    numbers: list[int] = []
    rows: list[Mapping[str, Any]] = []
    bad: list[Bad] = []
    for number, line in lines:
        if not line.strip():
            continue
        row = _object(line)
        fault = row if isinstance(row, str) else _fault(row, known, wanted)
        if isinstance(row, str) or fault:
            bad.append(Bad(number, fault, line.decode(errors="replace")))
        else:
            numbers.append(number)
            rows.append(row)
    columns: dict[str, Any] = {name: _inputs([row[name] for row in rows]) for name in wanted.inputs}
    columns |= {
        name: pa.array([as_text(row.get(name)) for row in rows], pa.string())
        for name in wanted.kept
        if name not in columns
    }
    return Block(np.array(numbers, np.int64), columns, bad)


def _object(line: bytes) -> dict[str, Any] | str:
    """A line; or what is wrong with it."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object of columns"


def _fault(row: Mapping[str, Any], known: frozenset[str], wanted: Wanted) -> str:
    for name in wanted.inputs:
        if name not in row:
            return f"column {name!r} is missing"
    if not wanted.further and (more := row.keys() - known):
        return f"column {min(more)!r} is not in the first row; name the columns that are to be kept by --keep"
    return ""


def _inputs(cells: list[Any]) -> Any:
    """The values of an input; as a list where they are of several types."""
    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError):
        return cells
