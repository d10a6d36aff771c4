"""Whether every answer is where the accounts say: files added up against accounts.

Law: of each process and model, rows in files = written - expired. What a process says of itself is in the
state folder of its node; of processes of other nodes the newest footer is taken, which knows of all files
before it: a file that is missing shows there too.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from router.record.account import Account
from router.record.account import Place as Entry
from router.record.accounts import Accounts
from router.record.files.footers import footer_of
from understudy.records.place import Place
from understudy.records.present import parquet, present

PATIENCE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Balance:
    """One account, held against the files.

    Attributes:
        instance: the process.
        model: the public name.
        account: as the process's node has it, or else the newest footer.
        rows: in files.
        ours: whether it is in the state folder.
        ended: whether nothing more can come: the process has ended, as far as that is known.
    """

    instance: str
    model: str
    account: Account
    rows: int
    ours: bool
    ended: bool

    @property
    def difference(self) -> str:
        """What does not add up, in words; empty where all does."""
        account = self.account
        expected = account.written - account.expired
        if self.rows != expected:
            missing = expected - self.rows
            return f"{abs(missing):,} rows are {'missing' if missing > 0 else 'there that no account has'}"
        if account.pending < 0:
            return f"{-account.pending:,} answers more have an outcome than there were"
        if self.ended and self.ours and account.pending:
            return f"{account.pending:,} answers have no outcome, and their process has ended"
        return ""


def balances(place: Place, accounts: Accounts) -> list[Balance]:
    """Every account of the files and of the state folder.

    Args:
        place: of the files.
        accounts: of the node whose state folder it is; there may be none.

    Raises:
        ServingError: the place cannot be read.
    """
    rows: Counter[Entry] = Counter()
    newest: dict[Entry, Account] = {}
    for file in present(place):
        with parquet(place, file) as source:
            footer = footer_of(source)
        if footer is None:
            continue  # somebody else's
        for instance, count in footer.rows.items():
            rows[instance, footer.model] += count
        for instance, account in footer.accounts.items():
            entry = instance, footer.model
            if entry not in newest or newest[entry].written < account.written:
                newest[entry] = account
    ours = accounts.read()
    return [
        Balance(
            *entry,
            ours[entry] if entry in ours else newest.get(entry, Account(requests=count, written=count)),
            count,
            entry in ours,
            entry not in ours or not accounts.lives(entry[0]),
        )
        for entry, count in sorted(_with_zeros(rows, ours))
    ]


def settled_balances(place: Place, accounts: Accounts) -> list[Balance]:
    """As `balances`, looked at again for a while where they differ: a node that runs writes meanwhile."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = balances(place, accounts)
        differing = [each for each in found if each.difference]
        if not any(each.ours for each in differing) or time.monotonic() > until:
            return found
        time.sleep(LOOK_SECONDS)


def _with_zeros(rows: Mapping[Entry, int], ours: Mapping[Entry, Account]) -> list[tuple[Entry, int]]:
    return [(entry, rows.get(entry, 0)) for entry in {*rows, *ours}]
