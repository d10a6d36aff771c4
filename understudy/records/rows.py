"""Rows of the log by their receipt or request id, with their tensors as they were."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from router.counting.receipt import claimed_arrival
from router.record.files.columns import FIXED, INPUT, OUTPUT, tensors
from serving.errors import InvalidInput, NotFound
from serving.wire.tensors import Array
from understudy.records.place import Place, RecordFile, Wanted
from understudy.records.present import parquet, present

KEYS: Final = ("receipt", "request_id", "client_request_id")
"""Columns by which a row is looked for."""
_CLOCKS: Final = timedelta(minutes=1)
"""How far the times of a receipt and of its row may be apart: two processes read the clock."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the log.

    Attributes:
        file: that it is in.
        values: by the names of `router.record.files.columns.FIXED`; None where nothing is known.
        inputs: that were recorded, by name, of their datatype and shape.
        outputs: likewise.
    """

    file: RecordFile
    values: Mapping[str, Any]
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @property
    def is_comparison(self) -> bool:
        """Whether it is what a candidate would have answered."""
        return bool(self.values["kind"] == "comparison")


@dataclass(frozen=True, slots=True)
class Found:
    """What the log has of one answer.

    Attributes:
        answer: its row.
        comparisons: rows of what candidates would have answered.
    """

    answer: Recorded
    comparisons: tuple[Recorded, ...]


def find(place: Place, wanted: Wanted, text: str) -> Found:
    """Look up one answer.

    Args:
        place: where the records are.
        wanted: the files to look at; of a receipt only those of its hour are opened.
        text: a receipt, an `x-request-id`, or the `id` of a request of the protocol.

    Raises:
        NotFound: there is none.
        InvalidInput: there are several.
    """
    rows = list(_matching(place, _near(wanted, claimed_arrival(text)), text))
    answers = [row for row in rows if not row.is_comparison]
    if not answers:
        raise NotFound(
            f"no record of {text!r} in these files: it was not sampled, was dropped, is not written yet"
            " (the log writer rolls by size and time), or has expired"
        )
    if len(answers) > 1:
        receipts = ", ".join(str(row.values["receipt"]) for row in answers[:5])
        raise InvalidInput(f"{len(answers)} records of {text!r}; name one by its receipt: {receipts}")
    return Found(answers[0], tuple(_comparisons(place, answers[0])))


def _comparisons(place: Place, answer: Recorded) -> Iterator[Recorded]:
    """Rows of the same request: by its receipt or, where there is none, by its `x-request-id`."""
    key = answer.values["receipt"] or answer.values["request_id"]
    if key is None:
        return
    arrived = answer.values["request_time"].timestamp()
    for row in _matching(place, _near(Wanted(answer.file.model), arrived), key):
        if row.is_comparison:
            yield row


def _near(wanted: Wanted, arrived: float | None) -> Wanted:
    """Of what is wanted only what can hold a receipt of that time."""
    if arrived is None:
        return wanted
    at = datetime.fromtimestamp(arrived, UTC)
    return Wanted(wanted.model, at - _CLOCKS, at + _CLOCKS)


def _matching(place: Place, wanted: Wanted, text: str) -> Iterator[Recorded]:
    """Every row with this key, the latest hour first; of a file only the keys are read, then such rows."""
    for file in reversed(present(place, wanted)):
        with parquet(place, file) as source:
            whole = pq.ParquetFile(source)
            known = [name for name in KEYS if name in whole.schema_arrow.names]
            for group in range(whole.num_row_groups):
                keys = whole.read_row_group(group, columns=known)
                found = _indices(keys, text)
                if found:
                    rows = whole.read_row_group(group)
                    yield from (_recorded(file, rows.slice(index, 1)) for index in found)


def _indices(keys: pa.Table, text: str) -> list[int]:
    matches = pa.array(np.zeros(keys.num_rows, bool))
    for column in keys.columns:
        matches = pc.or_(matches, pc.fill_null(pc.equal(column, text), fill_value=False))
    return [int(index) for index in pc.indices_nonzero(matches).to_pylist()]


def _recorded(file: RecordFile, row: pa.Table) -> Recorded:
    names = row.schema.names
    values = {name: row.column(name)[0].as_py() if name in names else None for name in FIXED}
    return Recorded(file, values, tensors(row, INPUT), tensors(row, OUTPUT))
