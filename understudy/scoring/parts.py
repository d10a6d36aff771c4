"""Parts of an output: one for each chunk, there as a whole or not at all.

Law: a part's file of bad rows is on the disk before the part has its name, so a part that is there is done.
What it has to tell of itself (rows, bad ones, what a canary came to) is in its footer.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from serving.errors import InvalidInput
from serving.host.whole_files import ASIDE, sync_folder
from understudy.scoring.formats.block import Bad

BAD: Final = "_bad"
"""The folder of bad rows: Spark, DuckDB's globs and pyarrow leave out what begins with an underscore."""
_SAID: Final = b"understudy"
_GROUP_ROWS, _GROUP_BYTES = 65_536, 64 << 20
_NAMES: Final = ("role", "canary", "model", "version", "digest")
"""Columns of few values."""


def part_path(folder: Path, number: int) -> Path:
    """Where a part is."""
    return folder / f"part-{number:05}.parquet"


def bad_path(folder: Path, number: int) -> Path:
    """Where its bad rows are, if it has any."""
    return folder / BAD / f"part-{number:05}.jsonl"


def said_of(folder: Path, number: int) -> dict[str, Any] | None:
    """What a part tells of itself; None where it is not there.

    Raises:
        InvalidInput: a file is there that is no part.
    """
    path = part_path(folder, number)
    try:
        metadata = pq.read_metadata(path).metadata
        said: dict[str, Any] = orjson.loads(metadata[_SAID])
    except FileNotFoundError:
        return None
    except (pa.ArrowException, KeyError, TypeError, orjson.JSONDecodeError):
        raise InvalidInput(f"{path}: not a part of an output; move it away and begin again") from None
    return said


def clear(folder: Path) -> None:
    """Take away what a killed job left unfinished."""
    for left in (*folder.glob(f".*{ASIDE}"), *(folder / BAD).glob(f".*{ASIDE}")):
        left.unlink()


class PartWriter:
    """Writes one part, in a `with` block; it is there once `done` was called.

    Args:
        folder: of the output.
        number: of the part.
        file: name of the input, as bad rows tell it.
        schema: of the part.
        lines: whether rows are told by their line.
    """

    def __init__(self, folder: Path, number: int, file: str, schema: Any, *, lines: bool) -> None:
        self.rows = self.bad = 0
        self._path, self._bad_path = part_path(folder, number), bad_path(folder, number)
        self._place = f"{file}:%d" if lines else f"{file}: row %d"
        self._names = [name for name in _NAMES if name in schema.names]
        self._schema = schema
        self._tables: list[Any] = []
        self._writer: Any = None
        self._bad_file: Any = None

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(
            _aside(self._path),
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=self._names,
            write_statistics=["row"],
        )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if self._bad_file is not None:
            self._bad_file.close()
        _aside(self._path).unlink(missing_ok=True)
        _aside(self._bad_path).unlink(missing_ok=True)

    def add(self, table: Any, bad: Sequence[Bad]) -> None:
        """Add rows, and those that have no answer."""
        self.rows += table.num_rows
        self._tables.append(table)
        if sum(each.num_rows for each in self._tables) >= _GROUP_ROWS or (
            sum(each.nbytes for each in self._tables) >= _GROUP_BYTES
        ):
            self._flush()
        if bad:
            self._add_bad(bad)

    def done(self, said: Mapping[str, Any]) -> None:
        """Give it its name.

        Raises:
            OSError: it cannot be written.
        """
        self._flush()
        self._writer.add_key_value_metadata({_SAID: orjson.dumps(said)})
        self._writer.close()
        if self._bad_file is not None:
            self._bad_file.flush()
            os.fsync(self._bad_file.fileno())
            _aside(self._bad_path).replace(self._bad_path)
            sync_folder(self._bad_path.parent)
        with _aside(self._path).open("rb") as file:
            os.fsync(file.fileno())
        _aside(self._path).replace(self._path)
        sync_folder(self._path.parent)

    def _flush(self) -> None:
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables))
            self._tables.clear()

    def _add_bad(self, bad: Sequence[Bad]) -> None:
        if self._bad_file is None:
            self._bad_path.parent.mkdir(exist_ok=True)
            self._bad_file = _aside(self._bad_path).open("wb")
        self.bad += len(bad)
        for each in bad:
            line = {
                "row": each.row,
                "place": self._place % each.row,
                "reason": each.reason,
                "values": each.values,
            }
            self._bad_file.write(orjson.dumps(line, default=_shown, option=orjson.OPT_APPEND_NEWLINE))


def _shown(value: object) -> object:
    """What JSON has no form for."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{ASIDE}")
