"""Accounts of the prediction log: what became of every answer, for each process that gave answers.

Law: requests = sampled out + written + dropped (by reason) + pending, at every moment, and pending is 0 once
the process has ended and the log writer has seen it. An account is a page of shared memory in the state
folder, so it outlives a process that is killed, and the start of the node after it. Each cell has one writer:
the process counts what it offers, the log writer what became of that. So nothing has to be acknowledged, and
nothing is counted twice: what the log writer counts are totals that it sets, none that it adds to.

In the folder: `<instance>/<public name>`, one page each, and `<instance>/lock`, which the process holds for
as long as it lives, however it ends.
"""

import fcntl
import mmap
import os
import re
import time
from collections.abc import Container
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

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

_LOCK: Final = "lock"

Cells = memoryview  # of unsigned 64-bit numbers
Kind = Literal["request", "comparison"]
"""What a row is of: an answer to a client, or a candidate's that was held against it."""
Place = tuple[str, str]
"""An instance and a public name: where an account is."""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the answers of one process for one model, or of several together.

    Attributes:
        requests: answers, and failures told to clients.
        sampled_out: by the document's `sample`.
        written: rows in files that are there for good, those that were deleted as too old included.
        full: dropped since the log writer was slower than the requests came.
        too_large: dropped since a frame has a limit.
        store_away: dropped since the folder or bucket could not be written to for long.
        writer_gone: dropped since the log writer was away, or lost with one that was killed.
        worker_gone: lost in a process that was killed.
        expired: of the written, those deleted as too old.
    """

    requests: int = 0
    sampled_out: int = 0
    written: int = 0
    full: int = 0
    too_large: int = 0
    store_away: int = 0
    writer_gone: int = 0
    worker_gone: int = 0
    expired: int = 0

    @property
    def dropped(self) -> int:
        """For any reason."""
        return self.full + self.too_large + self.store_away + self.writer_gone + self.worker_gone

    @property
    def pending(self) -> int:
        """On the way: neither written nor dropped yet."""
        return self.requests - self.sampled_out - self.written - self.dropped

    def __add__(self, other: "Account") -> "Account":
        mine, theirs = asdict(self), asdict(other)
        return Account(**{name: count + theirs[name] for name, count in mine.items()})

    def outcomes(self) -> dict[str, int]:
        """Count by outcome, as metrics and people are told it; they add up to the requests."""
        counts = asdict(self)
        return {name: counts[name] for name in OUTCOMES[:-1]} | {"pending": self.pending}


OUTCOMES: Final = (
    "sampled_out", "written", "full", "too_large", "store_away", "writer_gone", "worker_gone", "pending",
)  # fmt: skip


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
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the name is nobody else's


class Accounts:
    """The accounts of all processes of a node, for the log writer and for whoever adds them up.

    Args:
        folder: of the accounts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cells: dict[Place, Cells[int]] = {}

    def cells(self, instance: str, model: str) -> "Cells[int]":
        """The cells of one account.

        Raises:
            OSError: there is none.
        """
        cells = self._cells.get((instance, model))
        if cells is None:
            cells = self._cells[instance, model] = _mapped(self._folder / instance / model)
        return cells

    def has(self, instance: str, model: str) -> bool:
        """Whether there is such an account; none where the disk had no room for it."""
        return (instance, model) in self._cells or (self._folder / instance / model).exists()

    def instances(self) -> list[str]:
        """Every process that has accounts."""
        try:
            return sorted(path.name for path in self._folder.iterdir())
        except OSError:
            return []

    def models(self, instance: str) -> list[str]:
        """The public names that a process counted."""
        try:
            return sorted(path.name for path in (self._folder / instance).iterdir() if path.name != _LOCK)
        except OSError:
            return []

    def read(self) -> dict[Place, Account]:
        """By instance and model; each consistent enough to add up: what is not settled is pending."""
        return {
            (instance, model): account_of(self.cells(instance, model))
            for instance in self.instances()
            for model in self.models(instance)
        }

    def by_model(self, kind: Kind = "request") -> dict[str, Account]:
        """Of all processes together that count answers, or comparisons."""
        found: dict[str, Account] = {}
        for (instance, model), account in self.read().items():
            if kind_of(instance) == kind:
                found[model] = found.get(model, Account()) + account
        return found

    def lives(self, instance: str) -> bool:
        """Whether its process does."""
        try:
            descriptor = os.open(self._folder / instance / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def settle(self, busy: Container[str]) -> None:
        """Close the accounts of processes that have ended and of which no row is on the way.

        Args:
            busy: instances of which rows are, or may be.
        """
        for instance in self.instances():
            if instance in busy or self.lives(instance):
                continue
            for model in self.models(instance):
                cells = self.cells(instance, model)
                cells[WORKER_GONE] = max(0, cells[WORKER_GONE] + account_of(cells).pending)


def instance_name(node: str, process: str) -> str:
    """A name that no other process has, also after a restart that gives out the same process ids again.

    Args:
        node: its name.
        process: `worker-0`, or of one that compares, `sandbox-<id>`.
    """
    return f"{re.sub('[^A-Za-z0-9_-]', '_', node)[:60]}.{process}.{time.time_ns():x}"


def kind_of(instance: str) -> Kind:
    """Whether a process counts answers or comparisons."""
    return "comparison" if instance.partition(".")[2].startswith("sandbox") else "request"


def accounts_folder(state_dir: Path) -> Path:
    """Where a node keeps its accounts."""
    return state_dir / "records" / "accounts"
