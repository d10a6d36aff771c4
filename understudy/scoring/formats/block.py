"""What files of rows are cut into: chunks, which are done or not, and blocks, which are in memory.

Law: how a file is cut follows from its bytes alone, so that a job that goes on cuts it as before.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import orjson

BLOCK_ROWS: Final = 16_384
"""Rows of a block, at most."""
BLOCK_BYTES: Final = 32 << 20
"""Of a block, about: rows of pictures are few."""
CHUNK_ROWS: Final = 65_536
"""Where a file allows it, a chunk has at least so many."""
FEW_CHUNKS: Final = 8
"""Large groups of a file that has fewer are divided, though what is before a chunk is then read again."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a file that is done as a whole.

    Args:
        number: from 0.
        first: number of its first row, from 1; of text the line.
        rows: how many; of text how many lines.
        begin: where it begins: a row group, a record batch, or a byte.
        end: the one behind it.
        skip: rows from `begin` on that come before it.
    """

    number: int
    first: int
    rows: int
    begin: int
    end: int
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that has no answer.

    Args:
        row: its number, as that of `Chunk.first`.
        reason: in words.
        values: of its columns; or its text, where they cannot be told.
    """

    row: int
    reason: str
    values: Any


@dataclass(frozen=True, slots=True)
class Block:
    """Rows in memory.

    Args:
        rows: the number of each.
        columns: by name, a value for each row: an array of Arrow; or a list, where its values are of
            several types.
        bad: rows between these that could not be read.
    """

    rows: Numbers
    columns: Mapping[str, Any]
    bad: Sequence[Bad] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, begin: int, end: int) -> "Block":
        """Some of its rows, without the bad ones."""
        return Block(self.rows[begin:end], {name: cells[begin:end] for name, cells in self.columns.items()})

    def cells(self, name: str) -> list[Any]:
        """The values of a column as Python has them."""
        column = self.columns[name]
        return column if isinstance(column, list) else column.to_pylist()

    def values(self, row: int) -> dict[str, Any]:
        """All that is known of a row."""
        return {name: cells[0] for name in self.columns for cells in [self.slice(row, row + 1).cells(name)]}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns are read.

    Args:
        inputs: the model's.
        kept: those that the output is to have too.
        further: whether a row may have others, that nobody asked for.
    """

    inputs: tuple[str, ...]
    kept: tuple[str, ...]
    further: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys([*self.inputs, *self.kept]))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is cut, and what it has.

    Args:
        columns: the type of Arrow of each, by name.
        chunks: all of it, in order.
        lines: whether rows are told by the line on which they begin.
        block: rows of a block, at most.
    """

    columns: Mapping[str, Any]
    chunks: Sequence[Chunk]
    lines: bool = False
    block: int = BLOCK_ROWS

    @property
    def rows(self) -> int:
        """How many there are; of text at most."""
        return sum(chunk.rows for chunk in self.chunks)


class Format(Protocol):
    """A kind of file."""

    def layout(self, path: Path) -> Layout:
        """Look how a file is cut; reads what it has to.

        Raises:
            InvalidInput: it is not of this kind.
            OSError: it cannot be read.
        """

    def blocks(self, path: Path, layout: Layout, chunk: Chunk, wanted: Wanted) -> Iterator[Block]:
        """The rows of a chunk, in order.

        Raises:
            InvalidInput: it is broken here.
            OSError: it cannot be read.
        """


def as_text(value: Any) -> str | None:
    """A value of JSON lines as the output keeps it: a string as it is, all else as JSON."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def grouped(rows: Sequence[int]) -> list[Chunk]:
    """Chunks of whole groups of rows, each of at least `CHUNK_ROWS` but for the last.

    Args:
        rows: of each group, how many.
    """
    found: list[Chunk] = []
    begin, first, size = 0, 1, 0
    for at, number in enumerate(rows):
        size += number
        if size >= CHUNK_ROWS or at == len(rows) - 1:
            found.append(Chunk(len(found), first, size, begin, at + 1))
            begin, first, size = at + 1, first + size, 0
    return divided(found)


def divided(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Chunks as they are; few large ones as several each, of at least `CHUNK_ROWS`."""
    most = -(-FEW_CHUNKS // max(len(chunks), 1))
    found: list[Chunk] = []
    for chunk in chunks:
        parts = max(min(most, chunk.rows // CHUNK_ROWS), 1)
        edges = [chunk.rows * part // parts for part in range(parts + 1)]
        for skip, end in pairwise(edges):
            part = replace(chunk, number=len(found), first=chunk.first + skip, rows=end - skip, skip=skip)
            found.append(part)
    return found


def within(chunk: Chunk, blocks: Iterable[Block]) -> Iterator[Block]:
    """The rows of a chunk, of blocks that begin where its first group does; reads no more than it has to."""
    begin = chunk.first - chunk.skip
    for block in blocks:
        end = begin + len(block)
        if end > chunk.first and len(block):
            yield block.slice(max(chunk.first - begin, 0), min(chunk.first + chunk.rows - begin, len(block)))
        begin = end
        if begin >= chunk.first + chunk.rows:
            return


def block_rows(bytes_of_rows: int, rows: int) -> int:
    """How many rows of a file are a block."""
    of_one = max(bytes_of_rows // max(rows, 1), 1)
    return max(min(BLOCK_ROWS, BLOCK_BYTES // of_one), 1)


def numbered(first: int, columns: Mapping[str, Any], rows: int) -> Block:
    """A block of rows that follow each other."""
    return Block(np.arange(first, first + rows, dtype=np.int64), columns)
