"""What control remembers: documents, progress, and who changed what.

Law: a change is one transaction with its audit row, or it did not happen. It names the revision that it
is based on, and a stale one is refused, so no update is lost. Revisions are given to all models together,
without gaps, and never twice. Of several controls at most one leads; a store that asked to lead and does
not (any more) cannot write. A change whose COMMIT was cut off is in doubt: the store says so until what
became of it was read, which waits for it, since writers queue and the leader's lease is a write.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from control.store import older
from control.store.approvals import ApprovalStore, Link, use_up
from control.store.database import (
    CHANNELS,
    EVIDENCE,
    LEADER,
    RECEIPT_KEYS,
    REVISIONS,
    ROLLOUTS,
    Database,
    InDoubt,
    StoreError,
    format_of,
    migrate_back,
)
from control.store.given import REMEMBERED, Given
from control.store.label_pairs import PairStore
from control.store.outcomes import OutcomeStore, begin_stage
from router.counting.receipt import ReceiptKey
from serving.errors import NotFound, ServingError, Unavailable

Json = Mapping[str, Any]
RESTORED = "restore"
"""The kind of a row that was written anew from memory."""


class Stale(ServingError):
    """The change is based on a revision that is no longer the model's."""

    kind = "stale"


class Fenced(Unavailable):
    """Another control leads; this one must not write."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One public model name in force: its document and progress as JSON values, and its revision.

    `digests` has the SHA-256 of the accepted bytes by `name/version`; None before they were pinned. `kind` is
    that of the change that the revision is.
    """

    document: Json
    revision: int
    progress: Json
    digests: Mapping[str, str] | None = None
    kind: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class State:
    """Everything in force; `revision` is the last one given, deletions included."""

    revision: int
    rollouts: Mapping[str, Stored]


