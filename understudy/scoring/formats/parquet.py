"""Parquet: a chunk is whole row groups, or of few large ones a piece."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving.errors import InvalidInput
from understudy.scoring.formats.block import (
    Block,
    Chunk,
    Layout,
    Wanted,
    block_rows,
    grouped,
    numbered,
    within,
)


class Parquet:
    """As `Format`."""

    def layout(self, path: Path) -> Layout:
        """As `Format`."""
        with _opened(path) as file:
            found = file.metadata
            groups = [found.row_group(at) for at in range(found.num_row_groups)]
            schema = file.schema_arrow
            size = sum(group.total_byte_size for group in groups)
            return Layout(
                dict(zip(schema.names, schema.types, strict=True)),
                grouped([group.num_rows for group in groups]),
                block=block_rows(size, found.num_rows),
            )

    def blocks(self, path: Path, layout: Layout, chunk: Chunk, wanted: Wanted) -> Iterator[Block]:
        """As `Format`."""
        yield from within(chunk, _from_its_groups(path, layout, chunk, wanted))


def _from_its_groups(path: Path, layout: Layout, chunk: Chunk, wanted: Wanted) -> Iterator[Block]:
    first = chunk.first - chunk.skip
    with _opened(path) as file:
        for batch in file.iter_batches(
            layout.block,
            row_groups=list(range(chunk.begin, chunk.end)),
            columns=list(wanted.names),
            use_threads=False,  # chunks are read side by side
        ):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield numbered(first, columns, batch.num_rows)
            first += batch.num_rows


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as source, pq.ParquetFile(source, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InvalidInput(f"{path}: not a whole Parquet file: {str(error).partition(chr(10))[0]}") from None
