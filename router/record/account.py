"""What became of the answers of a process for a model, as numbers that add up. Pure.

Law: requests = sampled out + written + dropped (by reason) + pending.
"""

from dataclasses import dataclass, fields
from operator import add, attrgetter
from typing import Final, Literal

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
        return Account(*map(add, counts_of(self), counts_of(other)))

    def outcomes(self) -> dict[str, int]:
        """Count by outcome, as metrics and people are told it; they add up to the requests."""
        return {name: getattr(self, name) for name in OUTCOMES}


OUTCOMES: Final = (
    "sampled_out", "written", "full", "too_large", "store_away", "writer_gone", "worker_gone", "pending",
)  # fmt: skip


COUNTS: Final = tuple(field.name for field in fields(Account))
"""Names of what an account counts, in order."""
counts_of: Final = attrgetter(*COUNTS)
"""The counts of an account, in this order."""


def kind_of(instance: str) -> Kind:
    """Whether a process counts answers or comparisons."""
    return "comparison" if instance.partition(".")[2].startswith("sandbox") else "request"