@dataclass(frozen=True, slots=True)
class Change:
    """One change to one rollout.

    Args:
        model: the public name.
        expected: the revision that it is based on; 0 when there is to be no such rollout yet.
        document: the whole new document; None deletes.
        progress: where the rollout is with it; of a deleted one, where it was.
        actor: name of the token, file or part that made the change.
        kind: which door it came through: file, api, autopilot, ...
        reason: for a person.
        evidence: JSON value; what an automatic decision was based on.
        event: what happened to the rollout, in the words of `control.rollouts.events`; None for nobody to be
            told.
        digests: SHA-256 of the accepted bytes of local models, by `name/version`.
        lineage: by `name/version`, what is claimed of where a model comes from that this change accepts.
        link: by which it came, and which is used up by it.
    """

    model: str
    expected: int
    document: Json | None
    progress: Json
    actor: str
    kind: str
    reason: str
    evidence: Any = None
    event: str | None = None
    digests: Mapping[str, str] | None = None
    lineage: Mapping[str, Mapping[str, str]] | None = None
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One row of the audit log; `at` is in seconds since 1970, the other fields are those of `Change`."""

    revision: int
    model: str
    document: Json | None
    at: float
    actor: str
    kind: str
    reason: str
    evidence: Any
    event: str | None = None
    digests: Mapping[str, str] | None = None
    lineage: Mapping[str, Mapping[str, str]] | None = None


class Store:
    """The one door to the database. Its methods block, and may be called from several threads.

    Args:
        url: of SQLAlchemy; see `control.store.database`.
        clock: wall clock for audit rows, in seconds since 1970.
        busy_seconds: how long a SQLite transaction waits for another writer.
        answer_seconds: how long a transaction with PostgreSQL may take, connecting included.
        migrates: as of `Database`.

    Raises:
        StoreError: now or in any method: the database is gone (`Lost`), locked, full, damaged or
            unreachable. Nothing was changed.
        InDoubt: from a method that writes: whether it was changed is not known. After `change` and `tick`,
            `in_doubt` stays set until `settle`.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        busy_seconds: float = 2.0,
        answer_seconds: float = 5.0,
        *,
        migrates: bool = True,
    ) -> None:
        self._database = Database(url, busy_seconds, answer_seconds, migrates=migrates)
        self._clock = clock
        self.in_doubt = False
        """A rollout may have been changed without an answer; nothing in memory is known to be in force."""
        self._token: int | None = None  # of our lease; -1 without one; None until we ask for one
        self._rival = (-1, -1)  # token and beat of the other leader when last looked at
        self._rival_since = 0.0
        self.given = Given()
        """The revisions that were given, as of what was loaded last and changed since."""
        self.outcomes = OutcomeStore(lambda: self._database.begin(writes=False), self._write)
        self.approvals = ApprovalStore(lambda: self._database.begin(writes=False), self._write)
        self.pairs = PairStore(lambda: self._database.begin(writes=False), self._write)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    @property
    def problem(self) -> str:
        """Why the database could not be used when it was last asked; empty when it could."""
        return self._database.problem

    # ------------------------------------------------------------------ reading
    def check(self) -> None:
        """Ask the database for nothing, to see that it answers."""
        with self._database.begin(writes=False) as connection:
            connection.execute(sa.select(LEADER.c.revision))

    @property
    def format(self) -> str:
        """The last migration that was made; empty where there are no tables yet."""
        with self._database.begin(writes=False) as connection:
            return format_of(connection)

    def load(self) -> State:
        """Everything in force. Settles no doubt: `settle` does."""
        # One statement, so that the revision and the rollouts are of one moment on every database.
        both = LEADER.outerjoin(ROLLOUTS, ROLLOUTS.c.document.is_not(None)).outerjoin(
            REVISIONS, REVISIONS.c.revision == ROLLOUTS.c.revision
        )
        last = LEADER.c.revision.label("last")
        query = sa.select(last, LEADER.c.epoch, ROLLOUTS, REVISIONS.c.kind).select_from(both)
        with self._database.begin(writes=False) as connection:
            rows = connection.execute(query).all()
            self.given = _given(connection, rows[0].epoch, rows[0].last)
        found = {
            row.model: Stored(row.document, row.revision, row.progress, row.digests, row.kind)
            for row in rows
            if row.model
        }
        return State(rows[0].last, found)

    def settle(self) -> State:
        """Everything in force, once no change is in doubt any more.

        A change in doubt holds the leader's row until its transaction has ended one way or the other, so who
        gets that row knows that it has.

        Raises:
            Silent: it has not ended yet, or the database does not answer.
        """
        with self._database.begin(writes=True) as connection:
            _token(connection)
        state = self.load()
        self.in_doubt = False
        return state

    def next_stage(self, model: str) -> int:
        """A stage number that this name never had: 1, or one more than its last before it was deleted."""
        query = sa.select(ROLLOUTS.c.progress).where(ROLLOUTS.c.model == model)
        with self._database.begin(writes=False) as connection:
            progress = connection.execute(query).scalar_one_or_none()
        return 1 if progress is None else int(progress["stage"]) + 1

    def history(self, model: str, limit: int = 100, before: int | None = None) -> tuple[Revision, ...]:
        """Revisions of one model, the latest first; only those older than revision `before`."""
        query = sa.select(REVISIONS).where(REVISIONS.c.model == model)
        if before is not None:
            query = query.where(REVISIONS.c.revision < before)
        query = query.order_by(REVISIONS.c.revision.desc()).limit(limit)
        with self._database.begin(writes=False) as connection:
            return tuple(Revision(*row) for row in connection.execute(query))

    def revision(self, model: str, number: int) -> Revision:
        """One revision of one model.

        Raises:
            NotFound: the model has no such revision.
        """
        query = sa.select(REVISIONS).where(REVISIONS.c.model == model, REVISIONS.c.revision == number)
        with self._database.begin(writes=False) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"{model!r} has no revision {number}")
        return Revision(*row)

    # ------------------------------------------------------------------ writing
    def change(self, *changes: Change) -> tuple[int, ...]:
        """Make all of these changes or none, each with its audit row; return their revisions.

        Raises:
            Stale: one is not based on its rollout's revision.
            Used: the link of one was used before.
            Fenced: another control leads.
            InDoubt: all or none of them were made, or will be; see `in_doubt`.
        """
        with self._doubting(), self._write() as connection:
            last = connection.execute(sa.select(LEADER.c.revision)).scalar_one()
            revisions = tuple(range(last + 1, last + 1 + len(changes)))
            connection.execute(sa.update(LEADER).values(revision=last + len(changes)))
            made = [(revision, self._clock()) for revision in revisions]
            for (revision, at), change in zip(made, changes, strict=True):
                _apply(connection, revision, at, change)
        for revision, at in made:
            self.given.add(revision, at)
        return revisions

    def tick(self, model: str, expected: int, progress: Json) -> None:
        """Save progress in which only timers moved, without an audit row.

        Raises:
            Stale: the rollout was changed meanwhile.
            Fenced: another control leads.
            InDoubt: as `change`.
        """
        same = sa.and_(ROLLOUTS.c.model == model, ROLLOUTS.c.revision == expected)
        query = sa.update(ROLLOUTS).where(same).values(progress=progress)
        with self._doubting(), self._write() as connection:
            if connection.execute(query).rowcount != 1:
                raise Stale(f"{model!r} is no longer at revision {expected}")

    def restore(self, state: State) -> None:
        """Write what is in memory into a new database, after the file was lost.

        Each rollout keeps its revision, with one audit row that says so; what else was in the audit log
        stays lost. This store keeps its lease.

        Raises:
            StoreError: the database holds rollouts; nothing is written.
        """
        self._database.close()
        self._database.open()
        with self._database.begin(writes=True) as connection:
            row = connection.execute(sa.select(LEADER).with_for_update()).one()
            if row.revision or row.token:
                raise StoreError("the state database is in use already; nothing was restored")
            for model, stored in state.rollouts.items():
                reason = "the state database was lost"
                change = Change(
                    model, 0, stored.document, stored.progress, "control", RESTORED, reason,
                    digests=stored.digests,
                )  # fmt: skip
                _insert(connection, stored.revision, self._clock(), change)
            token = max(self._token or 0, 0)
            values = {"revision": state.revision, "token": token, "epoch": self.given.epoch or row.epoch}
            connection.execute(sa.update(LEADER).values(values))

    def take_back(self, to: older.Older) -> tuple[str, ...]:
        """Make the database one that an older release reads; all of it or nothing.

        Returns:
            What that release will leave out, in words.

        Raises:
            CannotGoBack: of a rollout under way it would leave out what decides.
            Fenced: another control leads.
        """
        with self._write() as connection:
            query = sa.select(ROLLOUTS.c.model, ROLLOUTS.c.document, ROLLOUTS.c.progress)
            query = query.where(ROLLOUTS.c.document.is_not(None))
            rows = [(row.model, row.document, row.progress) for row in connection.execute(query)]
            if refused := [reason for row in rows for reason in older.refusals(*row, to)]:
                raise older.all_of(refused, to)
            for model, _, progress in rows:
                values = {"progress": older.rewritten(progress, to)}
                connection.execute(sa.update(ROLLOUTS).where(ROLLOUTS.c.model == model).values(values))
            migrate_back(connection, to.format)
        return tuple(words for row in rows for words in older.left_out(*row, to))

    # ------------------------------------------------------------------ evidence
    def evidence(self) -> dict[str, Json]:
        """What `keep_evidence` kept last, by model."""
        with self._database.begin(writes=False) as connection:
            return {row.model: row.state for row in connection.execute(sa.select(EVIDENCE))}

    def keep_evidence(self, model: str, state: Json) -> None:
        """Keep what the evidence on a rollout has come to, instead of what was kept before.

        Raises:
            Fenced: another control leads.
        """
        with self._write() as connection:
            same = EVIDENCE.c.model == model
            if connection.execute(sa.update(EVIDENCE).where(same).values(state=state)).rowcount == 0:
                connection.execute(sa.insert(EVIDENCE).values(model=model, state=state))

    # ------------------------------------------------------------------ receipts
    def receipt_keys(self) -> tuple[ReceiptKey, ...]:
        """The keys whose receipts are taken, the oldest first."""
        query = sa.select(RECEIPT_KEYS).order_by(RECEIPT_KEYS.c.made)
        with self._database.begin(writes=False) as connection:
            return tuple(ReceiptKey(row.id, row.secret, row.made) for row in connection.execute(query))

    def keep_receipt_keys(self, keys: Iterable[ReceiptKey]) -> None:
        """Keep these keys and no others.

        Raises:
            Fenced: another control leads.
        """
        rows = [{"id": key.id, "secret": key.secret, "made": key.made} for key in keys]
        with self._write() as connection:
            connection.execute(sa.delete(RECEIPT_KEYS))
            if rows:  # no parameters are a row of defaults
                connection.execute(sa.insert(RECEIPT_KEYS), rows)

    def models(self) -> tuple[str, ...]:
        """Every public name that there was, deleted ones too."""
        with self._database.begin(writes=False) as connection:
            return tuple(connection.execute(sa.select(ROLLOUTS.c.model)).scalars())

    # ------------------------------------------------------------------ telling others
    def untold(self, channel: str, limit: int) -> tuple[Revision, ...] | None:
        """The revisions that a channel of notifications was not told of yet, the oldest first.

        None when it does not know the channel: `told` was never called, or the database was lost since.
        """
        known = sa.select(CHANNELS.c.told).where(CHANNELS.c.channel == channel)
        with self._database.begin(writes=False) as connection:
            told = connection.execute(known).scalar_one_or_none()
            if told is None:
                return None
            query = sa.select(REVISIONS).where(REVISIONS.c.revision > told)
            rows = connection.execute(query.order_by(REVISIONS.c.revision).limit(limit)).all()
        return tuple(Revision(*row) for row in rows)

    def told(self, channel: str, revision: int | None = None) -> int:
        """A channel was told of all up to this revision; with None, one that is new needs no telling.

        Returns:
            Up to which revision it is told now.

        Raises:
            Fenced: another control leads.
        """
        same = CHANNELS.c.channel == channel
        with self._write() as connection:
            known = connection.execute(sa.select(CHANNELS.c.told).where(same)).scalar_one_or_none()
            if revision is None:
                last = int(connection.execute(sa.select(LEADER.c.revision)).scalar_one())
                revision = last if known is None else int(known)
            if known is None:
                connection.execute(sa.insert(CHANNELS).values(channel=channel, told=revision))
            elif known != revision:
                connection.execute(sa.update(CHANNELS).where(same).values(told=revision))
        return revision

    # ------------------------------------------------------------------ leading
    def lead(self, holder: str, now: float, lease_seconds: float) -> bool:
        """Take the lead or keep it; to be called several times in `lease_seconds`.

        No two clocks are compared: who leads moves a counter, and who wants to lead takes over once it has
        seen the counter rest for `lease_seconds` by its own clock. Taking over counts the token up, and
        every write checks the token in its own transaction: a former leader that wakes up late is fenced.

        Args:
            holder: name of this control, for people.
            now: seconds on a monotonic clock.
            lease_seconds: how long a leader may be silent.

        Returns:
            Whether this store leads now. One that does not cannot write any more.
        """
        if self._token in (None, -1) and not self._may_lead(now, lease_seconds):
            return False
        with self._database.begin(writes=True) as connection:
            row = connection.execute(sa.select(LEADER).with_for_update()).one()
            if row.token == self._token:
                token = row.token
            elif self._rests(row, now, lease_seconds):
                token = row.token + 1
            else:
                self._token = -1
                return False
            values = {"holder": holder, "token": token, "beat": row.beat + 1}
            connection.execute(sa.update(LEADER).values(values))
        self._token = token
        return True

    def _may_lead(self, now: float, lease_seconds: float) -> bool:
        """Whether the lead is free as it seems; without a lock, as who waits asks often."""
        with self._database.begin(writes=False) as connection:
            row = connection.execute(sa.select(LEADER)).one()
        if self._rests(row, now, lease_seconds):
            return True
        self._token = -1
        return False

    def _rests(self, row: sa.Row[Any], now: float, lease_seconds: float) -> bool:
        """Whether whoever leads by this row has been silent for so long that another may."""
        if (row.token, row.beat) != self._rival:
            self._rival, self._rival_since = (row.token, row.beat), now
        return row.holder is None or now - self._rival_since >= lease_seconds

    @property
    def term(self) -> int:
        """Of our lead: each takeover has another; -1 without one."""
        return -1 if self._token is None else self._token

    def new_epoch(self, begun: Callable[[str, Json | None, Json], Json]) -> int:
        """Let what is stored rule whatever nodes hold; return the epoch that begins.

        Args:
            begun: what the progress of a rollout becomes by it: of the public name, the document and the
                progress until now; a deleted one has no document.

        Raises:
            Fenced: another control leads.
            InDoubt: as `change`.
        """
        with self._doubting(), self._write() as connection:
            leader = connection.execute(sa.select(LEADER)).one()
            epoch = max(int(leader.epoch) + 1, int(self._clock() * 1000))
            rows = connection.execute(sa.select(ROLLOUTS).order_by(ROLLOUTS.c.model)).all()
            revision = leader.revision
            for row in rows:
                progress = begun(row.model, row.document, row.progress)
                if row.document is None:
                    same = ROLLOUTS.c.model == row.model
                    connection.execute(sa.update(ROLLOUTS).where(same).values(progress=progress))
                    continue
                revision += 1
                _apply(connection, revision, self._clock(), _begins(row, progress))
            connection.execute(sa.update(LEADER).values(epoch=epoch, revision=revision))
        return epoch

    def resign(self) -> None:
        """Give up the lead, so that the next control need not wait for it."""
        with self._database.begin(writes=True) as connection:
            connection.execute(sa.update(LEADER).where(LEADER.c.token == self._token).values(holder=None))
        self._token = -1

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        try:
            yield
        except InDoubt:
            self.in_doubt = True
            raise

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._database.begin(writes=True) as connection:
            if self._token not in (None, _token(connection)):
                raise Fenced("another control leads")
            yield connection


