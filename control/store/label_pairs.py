"""Pairs for labels in the database, and what labels have come to.

Law: a pair is kept once, by the id of its request, its output and its candidate, however often it is told. A
label and its pair meet once: who comes second finds the other one, in a transaction of its own, and such
transactions come one after the other; the label remembers against whose pairs it was held. So what is in the
sums is there exactly once, whatever order things came in.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from control.store.outcome_tables import OUTCOMES
from control.store.outcomes import Stage, stages_of
from router.counting.receipt import MOST_CANDIDATES

PAIRS = sa.Table(
    "pairs",
    OUTCOMES.metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("output", sa.Text, primary_key=True),
    sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),
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
"""`entered` of a label at which nobody has looked; else it is made of the bits below."""
ALONE: Final = 2
"""The bit of a label that was looked at when a pair was not there."""


def scored_bit(number: int) -> int:
    """The bit of a label that was held against the pair of this candidate: 1, then 4, 8, 16 and so on."""
    return 1 if number == 1 else 1 << number


Json = Mapping[str, Any]
Place = tuple[str, int, str]
"""Public name, stage, name of the guard."""

_LOOK_UP = 500  # ids of one question


class PairRow(NamedTuple):
    """Two answers to one request, for one output.

    Args:
        id: of the request, 16 bytes.
        output: its name.
        number: of the candidate; of a canary 1.
        model: the public name.
        stage: in which it was answered.
        reference: what stable answered, as JSON.
        candidate: what the candidate did, as JSON.
        kept_until: seconds since 1970.
    """

    id: bytes
    output: str
    number: int
    model: str
    stage: int
    reference: str
    candidate: str
    kept_until: float


class LabelRow(NamedTuple):
    """A label that was told: as of `control.store.outcomes.Row`; `entered` is what was made of it."""

    id: bytes
    name: str
    model: str
    stage: int
    arm: int
    label: str
    entered: int = WAITS

    @property
    def held_against(self) -> frozenset[int]:
        """The numbers of the candidates whose pairs it was held against."""
        return frozenset(number for number in _NUMBERS if self.entered & scored_bit(number))


_NUMBERS: Final = range(1, MOST_CANDIDATES + 1)
_LABEL = tuple(OUTCOMES.c[name] for name in LabelRow._fields)
_PAIR = tuple(PAIRS.c[name] for name in PairRow._fields)
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

    def stages(self, model: str) -> dict[int, Stage]:
        """The stages of one name that are known, by number."""
        with self._read() as connection:
            return {stage.stage: stage for stage in stages_of(connection, model)}

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
        places = {(row.id, row.output, row.number): row for row in rows}
        which = PAIRS.c.id, PAIRS.c.output, PAIRS.c.number
        known = {(bytes(id_), output, number) for id_, output, number in self._of(PAIRS, rows, *which)}
        new = [row for place, row in places.items() if place not in known]
        if new:
            self._connection.execute(sa.insert(PAIRS), [row._asdict() for row in new])
        return new

    def new_labels(self, now: float, limit: int) -> list[LabelRow]:
        """Labels at which nobody has looked, at most so many, the first that were told."""
        query = sa.select(*_LABEL).where(_UNSEEN, OUTCOMES.c.matures <= now)
        found = self._connection.execute(query.order_by(OUTCOMES.c.matures).limit(limit))
        return [_label(row) for row in found]

    def pairs_of(self, labels: Sequence[LabelRow | PairRow]) -> list[PairRow]:
        """The pairs of these requests, of any output and candidate."""
        return [PairRow(*row)._replace(id=bytes(row.id)) for row in self._of(PAIRS, labels, *_PAIR)]

    def labels_seen(self, pairs: Sequence[PairRow]) -> list[LabelRow]:
        """The labels of the requests of these pairs, that were looked at when a pair was not there."""
        seen = sa.and_(OUTCOMES.c.entered.bitwise_and(ALONE) != 0, OUTCOMES.c.label.is_not(None))
        return [_label(row) for row in self._of(OUTCOMES, pairs, *_LABEL, also=seen)]

    def _of(
        self, table: sa.Table, rows: Iterable[PairRow | LabelRow], *columns: Any, also: Any = None
    ) -> Iterator[Any]:
        ids = sorted({row.id for row in rows})
        for first in range(0, len(ids), _LOOK_UP):
            query = sa.select(*columns).where(table.c.id.in_(ids[first : first + _LOOK_UP]))
            yield from self._connection.execute(query if also is None else query.where(also))

    def enter(self, labels: Iterable[LabelRow]) -> None:
        """Remember what became of these labels, as their `entered` says."""
        rows = [{"of_id": each.id, "of_name": each.name, "now": each.entered} for each in labels]
        if rows:
            same = OUTCOMES.c.id == sa.bindparam("of_id"), OUTCOMES.c.name == sa.bindparam("of_name")
            query = sa.update(OUTCOMES).where(*same).values(entered=sa.bindparam("now"))
            self._connection.execute(query, rows)

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
        place = PAIRS.c.id, PAIRS.c.output, PAIRS.c.number
        some = sa.select(*place).where(which).limit(limit)
        query = sa.delete(PAIRS).where(sa.tuple_(*place).in_(some))
        return Counter(self._connection.execute(query.returning(PAIRS.c.model)).scalars())


def _label(row: Any) -> LabelRow:
    return LabelRow(*row)._replace(id=bytes(row.id))


def _at(place: Place) -> Any:
    model, stage, guard = place
    return sa.and_(LABEL_SUMS.c.model == model, LABEL_SUMS.c.stage == stage, LABEL_SUMS.c.guard == guard)
