"""What a file of rows holds, column by column, and where each value stands in it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInput

Array = npt.NDArray[np.generic]
Cells = Sequence[Any] | Array
"""A value for each row; of an array the first dimension is the rows."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a file.

    Args:
        file: the name that errors show.
        by_name: values by column; every column has a value for every row.
        lines: of each row the line on which it begins; None where the file has rows and no lines.
    """

    file: str
    by_name: Mapping[str, Cells]
    lines: Sequence[int] | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return min((len(cells) for cells in self.by_name.values()), default=0)

    def place(self, row: int) -> str:
        """Where a row stands, as errors say it; `row` counts from 0."""
        return f"{self.file}: row {row + 1}" if self.lines is None else f"{self.file}:{self.lines[row]}"

    def refuse(self, row: int, column: str, why: str) -> NoReturn:
        """Refuse a value by its place.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(f"{self.place(row)}: column {column!r}: {why}")

    def first(self, rows: int | None) -> "Columns":
        """The first so many rows; all of them with None."""
        kept = {name: cells[:rows] for name, cells in self.by_name.items()}
        return Columns(self.file, kept, None if self.lines is None else self.lines[:rows])

    def named(self) -> str:
        """The names of the columns, for an error; of many the first ones."""
        names = list(self.by_name)
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return (", ".join(names[:8]) or "none") + more
