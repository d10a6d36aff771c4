"""Pairs for labels in the database, and what labels have come to.

Law: a pair is kept once, by the id of its request and its output, however often it is told. A label and its
pair meet once: who comes second finds the other one, in a transaction of its own, and such transactions come
one after the other. So what is in the sums is there exactly once, whatever order things came in.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from control.store.outcome_tables import OUTCOMES

PAIRS = sa.Table(
    "pairs",
    OUTCOMES.metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("output", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("stage", sa.BigInteger, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("candidate", sa.Text, nullable=False),
    sa.Column("kept_until", sa.Double, nullable=False),
    sa.Index("pairs_kept", "kept_until"),
)
LABEL_SUMS = sa.Table(
    "label_sums",
    OUTCOMES.metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("stage", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("guard", sa.Text, primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),
)

WAITS: Final = 0
"""`entered` of a label at which nobody has looked."""
SCORED: Final = 1
ALONE: Final = 2
"""`entered` of a label whose pair was not there."""

Json = Mapping[str, Any]
Place = tuple[str, int, str]
"""Public name, stage, name of the guard."""

_LOOK_UP = 500  # ids of one question


class PairRow(NamedTuple):
    """Two answers to one request, for one output.

    Args:
        id: of the request, 16 bytes.
        output: its name.
        model: the public name.
        stage: in which it was answered.
        reference: what stable answered, as JSON.
        candidate: what the candidate did, as JSON.
        kept_until: seconds since 1970.
    """

    id: bytes
    output: str
    model: str
    stage: int
    reference: str
    candidate: str
    kept_until: float


class LabelRow(NamedTuple):
    """A label that was told: as of `control.store.outcomes.Row`."""

    id: bytes
    name: str
    model: str
    stage: int
    arm: int
    label: str


_LABEL = tuple(OUTCOMES.c[name] for name in LabelRow._fields)
_UNSEEN = sa.and_(OUTCOMES.c.entered == WAITS, OUTCOMES.c.label.is_not(None))


class PairStore:
    """The part of the store that knows pairs. Its methods block, and raise what those of `Store` do.

    Args:
        read: opens a transaction that reads.
        write: opens one that writes, for the control that leads.
    """

    def __init__(
        self,
        read: Callable[[], AbstractContextManager[Connection]],
        write: Callable[[], AbstractContextManager[Connection]],
    ) -> None:
        self._read = read
        self._write = write

    def known(self) -> tuple[Counter[str], dict[Place, Json]]:
        """How many pairs are kept, by public name, and all sums."""
        number = sa.select(PAIRS.c.model, sa.func.count()).group_by(PAIRS.c.model)
        with self._read() as connection:
            kept = Counter({model: int(found) for model, found in connection.execute(number)})
            sums = connection.execute(sa.select(LABEL_SUMS))
            return kept, {(row.model, row.stage, row.guard): row.state for row in sums}

    def labels_wait(self, now: float) -> bool:
        """Whether there are labels at which nobody has looked."""
        query = sa.select(OUTCOMES.c.id).where(_UNSEEN, OUTCOMES.c.matures <= now).limit(1)
        with self._read() as connection:
            return connection.execute(query).first() is not None

    @contextmanager
    def turn(self) -> Iterator["Turn"]:
        """One transaction, for the control that leads; all of it is done, or nothing."""
        with self._write() as connection:
            yield Turn(connection)


class Turn:
    """What can be done in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def keep(self, rows: Sequence[PairRow]) -> list[PairRow]:
        """Keep pairs; those that were not kept before."""
        places = {(row.id, row.output): row for row in rows}
        known = {(bytes(id_), output) for id_, output in self._of(PAIRS, rows, PAIRS.c.id, PAIRS.c.output)}
        new = [row for place, row in places.items() if place not in known]
        if new:
            self._connection.execute(sa.insert(PAIRS), [row._asdict() for row in new])
        return new

    def new_labels(self, now: float, limit: int) -> list[LabelRow]:
        """Labels at which nobody has looked, at most so many, the first that were told."""
        query = sa.select(*_LABEL).where(_UNSEEN, OUTCOMES.c.matures <= now)
        found = self._connection.execute(query.order_by(OUTCOMES.c.matures).limit(limit))
        return [LabelRow(*row) for row in found]

    def pairs_of(self, labels: Sequence[LabelRow]) -> list[PairRow]:
        """The pairs of the requests of these labels, of any output."""
        return [PairRow(*row) for row in self._of(PAIRS, labels, *PAIRS.c)]

    def labels_alone(self, pairs: Sequence[PairRow]) -> list[LabelRow]:
        """The labels of the requests of these pairs, that were looked at and found none."""
        return [
            LabelRow(*row) for row in self._of(OUTCOMES, pairs, *_LABEL, also=OUTCOMES.c.entered == ALONE)
        ]

    def _of(
        self, table: sa.Table, rows: Iterable[PairRow | LabelRow], *columns: Any, also: Any = None
    ) -> Iterator[Any]:
        ids = sorted({row.id for row in rows})
        for first in range(0, len(ids), _LOOK_UP):
            query = sa.select(*columns).where(table.c.id.in_(ids[first : first + _LOOK_UP]))
            yield from self._connection.execute(query if also is None else query.where(also))

    def enter(self, labels: Iterable[LabelRow], entered: int) -> None:
        """Remember what became of these labels: `SCORED` or `ALONE`."""
        rows = [{"of_id": label.id, "of_name": label.name} for label in labels]
        if rows:
            same = OUTCOMES.c.id == sa.bindparam("of_id"), OUTCOMES.c.name == sa.bindparam("of_name")
            self._connection.execute(sa.update(OUTCOMES).where(*same).values(entered=entered), rows)

    def sums(self, place: Place) -> Json | None:
        """The sums of one stage and guard; None where there are none."""
        return self._connection.execute(sa.select(LABEL_SUMS.c.state).where(_at(place))).scalar_one_or_none()

    def keep_sums(self, place: Place, state: Json) -> None:
        """Keep these instead of those before."""
        update = sa.update(LABEL_SUMS).where(_at(place)).values(state=state)
        if self._connection.execute(update).rowcount == 0:
            model, stage, guard = place
            new = {"model": model, "stage": stage, "guard": guard, "state": state}
            self._connection.execute(sa.insert(LABEL_SUMS), [new])

    def drop_sums(self, judged_from: Mapping[str, int]) -> None:
        """Let go of the sums of stages before these, and of rollouts that are not there."""
        judged = [
            sa.and_(LABEL_SUMS.c.model == model, LABEL_SUMS.c.stage >= stage)
            for model, stage in judged_from.items()
        ]
        self._connection.execute(sa.delete(LABEL_SUMS).where(sa.not_(sa.or_(sa.false(), *judged))))

    def drop_old(self, now: float, limit: int) -> Counter[str]:
        """Let go of pairs whose time is over, at most so many; of which models."""
        return self._drop(PAIRS.c.kept_until < now, limit)

    def drop_from(self, id_: bytes, limit: int) -> Counter[str]:
        """Let go of pairs with this id or one above it."""
        return self._drop(PAIRS.c.id >= id_, limit)

    def drop_all_but(self, wanted: Mapping[str, Iterable[str]], limit: int) -> Counter[str]:
        """Let go of pairs of all outputs but these, by public name."""
        kept = [
            sa.and_(PAIRS.c.model == model, PAIRS.c.output.in_(sorted(outputs)))
            for model, outputs in wanted.items()
        ]
        return self._drop(sa.not_(sa.or_(sa.false(), *kept)), limit)

    def _drop(self, which: Any, limit: int) -> Counter[str]:
        """A transaction has a few seconds, and others wait for it: so not all at once."""
        some = sa.select(PAIRS.c.id, PAIRS.c.output).where(which).limit(limit)
        query = sa.delete(PAIRS).where(sa.tuple_(PAIRS.c.id, PAIRS.c.output).in_(some))
        return Counter(self._connection.execute(query.returning(PAIRS.c.model)).scalars())


def _at(place: Place) -> Any:
    model, stage, guard = place
    return sa.and_(LABEL_SUMS.c.model == model, LABEL_SUMS.c.stage == stage, LABEL_SUMS.c.guard == guard)
