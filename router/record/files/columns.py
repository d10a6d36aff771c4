"""Rows as an Arrow table: a typed column for each tensor.

Law: a tensor is a list of its values in row-major order, beside its shape in a column of its own, whatever
its rank: DuckDB, Polars, pandas and Arrow all read that, and files whose tensors differ in shape are still
one table. Floats of 16 bits, which few readers have, are widened to 32, which changes no value. Bytes that
are no UTF-8 stand as escapes in a text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from router.record.files.rows import Row
from serving.wire.bf16 import BF16, rounded, widened
from serving.wire.tensors import DATATYPES, Array, datatype_of

DIFFERENCE: Final = pa.struct([("output", pa.string()), ("kind", pa.string()), ("distance", pa.float64())])
FIXED: Final[dict[str, pa.DataType]] = {
    "kind": pa.string(),
    "receipt": pa.string(),
    "request_id": pa.string(),
    "client_request_id": pa.string(),
    "request_time": pa.timestamp("us", "UTC"),
    "role": pa.string(),
    "drawn": pa.string(),
    "drawn_target": pa.string(),
    "forced": pa.bool_(),
    "refused": pa.bool_(),
    "target": pa.string(),
    "version": pa.string(),
    "digest": pa.string(),
    "revision": pa.int64(),
    "stage": pa.int64(),
    "status_code": pa.int16(),
    "error": pa.string(),
    "duration_us": pa.int64(),
    "shared_run": pa.bool_(),
    "sampling_fraction": pa.float64(),
    "propensity": pa.float64(),
    "sticky_key_hash": pa.string(),
    "agreed": pa.bool_(),
    "differences": pa.list_(DIFFERENCE),
    "input_raw": pa.binary(),
    "logging_error": pa.string(),
    "whole": pa.bool_(),
}
"""The columns that every file has; `docs/prediction-log.md` says what is in them."""

DATATYPE: Final = b"oip_datatype"
"""Metadata of a tensor's column: its datatype in the Open Inference Protocol."""
INPUT, OUTPUT, SHAPE = "input_", "output_", "_shape"
"""What names of tensors' columns begin with, and those of their shapes end with."""
MAX_TENSORS: Final = 1000
"""Columns of tensors in one file: a server elsewhere may answer anything."""


class Columns:
    """Rows that are to be one file."""

    def __init__(self) -> None:
        self.bytes = 0
        self.counts: Counter[str] = Counter()
        """Rows by the process that counted them."""
        self._rows: list[Row] = []
        self._datatypes: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def takes(self, row: Row) -> bool:
        """Whether a row fits: no tensor of it is of another datatype than that column has here."""
        known = self._datatypes
        if len(known) + len(row.tensors) > MAX_TENSORS and row.tensors.keys() - known.keys():
            return not known
        return all(
            known.get(name, name_ := datatype_of(array)) == name_ for name, array in row.tensors.items()
        )

    def add(self, row: Row) -> None:
        """Add a row that `takes` said yes to."""
        for name, array in row.tensors.items():
            if name not in self._datatypes:
                self._datatypes[name] = datatype_of(array)
        self._rows.append(row)
        self.bytes += row.bytes
        self.counts[row.instance] += 1

    def without_tensors(self, reason: str) -> "Columns":
        """The same rows, each of which says why it has none."""
        plain = Columns()
        for row in self._rows:
            values = {**row.values, "logging_error": reason, "whole": False}
            plain.add(replace(row, values=values, tensors={}))
        return plain

    def table(self) -> pa.Table:
        """All of it.

        Raises:
            pyarrow.ArrowException, UnicodeError: a value is none of its column.
        """
        fields, arrays = [], []
        for name, kind in FIXED.items():
            fields.append(pa.field(name, kind))
            arrays.append(pa.array([row.values.get(name) for row in self._rows], kind))
        for name, datatype in sorted(self._datatypes.items()):
            tensors = [row.tensors.get(name) for row in self._rows]
            values = _lists([None if each is None else each.reshape(-1) for each in tensors], datatype)
            shapes = _lists([None if each is None else np.array(each.shape) for each in tensors], "INT64")
            fields += [
                pa.field(name, values.type, metadata={DATATYPE: datatype}),
                pa.field(f"{name}{SHAPE}", shapes.type),
            ]
            arrays += [values, shapes]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _lists(tensors: Sequence[Array | None], datatype: str) -> pa.ListArray:
    """One list a row, of flat arrays of one datatype; null where there is none."""
    offsets = np.zeros(len(tensors) + 1, np.int32)
    np.cumsum([0 if each is None else each.size for each in tensors], out=offsets[1:])
    flat = [each for each in tensors if each is not None]
    missing = np.array([each is None for each in tensors], bool)
    values = arrow_values(np.concatenate(flat), datatype)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(missing))


def arrow_values(flat: Array, datatype: str) -> Any:
    """A flat array of a datatype of the protocol as one of Arrow."""
    if datatype == "BYTES":
        return pa.array([_text(value) for value in flat], pa.string())
    if flat.dtype == BF16:
        flat = widened(flat)
    elif datatype == "FP16":
        flat = flat.astype(np.float32)
    return pa.array(flat)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="backslashreplace")


def tensors(row: pa.Table, prefix: str) -> dict[str, Array]:
    """The tensors of one side of a row, as models had them; what is not there is left out.

    Args:
        row: a table of one row.
        prefix: `INPUT` or `OUTPUT`.
    """
    found = {}
    for field in row.schema:
        datatype = (field.metadata or {}).get(DATATYPE)
        if datatype is None or not field.name.startswith(prefix):
            continue
        values, shape = row.column(field.name)[0], row.column(f"{field.name}{SHAPE}")[0]
        if values.is_valid and shape.is_valid:
            found[field.name.removeprefix(prefix)] = _tensor(values.values, datatype.decode(), shape.as_py())
    return found


def _tensor(values: pa.Array, datatype: str, shape: list[int]) -> Array:
    """A tensor; what was widened for the file is narrowed again, which is exact."""
    flat = values.to_numpy(zero_copy_only=False)
    flat = rounded(flat) if datatype == "BF16" else flat.astype(DATATYPES[datatype])
    return flat.reshape(shape)
