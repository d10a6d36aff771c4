"""Rows in memory, by the file that they are to be in, and when that file is written. Pure but for its tables.

Law: a file has rows of one model and one hour, and each of its columns one datatype. It is written when it is
large enough, or when its first row has waited long enough, whichever comes first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from router.record.files.columns import Columns
from router.record.files.layout import hour_folder
from router.record.files.rows import Row


@dataclass(slots=True)
class Part:
    """Rows that are to be one file.

    Attributes:
        model: the public name.
        folder: below the root of the log, as Hive has it.
        began: when its first row came, monotonic seconds.
        name: of the file, below the root; nobody else's.
    """

    model: str
    folder: str
    began: float
    columns: Columns = field(default_factory=Columns)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"{self.folder}/{uuid4().hex}.parquet"


class Partitions:
    """The parts that rows are added to now.

    Args:
        roll_bytes: a part of so many bytes in memory is written.
        roll_seconds: one so old is, too.
    """

    def __init__(self, roll_bytes: int, roll_seconds: float) -> None:
        self._roll_bytes = roll_bytes
        self._roll_seconds = roll_seconds
        self._parts: dict[str, list[Part]] = {}

    def add(self, row: Row, now: float) -> None:
        """Add a row to the part that takes it, or to a new one."""
        folder = hour_folder(row.model, row.at)
        parts = self._parts.setdefault(folder, [])
        part = next((part for part in parts if part.columns.takes(row)), None)
        if part is None:
            part = Part(row.model, folder, now)
            parts.append(part)
        part.columns.add(row)

    def due(self, now: float) -> Iterator[Part]:
        """Give away those that are to be written."""
        for folder, parts in list(self._parts.items()):
            due = [part for part in parts if self._is_due(part, now)]
            left = [part for part in parts if part not in due]
            if left:
                self._parts[folder] = left
            else:
                del self._parts[folder]
            yield from due

    def _is_due(self, part: Part, now: float) -> bool:
        return part.columns.bytes >= self._roll_bytes or now - part.began >= self._roll_seconds

    def all(self) -> Iterator[Part]:
        """Give away all of them."""
        parts, self._parts = self._parts, {}
        for each in parts.values():
            yield from each
