"""Which revisions a database has given: what nodes hold is held against it. Pure.

Law: a database that was put back from a backup gives numbers again that its nodes know for others, and in
time greater ones. So nobody is judged by numbers alone: a revision is this database's where it was accepted
here at the moment that its holder names, in the same epoch. An epoch is the moment at which a database was
made, or a person said that what it holds is to be in force (`understudy control --new-epoch`): of two the
later one rules.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal

from router.wire.report import Held

REMEMBERED: Final = 10_000
"""Revisions: whoever holds an older one is believed."""
FIRST_EPOCH: Final = 1
"""Of a database that an older release made."""

Standing = Literal["ours", "before", "foreign"]
"""Of what a process holds: this database gave it; it is of an epoch before; this database did not give it."""


class Given:
    """The latest revisions of a database.

    Args:
        epoch: of the database.
        last: the revision that was given last.
        made: when revisions were accepted, in seconds since 1970; those of which it is known.
    """

    def __init__(self, epoch: int = 0, last: int = 0, made: Iterable[tuple[int, float]] = ()) -> None:
        self.epoch = epoch
        self.last = last
        self._made = dict(made)

    def add(self, revision: int, made: float) -> None:
        """A revision was given."""
        self.last = max(self.last, revision)
        self._made[revision] = made
        if len(self._made) > REMEMBERED:
            del self._made[min(self._made)]

    def made(self, revision: int) -> float:
        """When a revision was accepted; 0 where that is not remembered."""
        return self._made.get(revision, 0.0)

    def standing(self, held: Held) -> Standing:
        """What a process that holds a snapshot is to this database; one that holds none is its own."""
        if 0 in (held.epoch, held.revision, self.epoch):  # who says nothing, and before anything was loaded
            return "ours"
        if held.epoch != self.epoch:
            return "before" if held.epoch < self.epoch else "foreign"
        if held.revision > self.last:
            return "foreign"
        made = self.made(held.revision)
        return "ours" if 0.0 in (made, held.made) or made == held.made else "foreign"

    def barred(self, held: Held) -> str:
        """Why a process that holds this is given no snapshot, in words; empty where it may have ours."""
        if self.standing(held) != "foreign":
            return ""
        which = f"revision {held.revision}"
        if held.made:
            which += f" of {datetime.fromtimestamp(held.made, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if held.epoch > self.epoch:
            return f"it holds {which}, of a state database that is newer than control's, or another one"
        return f"it holds {which}, which the state database of control never gave: that is an older one"