def _given(connection: Connection, epoch: int, last: int) -> Given:
    """The latest revisions; rows that were written anew do not say when theirs were accepted."""
    query = sa.select(REVISIONS.c.revision, REVISIONS.c.at).where(REVISIONS.c.kind != RESTORED)
    rows = connection.execute(query.order_by(REVISIONS.c.revision.desc()).limit(REMEMBERED))
    return Given(epoch, last, ((row.revision, row.at) for row in rows))


def _begins(row: Any, progress: Json) -> Change:
    """That a rollout goes on in a new epoch."""
    reason = "a new epoch begins (--new-epoch): nodes take what is stored, and evidence begins again"
    return Change(
        row.model, row.revision, row.document, progress, "control", "control", reason,
        event="edited", digests=row.digests,
    )  # fmt: skip


def _token(connection: Connection) -> int:
    """The leader's token; the row stays locked, so that writers come one after the other."""
    return int(connection.execute(sa.select(LEADER.c.token).with_for_update()).scalar_one())


def _apply(connection: Connection, revision: int, at: float, change: Change) -> None:
    model = change.model
    query = sa.select(ROLLOUTS.c.revision, ROLLOUTS.c.document).where(ROLLOUTS.c.model == model)
    row = connection.execute(query).one_or_none()
    newest = 0 if row is None or (row.document is None and change.expected == 0) else row.revision
    if change.expected != newest:
        raise Stale(f"{model!r} is at revision {newest}, the change is based on {change.expected}")
    if change.link is not None:
        use_up(connection, change.link, at)
    if row is None:
        _insert(connection, revision, at, change)
        return
    _record(connection, revision, at, change)
    connection.execute(
        sa.update(ROLLOUTS).where(ROLLOUTS.c.model == model).values(_current(revision, change))
    )
    _begin_stage(connection, at, change)


def _insert(connection: Connection, revision: int, at: float, change: Change) -> None:
    _record(connection, revision, at, change)
    connection.execute(sa.insert(ROLLOUTS).values(model=change.model, **_current(revision, change)))
    _begin_stage(connection, at, change)


def _begin_stage(connection: Connection, at: float, change: Change) -> None:
    if change.document is not None:
        begin_stage(connection, change.model, change.document, change.progress, at)


def _current(revision: int, change: Change) -> dict[str, Any]:
    return {
        "document": change.document,
        "revision": revision,
        "progress": change.progress,
        "digests": change.digests,
    }


def _record(connection: Connection, revision: int, at: float, change: Change) -> None:
    connection.execute(
        sa.insert(REVISIONS).values(
            revision=revision,
            model=change.model,
            document=change.document,
            at=at,
            actor=change.actor,
            kind=change.kind,
            reason=change.reason,
            evidence=change.evidence,
            event=change.event,
            digests=change.digests,
            lineage=change.lineage,
        )
    )
