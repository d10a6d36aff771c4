"""What waits, what has entered, and what it has come to: one transaction of who enters outcomes.

Law: what is read, added up and marked in one transaction is there once, whatever is killed when.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from control.store.outcome_tables import OUTCOME_SUMS, OUTCOME_UNITS, OUTCOMES

ENTERED = 1
LOOK_UP = 500
"""Keys of one question to the database."""

Json = Mapping[str, Any]
Place = tuple[str, int, str]
"""Public name, stage, and whose state: a guard, or with a blank in it something else."""
Users = tuple[str, str, int]
"""Public name, outcome, stage."""


class DueRow(NamedTuple):
    """An outcome as it is kept; the words are those of `control.store.outcomes.Row`."""

    id: bytes
    name: str
    model: str
    stage: int
    arm: int
    anew: int
    arrived: float
    key: int
    value: float
    at: float
    matures: float


_ROW = tuple(OUTCOMES.c[name] for name in DueRow._fields)
_WAITS = sa.and_(OUTCOMES.c.entered == 0, OUTCOMES.c.label.is_(None))
_ENTER = (
    sa.update(OUTCOMES)
    .where(OUTCOMES.c.id == sa.bindparam("of_id"), OUTCOMES.c.name == sa.bindparam("of_name"))
    .values(entered=ENTERED)
)
_TOLD = "told "
_NO_STAGE = 2**62


def told_place(model: str, stage: int, outcome: str) -> Place:
    """Where it is kept how many outcomes of a stage were taken, and how many of these have entered."""
    return model, stage, _TOLD + outcome


def guard_place(model: str, stage: int, guard: str, candidate: int = 0) -> Place:
    """Where it is kept what outcomes of a stage have come to for a guard.

    Args:
        model: the public name.
        stage: its number.
        guard: its name.
        candidate: of an A/B/n test, its number; 0 for the canary.
    """
    return model, stage, f"{guard} of {candidate}" if candidate else guard


def best_place(model: str, stage: int, outcome: str) -> Place:
    """Where it is kept what outcomes of a stage have come to at each side of an A/B/n test."""
    return model, stage, f"best {outcome}"


def add_told(connection: Connection, new: Mapping[Place, Sequence[tuple[int, float]]]) -> None:
    """Count outcomes that were taken into their `told_place`: whom the draw chose, and when mature."""
    entries = Entries(connection)
    before = entries.sums(new)
    after = {}
    for place, rows in new.items():
        state, first = before.get(place, {}), min(matures for _, matures in rows)
        after[place] = {
            **state,
            "accepted": state.get("accepted", 0) + len(rows),
            "first": min(first, state.get("first", first)),
            "waiting": _waiting(state, Counter(arm for arm, _ in rows), 1),
        }
    entries.keep(after)


def _waiting(state: Json, arms: Mapping[int, int], sign: int) -> dict[str, int]:
    """How many wait, by whom the draw chose."""
    found = dict(state.get("waiting", {}))
    for arm, number in arms.items():
        found[str(arm)] = found.get(str(arm), 0) + sign * number
    return found


class Entries:
    """What can be done in one transaction.

    Args:
        connection: in a transaction that writes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def due(self, until: float, limit: int) -> list[DueRow]:
        """What is no label, waits and is mature, the first to become so first; at most so many."""
        query = sa.select(*_ROW).where(_WAITS, OUTCOMES.c.matures <= until)
        query = query.order_by(OUTCOMES.c.matures, OUTCOMES.c.id).limit(limit)
        return [_row(row) for row in self._connection.execute(query)]

    def of_users(self, users: Users, keys: Sequence[int]) -> list[DueRow]:
        """All outcomes of these users."""
        return [_row(row) for some in _some(keys) for row in self._connection.execute(_of_users(users, some))]

    def closed(self, users: Users, keys: Sequence[int]) -> set[int]:
        """Those of these users whose unit has entered."""
        model, outcome, stage = users
        table = OUTCOME_UNITS.c
        same = table.model == model, table.outcome == outcome, table.stage == stage
        return {
            key
            for some in _some(keys)
            for key in self._connection.execute(
                sa.select(table.key).where(*same, table.key.in_(some))
            ).scalars()
        }

    def close(self, users: Users, keys: Iterable[int]) -> None:
        """The units of these users have entered."""
        model, outcome, stage = users
        rows = [{"model": model, "outcome": outcome, "stage": stage, "key": key} for key in keys]
        if rows:
            self._connection.execute(sa.insert(OUTCOME_UNITS), rows)

    def amounts(self, model: str, outcome: str, before: int, limit: int) -> list[DueRow]:
        """Stable's latest amounts other than 0 of the stages before one."""
        query = sa.select(*_ROW).where(
            OUTCOMES.c.model == model,
            OUTCOMES.c.name == outcome,
            OUTCOMES.c.stage < before,
            OUTCOMES.c.arm == 0,
            OUTCOMES.c.value != 0.0,
            OUTCOMES.c.label.is_(None),
        )
        query = query.order_by(OUTCOMES.c.arrived.desc()).limit(limit)
        return [_row(row) for row in self._connection.execute(query)]

    def enter(self, rows: Sequence[DueRow]) -> None:
        """These wait no longer."""
        if not rows:
            return
        self._connection.execute(_ENTER, [{"of_id": row.id, "of_name": row.name} for row in rows])
        told: dict[Place, Counter[int]] = {}
        for row in rows:
            told.setdefault(told_place(row.model, row.stage, row.name), Counter())[row.arm] += 1
        self.keep(
            {
                place: {
                    **state,
                    "entered": state.get("entered", 0) + told[place].total(),
                    "waiting": _waiting(state, told[place], -1),
                }
                for place, state in self.sums(told).items()
            }
        )

    def sums(self, places: Iterable[Place]) -> dict[Place, Json]:
        """What is kept at these places."""
        found = {}
        for place in places:
            state = self._connection.execute(sa.select(OUTCOME_SUMS.c.state).where(_at(place)))
            if (value := state.scalar_one_or_none()) is not None:
                found[place] = value
        return found

    def keep(self, states: Mapping[Place, Json]) -> None:
        """Keep these instead of what is kept at their places."""
        for place, state in states.items():
            update = sa.update(OUTCOME_SUMS).where(_at(place)).values(state=state)
            if self._connection.execute(update).rowcount == 0:
                model, stage, guard = place
                self._connection.execute(
                    sa.insert(OUTCOME_SUMS).values(model=model, stage=stage, guard=guard, state=state)
                )


