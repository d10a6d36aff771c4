"""Accounts of the prediction log: what became of every answer, for each process that gave answers.

Law: an account adds up (`router.record.account`) at every moment, and pending is 0 once the process has ended
and the log writer has seen it. An account is a page of shared memory in the state folder, so it outlives a
process that is killed, and the start of the node after it. Each cell has one writer: the process counts what
it offers, the log writer what became of that. So nothing has to be acknowledged, and nothing counts twice:
what the log writer counts are totals that it sets, none that it adds to.

In the folder: `<instance>/<public name>`, one page each, and `<instance>/.lock`, which the process holds for
as long as it lives, however it ends; `closed.json` has the accounts of processes that have ended, whose pages
are gone (`router.record.closed_accounts`).
"""

import fcntl
import mmap
import os
import re
import shutil
import time
from collections.abc import Container
from pathlib import Path
from typing import Final

from router.record.account import Account, Kind, Place, kind_of
from router.record.closed_accounts import ClosedAccounts, folded

PAGE: Final = 4096

# Of the process that answers.
REQUESTS: Final = 0
SAMPLED_OUT: Final = 1
FULL: Final = 2
TOO_LARGE: Final = 3
AWAY: Final = 4
SENT: Final = 5
# Of the log writer.
WRITTEN: Final = 8
STORE_AWAY: Final = 9
LOST: Final = 10
WORKER_GONE: Final = 11
EXPIRED: Final = 12

_LOCK: Final = ".lock"  # no public name begins with a dot

Cells = memoryview  # of unsigned 64-bit numbers


def account_of(cells: "Cells[int]") -> Account:
    """What the cells say."""
    return Account(
        requests=cells[REQUESTS],
        sampled_out=cells[SAMPLED_OUT],
        written=cells[WRITTEN],
        full=cells[FULL],
        too_large=cells[TOO_LARGE],
        store_away=cells[STORE_AWAY],
        writer_gone=cells[AWAY] + cells[LOST],
        worker_gone=cells[WORKER_GONE],
        expired=cells[EXPIRED],
    )


def _opened_again(cells: "Cells[int]", account: Account) -> None:
    """Fill an empty page with what an account said; the process that would count further has ended."""
    cells[REQUESTS] = account.requests
    cells[SAMPLED_OUT] = account.sampled_out
    cells[FULL] = account.full
    cells[TOO_LARGE] = account.too_large
    cells[WRITTEN] = account.written
    cells[STORE_AWAY] = account.store_away
    cells[LOST] = account.writer_gone
    cells[WORKER_GONE] = account.worker_gone
    cells[EXPIRED] = account.expired


def _mapped(path: Path, flags: int = 0) -> "Cells[int]":
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        if flags:
            os.posix_fallocate(descriptor, 0, PAGE)  # touching a page without room would kill the process
        return memoryview(mmap.mmap(descriptor, PAGE)).cast("Q")
    finally:
        os.close(descriptor)


