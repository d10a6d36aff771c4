"""What there is: per model and day, from the footers of the files."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import pyarrow.parquet as pq

from understudy.records.place import Place, RecordFile


@dataclass(frozen=True, slots=True)
class Day:
    """The records of one model that arrived on one day.

    Attributes:
        date: by UTC.
        files: how many.
        rows: in them.
        bytes: of the files, as they lie there.
    """

    model: str
    date: date
    files: int
    rows: int
    bytes: int


def days(place: Place, files: Iterable[RecordFile]) -> list[Day]:
    """Add files up, by model and then day.

    Raises:
        NotFound: one is gone, since it was compacted or expired meanwhile.
    """
    found: dict[tuple[str, date], Day] = {}
    for file in files:
        key = file.model, file.hour.date()
        day = found.get(key) or Day(*key, files=0, rows=0, bytes=0)
        found[key] = Day(*key, day.files + 1, day.rows + _rows(place, file), day.bytes + file.bytes)
    return [found[key] for key in sorted(found)]


def _rows(place: Place, file: RecordFile) -> int:
    with place.open(file) as source:
        return int(pq.read_metadata(source).num_rows)
