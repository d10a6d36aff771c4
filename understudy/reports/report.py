"""What a command found, in a form that every format shows: a verdict, tables and notes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "undecided", "noted"]
"""`failed` and `undecided` keep a pipeline from going on; what is `noted` decides nothing."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was decided.

    Args:
        name: of the check.
        outcome: what came of it.
        reason: why, in a sentence.
    """

    name: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Table:
    """Figures, as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A report.

    Args:
        title: what was looked at, in a line.
        verdict: a word or two.
        outcome: of all of it.
        checks: what was decided.
        tables: figures beside; those without rows are left out.
        notes: sentences.
        seconds: that it took.
    """

    title: str
    verdict: str
    outcome: Outcome
    checks: Sequence[Check]
    tables: Sequence[Table]
    notes: Sequence[str]
    seconds: float

    @property
    def shown(self) -> list[Table]:
        """The tables that have something in them."""
        return [table for table in self.tables if table.rows]