class OwnAccounts:
    """The accounts of this process, made when it has something to count.

    Args:
        folder: of all accounts of the node.
        instance: a name that no other process had or will have.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        self.instance = instance
        self._folder = folder / instance
        self._cells: dict[str, Cells[int]] = {}
        self._lock: int | None = None

    def of(self, model: str) -> "Cells[int]":
        """The cells of a model.

        On a disk without room they are memory of this process only: answers are worth more than accounts.
        """
        cells = self._cells.get(model)
        if cells is None:
            try:
                self._take()
                cells = _mapped(self._folder / model, os.O_CREAT)
            except OSError:
                cells = memoryview(mmap.mmap(-1, PAGE)).cast("Q")
            self._cells[model] = cells
        return cells

    def sent(self) -> dict[str, int]:
        """By model, how many answers were sent to the log writer until now."""
        return {model: cells[SENT] for model, cells in self._cells.items()}

    def _take(self) -> None:
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)  # nobody else's name: who looks holds it for an instant


class Accounts:
    """The accounts of all processes of a node, for the log writer and for whoever adds them up.

    Args:
        folder: of the accounts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cells: dict[Place, Cells[int]] = {}
        self._closed = ClosedAccounts(folder / "closed.json")

    def cells(self, instance: str, model: str) -> "Cells[int]":
        """The cells of one account, for the log writer; one that was closed is opened again.

        Raises:
            OSError: there is none.
        """
        cells = self._cells.get((instance, model))
        if cells is None:
            path = self._folder / instance / model
            if not path.exists() and (instance, model) in self._closed.rows():
                self._open_again(instance, model)
            cells = self._cells[instance, model] = _mapped(path)
        return cells

    def _open_again(self, instance: str, model: str) -> None:
        """Give a closed account a page, which counts from the moment when it has its name."""
        (self._folder / instance).mkdir(exist_ok=True)
        aside = self._folder / instance / f".{model}"
        _opened_again(_mapped(aside, os.O_CREAT), self._closed.rows()[instance, model])
        aside.replace(self._folder / instance / model)

    def has(self, instance: str, model: str) -> bool:
        """Whether there is such an account; none where the disk had no room for it."""
        place = instance, model
        return (
            place in self._cells or (self._folder / instance / model).exists() or place in self._closed.rows()
        )

    def instances(self) -> list[str]:
        """Every process whose accounts have pages."""
        try:
            return sorted(path.name for path in self._folder.iterdir() if path.is_dir())
        except OSError:
            return []

    def models(self, instance: str) -> list[str]:
        """The public names that such a process counted."""
        try:
            names = [path.name for path in (self._folder / instance).iterdir()]
        except OSError:
            return []
        return sorted(name for name in names if name != _LOCK and not name.startswith("."))

    def read(self) -> dict[Place, Account]:
        """By instance and model; each consistent enough to add up: what is not settled is pending.

        Pages first: an account that is closed meanwhile is then seen twice, and not missed.
        """
        pages = self._pages()
        return {**self._closed.rows(), **pages}

    def _pages(self) -> dict[Place, Account]:
        places = [(instance, model) for instance in self.instances() for model in self.models(instance)]
        found = {place: self._page(place) for place in places}
        return {place: account for place, account in found.items() if account is not None}

    def _page(self, place: Place) -> Account | None:
        """What a page says, without mapping it, which would hold a file open; None of one that just went."""
        cells = self._cells.get(place)
        if cells is not None:
            return account_of(cells)
        try:
            data = self._folder.joinpath(*place).read_bytes()
        except FileNotFoundError:
            return None
        return account_of(memoryview(data.ljust(PAGE, b"\0")).cast("Q"))  # one that is just made may be short

    def by_model(self, kind: Kind = "request") -> dict[str, Account]:
        """Of all processes together that count answers, or comparisons."""
        found: dict[str, Account] = {}
        for (instance, model), account in self.read().items():
            if kind_of(instance) == kind:
                found[model] = found.get(model, Account()) + account
        return found

    def lives(self, instance: str) -> bool:
        """Whether its process does, or may."""
        try:
            descriptor = os.open(self._folder / instance / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def settle(self, busy: Container[str]) -> None:
        """Let nothing be pending of processes that have ended and of which no row is on the way.

        Args:
            busy: instances of which rows are, or may be.
        """
        for instance, accounts in self._ended(busy).items():
            for model, account in accounts.items():
                if account.pending:
                    cells = self.cells(instance, model)
                    cells[WORKER_GONE] = max(0, account.worker_gone + account.pending)

    def _ended(self, busy: Container[str]) -> dict[str, dict[str, Account]]:
        """By instance, the accounts that have pages of processes of which nothing more can come."""
        found: dict[str, dict[str, Account]] = {}
        for instance in self.instances():
            if instance not in busy and not self.lives(instance):
                read = {model: self._page((instance, model)) for model in self.models(instance)}
                found[instance] = {model: account for model, account in read.items() if account is not None}
        return found

    def close(self, busy: Container[str]) -> None:
        """Keep the settled accounts of processes that have ended in one file, without pages.

        Args:
            busy: as of `settle`.

        Raises:
            OSError, ValueError: the file cannot be read or written; all is as before.
        """
        before = self._closed.known()
        ended = {
            (instance, model): account
            for instance, accounts in self._ended(busy).items()
            if not any(account.pending for account in accounts.values())
            for model, account in accounts.items()
        }
        after = {**folded(before, self._pages()), **ended}
        if after != before:
            self._closed.write(after)
        for place in ended:
            self._cells.pop(place, None)
        for instance in {place[0] for place in ended}:
            shutil.rmtree(self._folder / instance)


def instance_name(node: str, process: str) -> str:
    """A name that no other process has, also after a restart that gives out the same process ids again.

    Args:
        node: its name.
        process: `worker-0`, or of one that compares, `sandbox-<id>`.
    """
    return f"{re.sub('[^A-Za-z0-9_-]', '_', node)[:60]}.{process}.{time.time_ns():x}"


def accounts_folder(state_dir: Path) -> Path:
    """Where a node keeps its accounts."""
    return state_dir / "records" / "accounts"
