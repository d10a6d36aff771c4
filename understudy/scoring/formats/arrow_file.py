"""Arrow IPC files (Feather 2 is one): a chunk is whole record batches, or of few large ones a piece."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

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


class ArrowFile:
    """As `Format`."""

    def layout(self, path: Path) -> Layout:
        """As `Format`."""
        with _opened(path) as file:
            batches = [file.get_batch(at) for at in range(file.num_record_batches)]
            rows = [batch.num_rows for batch in batches]
            size = sum(batch.nbytes for batch in batches)
            schema = file.schema
            return Layout(
                dict(zip(schema.names, schema.types, strict=True)),
                grouped(rows),
                block=block_rows(size, sum(rows)),
            )

    def blocks(self, path: Path, layout: Layout, chunk: Chunk, wanted: Wanted) -> Iterator[Block]:
        """As `Format`."""
        yield from within(chunk, _from_its_batches(path, layout, chunk, wanted))


def _from_its_batches(path: Path, layout: Layout, chunk: Chunk, wanted: Wanted) -> Iterator[Block]:
    first, most = chunk.first - chunk.skip, layout.block
    with _opened(path) as file:
        for at in range(chunk.begin, chunk.end):
            batch = file.get_batch(at).select(list(wanted.names))
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            whole = numbered(first, columns, batch.num_rows)
            for begin in range(0, batch.num_rows, most):
                yield whole.slice(begin, begin + most)
            first += batch.num_rows


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            yield file
    except pa.ArrowException as error:
        why = str(error).partition("\n")[0]
        raise InvalidInput(
            f"{path}: not an Arrow file: {why}; a stream (.arrows) becomes one by pyarrow.ipc.new_file"
        ) from None