def is_due(connection: Connection, until: float) -> bool:
    """Whether anything waits that `Entries.due` would give."""
    query = sa.select(OUTCOMES.c.id).where(_WAITS, OUTCOMES.c.matures <= until).limit(1)
    return connection.execute(query).first() is not None


def all_sums(connection: Connection) -> dict[Place, Json]:
    """All that is kept."""
    rows = connection.execute(sa.select(OUTCOME_SUMS))
    return {(row.model, row.stage, row.guard): row.state for row in rows}


def prune(connection: Connection, now: float, limit: int) -> int:
    """Let go of outcomes that nobody can tell again, the oldest first; how many.

    Args:
        connection: in a transaction that writes.
        now: seconds since 1970.
        limit: at most so many, but for those of one moment.
    """
    over = sa.select(OUTCOMES.c.kept_until).where(OUTCOMES.c.kept_until < now)
    over = over.order_by(OUTCOMES.c.kept_until).offset(limit).limit(1)
    last = connection.execute(over).scalar_one_or_none()
    until = OUTCOMES.c.kept_until < now if last is None else OUTCOMES.c.kept_until <= last
    return connection.execute(sa.delete(OUTCOMES).where(until)).rowcount


def forget(connection: Connection, judged_from: Mapping[str, int], limit: int) -> bool:
    """Let go of sums and units of stages that are judged no more, and of rollouts that are no more.

    Args:
        connection: in a transaction that writes.
        judged_from: the first stage that is judged, by public name.
        limit: how many units at most.

    Returns:
        Whether there may be more of them.
    """
    units, sums = OUTCOME_UNITS.c, OUTCOME_SUMS.c
    for model in connection.execute(sa.select(sums.model).distinct()).scalars().all():
        first = judged_from.get(model, _NO_STAGE)
        over = sa.and_(units.model == model, units.stage < first)
        place = units.outcome, units.stage, units.key
        query = sa.select(*place).where(over).order_by(*place).offset(limit).limit(1)
        last = connection.execute(query).one_or_none()
        if last is not None:
            before = sa.tuple_(*place) < sa.tuple_(*map(sa.literal, last))
            connection.execute(sa.delete(OUTCOME_UNITS).where(over, before))
            return True
        connection.execute(sa.delete(OUTCOME_UNITS).where(over))
        connection.execute(sa.delete(OUTCOME_SUMS).where(sums.model == model, sums.stage < first))
    return False


def _of_users(users: Users, keys: Sequence[int]) -> sa.Select[Any]:
    model, name, stage = users
    return sa.select(*_ROW).where(
        OUTCOMES.c.model == model,
        OUTCOMES.c.name == name,
        OUTCOMES.c.stage == stage,
        OUTCOMES.c.key.in_(keys),
        OUTCOMES.c.key != 0,
    )


def _row(row: Any) -> DueRow:
    return DueRow(*row)._replace(id=bytes(row.id))


def _some(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    return (keys[first : first + LOOK_UP] for first in range(0, len(keys), LOOK_UP))


def _at(place: Place) -> sa.ColumnElement[bool]:
    model, stage, guard = place
    return sa.and_(
        OUTCOME_SUMS.c.model == model, OUTCOME_SUMS.c.stage == stage, OUTCOME_SUMS.c.guard == guard
    )
