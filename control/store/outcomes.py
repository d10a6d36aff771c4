"""Outcomes in the database: what was told, each once; the stages in which it was drawn.

Law: an outcome is told once, by the id of its request and its name, whoever tells it how often. Of several
the one that was taken first counts, whatever order they come in, until it has entered the evidence. The row
of a stage is written in the transaction in which that stage begins, so each receipt finds its weight.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from control.store.outcome_entries import (
    Entries,
    Json,
    Place,
    add_told,
    all_sums,
    forget,
    is_due,
    prune,
    told_place,
)
from control.store.outcome_tables import OUTCOMES, STAGES
from router.counting.split import fresh_weight
from router.rollout.snapshot import Placed

LOOK_UP = 500
"""Ids of one question to the database."""
PRUNED = 5_000
"""Outcomes, or units, that are let go in one transaction."""
_LIVE = ("idle", "progressing", "paused", "promoting", "aa", "comparing")
_PLACE = (OUTCOMES.c.id == sa.bindparam("of_id"), OUTCOMES.c.name == sa.bindparam("of_name"))


class Arm(NamedTuple):
    """A candidate of an A/B/n test in one stage.

    Args:
        target: its key.
        weight: its share of the draws, 0 to 100; 0 of one that was taken off.
    """

    target: str
    weight: float


class Stage(NamedTuple):
    """A stretch of a rollout in which draws were made in one way.

    Args:
        model: the public name.
        stage: its number.
        began: when, in seconds since 1970, by control's clock; routers follow within seconds.
        weight: the canary's share of the draws, 0 to 100.
        used: the greatest one that this draw of users had before, 0 to 100.
        draw: which draw of users it is.
        candidate: key of the canary's target; None without one.
        sticky: the header whose value is the user; None where each request is drawn.
        arms: all candidates of an A/B/n test by their number, which begins at 1; there is no canary then.
    """

    model: str
    stage: int
    began: float
    weight: float = 0.0
    used: float = 0.0
    draw: int = 0
    candidate: str | None = None
    sticky: str | None = None
    arms: tuple[Arm, ...] = ()

    @property
    def weights(self) -> tuple[float, ...]:
        """What each side of an A/B/n test had of the draws, stable first; fractions."""
        candidates = [arm.weight / 100.0 for arm in self.arms]
        return (1.0 - sum(candidates), *candidates)

    def share(self, candidate: int) -> float:
        """What a candidate had of the draws to it or stable, among those who are drawn anew; a fraction.

        Args:
            candidate: its number in an A/B/n test; 0 for the canary.
        """
        if candidate == 0:
            return self.fresh
        if candidate > len(self.arms):
            return 0.0
        stable, mine = self.weights[0], self.weights[candidate]
        return mine / (mine + stable)

    @property
    def fresh(self) -> float:
        """The canary's share of those who are drawn anew, a fraction."""
        return fresh_weight(self.weight, self.used) / 100.0


class Row(NamedTuple):
    """An outcome that was taken.

    Args:
        id: of its request, 16 bytes.
        name: of the outcome.
        model: the public name.
        stage: in which the request was drawn.
        arm: whom the draw chose: 0 stable, 1 the canary, of an A/B/n test the candidate's number.
        anew: whether that draw is of this stage.
        arrived: when the request did, seconds since 1970.
        key: hash of its user as a signed number; 0 for none.
        value: that it happened (1), did not (0), or the amount; 0 of a label.
        label: the truth as JSON; None of anything else.
        at: when it was taken, seconds since 1970.
        matures: when it is to be looked at.
        kept_until: from when on nobody can tell it again.
    """

    id: bytes
    name: str
    model: str
    stage: int
    arm: int
    anew: bool
    arrived: float
    key: int
    value: float
    label: str | None
    at: float
    matures: float
    kept_until: float


def signed(key: int) -> int:
    """A hash of 64 bits as databases keep it."""
    return key - 2**64 if key >= 2**63 else key


class OutcomeStore:
    """The part of the store that knows outcomes. Its methods block, and raise what those of `Store` do.

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
        self.writing = write
        """A transaction of one's own, of a control that leads."""

    def stages(self, model: str) -> tuple[Stage, ...]:
        """The stages of one name that are known, in order; also of one that was deleted."""
        with self._read() as connection:
            return stages_of(connection, model)

    def take(self, rows: Sequence[Row]) -> list[bool]:
        """Take outcomes, all or none of them; whether each is a new one.

        Raises:
            Fenced: another control leads.
            InDoubt: they may have been taken; telling them again does no harm.
        """
        with self.writing() as connection:
            return _take(connection, rows)

    def is_due(self, until: float) -> bool:
        """Whether anything but labels waits that is mature by then, in seconds since 1970."""
        with self._read() as connection:
            return is_due(connection, until)

    @contextmanager
    def entries(self) -> Iterator[Entries]:
        """A transaction in which outcomes enter, for the control that leads: all is done, or nothing."""
        with self.writing() as connection:
            yield Entries(connection)

    def sums(self) -> dict[Place, Json]:
        """What outcomes have come to, of all rollouts."""
        with self._read() as connection:
            return all_sums(connection)

    def forget(self, judged_from: Mapping[str, int]) -> bool:
        """Let go of sums and units of stages before these, and of other rollouts; whether more is left."""
        with self.writing() as connection:
            return forget(connection, judged_from, PRUNED)

    def prune(self, now: float) -> bool:
        """Let go of the oldest outcomes that nobody can tell again; whether there may be more of them."""
        with self.writing() as connection:
            return prune(connection, now, PRUNED) >= PRUNED

    def any(self) -> bool:
        """Whether any outcomes are kept."""
        with self._read() as connection:
            return connection.execute(sa.select(OUTCOMES.c.id).limit(1)).first() is not None


