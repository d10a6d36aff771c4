"""Blocks of rows -> what a model is fed with, many rows at once.

Law: a row gets the values that `understudy.offline.data.rows` reads of it, alone. What can be read for many
rows at once is; where one of them has a fault they are halved, until it is found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import InvalidInput
from serving.wire.tensors import Array, Signature, TensorSpec
from understudy.offline.data.columns import Columns
from understudy.offline.data.rows import LOGGED, SHAPE, Source, rows_of, sources_of
from understudy.offline.data.tensors import joined_rows
from understudy.scoring.formats.block import Bad, Block

_FEW: Final = 16
"""Rows that are read one by one rather than halved once more."""


class _Slow(Exception):
    """These rows are read one by one."""


@dataclass(slots=True)
class Read:
    """Rows as a model takes them.

    Args:
        rows: their places in the block, ascending.
        feeds: by input; joined, or one mapping for each row.
        bad: the rows that no model takes.
    """

    rows: list[int] = field(default_factory=list)
    feeds: list[Mapping[str, Array]] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the inputs of a model.

    Args:
        file: the name that errors show.
        signature: of the model.
        sources: where its inputs stand.
        further: all columns of the file.
        joined: whether the rows of its inputs may be joined.
    """

    file: str
    signature: Signature
    sources: Mapping[str, Source]
    further: frozenset[str]
    joined: bool

    @classmethod
    def of(cls, file: str, columns: Sequence[str], signature: Signature, *, joined: bool) -> "Reader":
        """Find the inputs among the columns of a file.

        Raises:
            InvalidInput: one is not there.
        """
        named = Columns(file, dict.fromkeys(columns, ()))
        return cls(file, signature, sources_of(named, signature), frozenset(columns), joined)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that have inputs, and those that have their shapes in the prediction log."""
        names = [name for source in self.sources.values() for name in source.names]
        shapes = [name + SHAPE for name in names if name.startswith(LOGGED) and name + SHAPE in self.further]
        return (*names, *shapes)

    def read(self, block: Block) -> Read:
        """Read a block; a feed has all rows up to the first that is bad, and so on."""
        found = Read()
        self._read(block, 0, found)
        return found

    def _read(self, block: Block, first: int, found: Read) -> None:
        if not len(block):
            return
        if self.joined and (feeds := self._together(block)) is not None:
            found.rows += range(first, first + len(block))
            found.feeds.append(feeds)
        elif self.joined and len(block) > _FEW:
            for begin, end in pairwise([0, len(block) // 2, len(block)]):
                self._read(block.slice(begin, end), first + begin, found)
        else:
            for row in range(len(block)):
                self._read_one(block.slice(row, row + 1), first + row, found)

    def _read_one(self, block: Block, row: int, found: Read) -> None:
        columns = Columns(self.file, {name: block.cells(name) for name in block.columns}, [row])
        try:
            [feeds] = rows_of(columns, self.signature).feeds
            if self.joined:
                _refuse_several(feeds)
        except InvalidInput as error:
            reason = str(error).removeprefix(f"{columns.place(0)}: ")
            found.bad.append(Bad(int(block.rows[0]), reason, block.values(0)))
        else:
            found.rows.append(row)
            found.feeds.append(feeds)

    def _together(self, block: Block) -> dict[str, Array] | None:
        """All rows at once; None where that cannot be."""
        try:
            return {
                name: self._input(block, source, self.signature.input_by_name[name])
                for name, source in self.sources.items()
            }
        except (_Slow, InvalidInput, pa.ArrowException):
            return None

    def _input(self, block: Block, source: Source, spec: TensorSpec) -> Array:
        columns = [block.columns[name] for name in source.names]
        if any(isinstance(column, list) for column in columns):
            raise _Slow
        if source.whole:
            values = _values(columns[0], spec)
        else:
            values = np.stack([_numbers(column, spec) for column in columns], axis=1)
        values = _shaped(values, spec)
        array, joined = joined_rows(Columns(self.file, {}), source.names[0], values, spec)
        if not joined:
            raise _Slow
        return array


def _refuse_several(feeds: Mapping[str, Array]) -> None:
    for name, array in feeds.items():
        if array.shape[:1] != (1,):
            raise InvalidInput(f"the input {name!r} has {len(array)} rows in one; write one a row")


def _values(column: Any, spec: TensorSpec) -> Array:
    """A column as an array, whose first dimension is the rows."""
    shape = [len(column)]
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    while pa.types.is_nested(column.type):
        if column.null_count:
            raise _Slow
        shape.append(_length(column))
        column = column.flatten()
    return _numbers(column, spec).reshape(shape)


def _length(column: Any) -> int:
    """How long each list is."""
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise _Slow
    offsets = column.offsets.to_numpy()
    lengths = np.unique(np.diff(offsets))
    if len(lengths) != 1:
        raise _Slow
    return int(lengths[0])


def _numbers(column: Any, spec: TensorSpec) -> Array:
    """Values of one type; what is missing is NaN in floats, and nothing else can be missing."""
    floats = spec.datatype.startswith(("FP", "BF"))
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if spec.datatype == "BYTES" and not text:
        raise _Slow
    if text:
        if spec.datatype == "BOOL" or column.null_count:
            raise _Slow
        if spec.datatype != "BYTES":
            column = pc.cast(column, pa.float64() if floats else pa.int64())
    if column.null_count and not (floats and pa.types.is_floating(column.type)):
        raise _Slow
    return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _shaped(values: Array, spec: TensorSpec) -> Array:
    """Rows that were told as flat lists in the shape that the model takes, where there is one such shape."""
    rest = None if spec.shape is None else spec.shape[1:]
    if rest is None or values.ndim == len(rest) + 1:
        return values
    if values.ndim > 2 or any(length < 0 for length in rest):
        raise _Slow
    try:
        return values.reshape((len(values), *rest))
    except ValueError:
        raise _Slow from None
