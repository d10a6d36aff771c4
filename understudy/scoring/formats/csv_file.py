"""CSV with a first line of names. Every column is text; what is an input becomes a number."""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from serving.errors import InvalidInput
from understudy.offline.data.reading import MOST_CELL
from understudy.scoring.formats.block import BLOCK_ROWS, Bad, Block, Chunk, Layout, Wanted, numbered
from understudy.scoring.formats.lines import CHUNK_BYTES, read_bytes, text_chunks


class Csv:
    """As `Format`."""

    def layout(self, path: Path) -> Layout:
        """As `Format`."""
        names, begin, lines = _header(path)
        chunks = list(text_chunks(path, begin, lines + 1, quoted=True))
        return Layout(dict.fromkeys(names, pa.string()), chunks, lines=True)

    def blocks(self, path: Path, layout: Layout, chunk: Chunk, wanted: Wanted) -> Iterator[Block]:
        """As `Format`."""
        names, data = list(layout.columns), read_bytes(path, chunk)
        whole = _fast(names, data, chunk, wanted) or _one_by_one(names, data, chunk, wanted)
        yield Block(whole.rows[:0], whole.slice(0, 0).columns, whole.bad)
        for begin in range(0, len(whole), BLOCK_ROWS):
            yield whole.slice(begin, begin + BLOCK_ROWS)


def _header(path: Path) -> tuple[list[str], int, int]:
    """The names of the columns, the byte at which rows begin, and how many lines stand before."""
    with path.open("rb") as file:
        data = file.read(CHUNK_BYTES)
    mark = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    end = mark
    while True:
        at = data.find(b"\n", end)
        end = len(data) if at < 0 else at + 1
        if at < 0 or data.count(b'"', mark, end) % 2 == 0:
            break
    try:
        names = next(csv.reader(io.StringIO(data[mark:end].decode(), newline="")), [])
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}:1: not CSV in UTF-8: {error}") from None
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{path}:1: column {name!r} is there twice; give each a name of its own")
    return names, end, data.count(b"\n", 0, end)


def _fast(names: list[str], data: bytes, chunk: Chunk, wanted: Wanted) -> Block | None:
    """All rows at once; None where one has a fault, or lines and rows are not the same."""
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=list(wanted.names),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != chunk.rows:
        return None
    columns = {name: table.column(name).combine_chunks() for name in wanted.names}
    return numbered(chunk.first, columns, table.num_rows)


def _one_by_one(names: list[str], data: bytes, chunk: Chunk, wanted: Wanted) -> Block:
    """Row by row; what has a fault is told."""
    csv.field_size_limit(MOST_CELL)
    reader = csv.reader(io.StringIO(data.decode(errors="surrogateescape"), newline=""))
    rows: list[int] = []
    kept: list[list[str]] = []
    bad: list[Bad] = []
    line = chunk.first
    for cells in reader:
        if why := _fault(names, cells):
            bad.append(Bad(line, why, [cell.encode(errors="replace").decode() for cell in cells]))
        elif cells:
            rows.append(line)
            kept.append(cells)
        line = chunk.first + reader.line_num
    columns: dict[str, Any] = {
        name: pa.array([cells[names.index(name)] for cells in kept], pa.string()) for name in wanted.names
    }
    return Block(np.array(rows, np.int64), columns, bad)


def _fault(names: list[str], cells: list[str]) -> str:
    """What is wrong with a row; nothing with an empty line."""
    if not cells:
        return ""
    if len(cells) != len(names):
        return f"{len(cells)} values for {len(names)} columns; separate by commas"
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return ""