def stages_of(connection: Connection, model: str) -> tuple[Stage, ...]:
    """As `OutcomeStore.stages`, in a transaction."""
    query = sa.select(STAGES).where(STAGES.c.model == model).order_by(STAGES.c.stage)
    return tuple(_read(row) for row in connection.execute(query))


def begin_stage(
    connection: Connection, model: str, document: Mapping[str, Any], progress: Mapping[str, Any], at: float
) -> None:
    """Write the row of the stage that a progress is in, where it is a new one."""
    stage = _stage_of(model, document, progress, at)
    same = sa.and_(STAGES.c.model == model, STAGES.c.stage == stage.stage)
    if connection.execute(sa.select(STAGES.c.stage).where(same)).one_or_none() is None:
        arms = [list(arm) for arm in stage.arms]
        connection.execute(sa.insert(STAGES).values({**stage._asdict(), "arms": arms or None}))


def _read(row: Any) -> Stage:
    stage = Stage(*row)
    return stage._replace(arms=tuple(Arm(*arm) for arm in stage.arms or ()))


def _stage_of(model: str, document: Mapping[str, Any], progress: Mapping[str, Any], at: float) -> Stage:
    if arms := _arms(document, progress):
        return Stage(model, progress["stage"], at, arms=arms)
    live = progress.get("candidate") is not None and progress.get("phase") in _LIVE
    return Stage(
        model,
        progress["stage"],
        at,
        _weight(progress) if live else 0.0,
        progress.get("used", 0.0),
        progress.get("draw", 0),
        progress["candidate"] if live else None,
        (document.get("sticky") or {}).get("header"),
    )


def _weight(progress: Mapping[str, Any]) -> float:
    """The canary's share of the draws: of those on its nodes, where it stands on some, and nowhere else."""
    share: float = progress.get("weight", 0.0)
    stands = (each for each in progress.get("standing", ()) if each["target"] == progress["candidate"])
    return next((Placed(tuple(each["nodes"]), each["of"]).drawn(share) for each in stands), share)


def _arms(document: Mapping[str, Any], progress: Mapping[str, Any]) -> tuple[Arm, ...]:
    """Those of an A/B/n test that is under way: the shares of the document, without those taken off."""
    arms = progress.get("arms") or ()
    if not arms or progress.get("phase") not in _LIVE:
        return ()
    shares = [float(candidate["weight"]) for candidate in document["candidates"]]
    return tuple(
        Arm(arm["target"], 0.0 if arm.get("off_reason") else share)
        for arm, share in zip(arms, shares, strict=True)
    )


def _take(connection: Connection, rows: Sequence[Row]) -> list[bool]:
    known = _known(connection, {row.id for row in rows})
    new: dict[tuple[bytes, str], Row] = {}
    earlier: dict[tuple[bytes, str], Row] = {}
    fresh = []
    for row in rows:
        place = row.id, row.name
        at, entered = known.get(place, (None, False))
        fresh.append(at is None)
        if at is None or (row.at < at and not entered):
            (new if at is None or place in new else earlier)[place] = row
            known[place] = row.at, False
    if new:
        connection.execute(
            sa.insert(OUTCOMES),
            [{**row._asdict(), "anew": int(row.anew), "entered": 0} for row in new.values()],
        )
        told: dict[Place, list[tuple[int, float]]] = {}
        for row in new.values():
            told.setdefault(told_place(row.model, row.stage, row.name), []).append((row.arm, row.matures))
        add_told(connection, told)
    if earlier:
        connection.execute(_REPLACE, [_replacing(row) for row in earlier.values()])
    return fresh


_REPLACE = (
    sa.update(OUTCOMES)
    .where(*_PLACE)
    .values({name: sa.bindparam(f"new_{name}") for name in ("value", "label", "at", "matures")})
)


def _replacing(row: Row) -> dict[str, Any]:
    new = {f"new_{name}": getattr(row, name) for name in ("value", "label", "at", "matures")}
    return {"of_id": row.id, "of_name": row.name, **new}


def _known(
    connection: Connection, ids: Iterable[bytes]
) -> dict[tuple[bytes, str], tuple[float | None, bool]]:
    """When what is kept of these requests was taken, and whether it has entered, by id and name."""
    columns = OUTCOMES.c.id, OUTCOMES.c.name, OUTCOMES.c.at, OUTCOMES.c.entered
    wanted = sorted(ids)
    return {
        (bytes(row.id), row.name): (row.at, row.entered != 0)
        for first in range(0, len(wanted), LOOK_UP)
        for row in connection.execute(
            sa.select(*columns).where(OUTCOMES.c.id.in_(wanted[first : first + LOOK_UP]))
        )
    }
