"""What there is: per model and day, and what became of all answers, from the footers of the files."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import date

import pyarrow.parquet as pq

from router.record.accounts import Account
from router.record.footers import footer_of
from understudy.records.place import Place, RecordFile
from understudy.records.present import parquet


@dataclass(frozen=True, slots=True)
class Day:
    """The records of one model that arrived on one day.

    Attributes:
        date: by UTC.
        files: how many.
        rows: in them, comparisons included.
        bytes: of the files, as they lie there.
    """

    model: str
    date: date
    files: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What some files say of themselves.

    Attributes:
        days: by model and then day.
        accounts: by model, of all processes that wrote into these files: how their accounts stood when they
            last did. What was dropped since then is in metrics, and in `records check`.
    """

    days: list[Day]
    accounts: dict[str, Account]


def listing(place: Place, files: Iterable[RecordFile]) -> Listing:
    """Add files up.

    Raises:
        NotFound: one is gone, since it was compacted or expired meanwhile.
    """
    days: dict[tuple[str, date], Day] = {}
    accounts: dict[str, dict[str, Account]] = {}
    for file in files:
        with parquet(place, file) as source:
            rows, footer = pq.read_metadata(source).num_rows, footer_of(source)
        key = file.model, file.hour.date()
        day = days.get(key) or Day(*key, files=0, rows=0, bytes=0)
        days[key] = Day(*key, day.files + 1, day.rows + rows, day.bytes + file.bytes)
        latest = accounts.setdefault(file.model, {})
        for instance, account in footer.accounts.items() if footer is not None else ():
            latest[instance] = later(latest.get(instance, Account()), account)
    together = {model: sum(latest.values(), Account()) for model, latest in accounts.items()}
    return Listing([days[key] for key in sorted(days)], together)


def later(one: Account, other: Account) -> Account:
    """Of two accounts of a process how it stood last: they are totals that only grow."""
    return Account(*map(max, astuple(one), astuple(other)))
