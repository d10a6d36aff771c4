"""What there is: per model and day, and what became of all answers, from the footers of the files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import pyarrow.parquet as pq

from router.record.account import Account, counts_of, kind_of
from router.record.files.footers import footer_of
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
        answers: by model, the accounts of all processes that answered into these files, as they stood when
            the last file of each was written. `records check` has them as they stand now.
        comparisons: likewise, of those that compared.
    """

    days: list[Day]
    answers: dict[str, Account]
    comparisons: dict[str, Account]


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
    sums = (_together(accounts, kind) for kind in ("request", "comparison"))
    return Listing([days[key] for key in sorted(days)], *sums)


def _together(accounts: Mapping[str, Mapping[str, Account]], kind: str) -> dict[str, Account]:
    """By model, what the processes of one kind counted; without models of which none did."""
    found = {
        model: [account for instance, account in latest.items() if kind_of(instance) == kind]
        for model, latest in accounts.items()
    }
    return {model: sum(each, Account()) for model, each in found.items() if each}


def later(one: Account, other: Account) -> Account:
    """Of two accounts of a process how it stood last: they are totals that only grow."""
    return Account(*map(max, counts_of(one), counts_of(other)))
