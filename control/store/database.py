"""The database behind `store`: its tables, how it is opened and migrated, and its faults in words.

SQLite unless told otherwise: write-ahead log, synced at every commit, foreign keys on, and every writing
transaction takes the one write lock when it begins, so that it never finds out late that it must start
over. The same tables and queries run on PostgreSQL, where writers queue at the row of `LEADER`; there a
transaction ends in time (`control.store.postgres`), and one that is cut off in its COMMIT is in doubt.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, RootTransaction, make_url

from control.store.breaker import Breaker
from control.store.turns import Turns
from serving.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

    from control.store.postgres import Patience

_METADATA = sa.MetaData()

REVISIONS = sa.Table(
    "revisions",
    _METADATA,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("document", sa.JSON(none_as_null=True)),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON(none_as_null=True)),
    sa.Column("event", sa.Text),
    sa.Column("digests", sa.JSON(none_as_null=True)),
    sa.Column("lineage", sa.JSON(none_as_null=True)),
    sa.Index("revisions_of_model", "model", "revision"),
)
ROLLOUTS = sa.Table(
    "rollouts",
    _METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("document", sa.JSON(none_as_null=True)),
    sa.Column("revision", sa.BigInteger, sa.ForeignKey("revisions.revision"), nullable=False),
    sa.Column("progress", sa.JSON, nullable=False),
    sa.Column("digests", sa.JSON(none_as_null=True)),
)
LEADER = sa.Table(
    "leader",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("holder", sa.Text),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="1"),
)
CHANNELS = sa.Table(
    "channels",
    _METADATA,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("told", sa.BigInteger, nullable=False),
)

EVIDENCE = sa.Table(
    "evidence",
    _METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),
)
RECEIPT_KEYS = sa.Table(
    "receipt_keys",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("made", sa.Double, nullable=False),
)
APPROVAL_KEYS = sa.Table(
    "approval_keys",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("made", sa.Double, nullable=False),
)
USED_LINKS = sa.Table(
    "used_links",
    _METADATA,
    sa.Column("nonce", sa.Text, primary_key=True),
    sa.Column("until", sa.Double, nullable=False),
)
APPROVAL_REFUSALS = sa.Table(
    "approval_refusals",
    _METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

TURN_SECONDS = 10.0
"""How long a thread waits for other threads of this process that write to SQLite."""
_WRITES = "understudy_writes"
NEWEST = "11"
"""The last of the `migrations`: a database that has it needs none."""
_VERSION = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.Text))
"""Alembic's: the last migration that was made."""
_MIGRATIONS = 0x756E6465  # of advisory locks in the database

_FAULTS = {
    "BUSY": "is locked by another process",
    "LOCKED": "is locked by another process",
    "FULL": "cannot be written: the disk is full",
    "IOERR": "cannot be read or written: the disk reports an error",
    "READONLY": "cannot be written: it is read-only",
    "CANTOPEN": "cannot be opened",
    "PERM": "cannot be opened: permission denied",
    "CORRUPT": "is damaged; moved away, it is written anew",
    "NOTADB": "is damaged; moved away, it is written anew",
}


class StoreError(Unavailable):
    """The state cannot be read or written now; nothing was changed."""


class Lost(StoreError):
    """The database file is gone; `Store.restore` writes it anew."""


class Silent(StoreError):
    """The database did not answer in time."""


class InDoubt(StoreError):
    """The connection was lost in a COMMIT: whether the change was made must be read before it is said."""


class Database:
    """One database, opened anew when its file was written anew by another process.

    A file put in its place by hand must come without the old one's `-wal` beside it, or SQLite mixes them.

    Args:
        url: of SQLAlchemy, e.g. `sqlite:////var/lib/understudy/state.db`.
        busy_seconds: how long a SQLite transaction waits for another writer.
        answer_seconds: how long a transaction with PostgreSQL may take, connecting included.
        migrates: whether its tables are made, and brought up to date; else it is opened as it is.

    Raises:
        StoreError: it cannot be opened or migrated.
    """

    def __init__(
        self, url: str, busy_seconds: float, answer_seconds: float, *, migrates: bool = True
    ) -> None:
        parsed = self._url = _checked(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        self._answer_seconds = answer_seconds
        self._patience: Patience | None = None
        self._breaker = Breaker(time.monotonic)
        self._file = Path(parsed.database or "") if self._sqlite else None
        self._busy_seconds = busy_seconds
        self._migrates = migrates
        self._inode = 0
        self._turns = Turns()
        self.open()

    def open(self) -> None:
        """Open the database, create what is missing, and bring its tables up to date."""
        if self._file is not None:
            self._inode = _create(self._file) if self._migrates else _inode_of(self._file)
        self._engine = self._new_engine()
        if self._migrates:
            with self._faults(), self._in_time(), self._begin(writes=True) as connection:
                _migrate(connection)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @property
    def problem(self) -> str:
        """Why the last transaction failed; empty when it did not."""
        return self._breaker.problem

    @contextmanager
    def begin(self, *, writes: bool) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, undone by an exception.

        Raises:
            Lost: the file is gone.
            Silent: the database does not answer in time, or did not a moment ago.
            InDoubt: of a block that writes: it may have been committed, or may yet be.
            StoreError: the database cannot be used.
        """
        with self._turn(writes=writes):
            self._follow_file()
            with self._outcome(), self._faults(), self._in_time(), self._begin(writes=writes) as connection:
                yield connection

    @contextmanager
    def _turn(self, *, writes: bool) -> Iterator[None]:
        """With SQLite the writers of this process come one after the other; PostgreSQL has a queue."""
        if not (writes and self._sqlite):
            yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(self._turns.turn(TURN_SECONDS))
            except TimeoutError:
                raise StoreError("the state database is busy: others are writing") from None
            yield

    def _follow_file(self) -> None:
        if self._file is None:
            return
        try:
            inode = self._file.stat().st_ino
        except FileNotFoundError:
            raise Lost("the state database is gone") from None
        except OSError as error:
            raise StoreError(f"the state database cannot be reached: {error.strerror}") from None
        if inode != self._inode:  # what our connections write to is no longer the file
            self.close()
            self.open()

    @contextmanager
    def _begin(self, *, writes: bool) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            connection.execution_options(**{_WRITES: writes})
            with connection.begin() as transaction:
                yield connection
                if writes and not self._sqlite:
                    _commit(transaction)

    @contextmanager
    def _outcome(self) -> Iterator[None]:
        """Remember how it went; refuse at once what would wait for a database that hangs."""
        if not self._breaker.allows():
            raise Silent(self._breaker.problem)
        try:
            yield
        except Silent as error:
            self._breaker.hung(str(error))
            raise
        except StoreError as error:
            self._breaker.failed(str(error))
            raise
        except BaseException:
            self._breaker.answered()  # what went wrong is the caller's
            raise
        else:
            self._breaker.answered()

    def _in_time(self) -> AbstractContextManager[None]:
        return nullcontext() if self._patience is None else self._patience.transaction()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            if not self._sqlite and _silent(error.orig):
                raise Silent(
                    f"the state database does not answer within {self._answer_seconds:g} s"
                ) from error
            raise StoreError(f"the state database {_fault(error)}") from error
        except sa.exc.TimeoutError as error:
            raise StoreError("the state database is busy: every connection is in use") from error

    def _new_engine(self) -> Engine:
        options: dict[str, Any] = {"json_serializer": _dumps, "json_deserializer": orjson.loads}
        if not self._sqlite:
            from control.store.postgres import Patience, engine  # noqa: PLC0415  (needs an extra, psycopg)

            self._patience = Patience(self._answer_seconds)
            return engine(self._url, self._patience, **options)
        # Without an isolation level of its own, sqlite3 leaves BEGIN to `_begin_sqlite`.
        arguments = {"timeout": self._busy_seconds, "isolation_level": None}
        made = sa.create_engine(self._url, connect_args=arguments, **options)
        sa.event.listen(made, "connect", _set_up_sqlite)
        sa.event.listen(made, "begin", _begin_sqlite)
        return made


def _checked(url: str) -> URL:
    """The URL, with the one driver that there is.

    Raises:
        StoreError: it is none, or of a database that control cannot use.
    """
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError("UNDERSTUDY_DATABASE: not a URL, as postgresql://user:password@host/name") from None
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        return parsed
    raise StoreError(
        f"UNDERSTUDY_DATABASE: {parsed.drivername} is not known here; sqlite: and postgresql: are"
    )


def _commit(transaction: RootTransaction) -> None:
    """Commit, and tell a refusal by the server from a connection that was lost meanwhile.

    Raises:
        InDoubt: it was lost.
    """
    try:
        transaction.commit()
    except sa.exc.DBAPIError as error:
        # Classes of SQLSTATE: 08 is of the connection, 57P of a server that ends.
        state = getattr(error.orig, "sqlstate", None) or ""
        if not error.connection_invalidated and not state.startswith(("08", "57P")):
            raise  # the server says that it did not
        raise InDoubt(
            "the connection to the state database was lost in the commit: whether the change was made is in"
            " doubt; control reads it again before it says or changes anything"
        ) from error


def _silent(error: BaseException | None) -> bool:
    from control.store.postgres import silent  # noqa: PLC0415  (as above)

    return silent(error)


def _create(file: Path) -> int:
    """Make sure that the file is there and is the owner's alone; return its inode."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            return os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"the state database cannot be opened: {error.strerror}") from None


def _inode_of(file: Path) -> int:
    try:
        return file.stat().st_ino
    except OSError as error:
        raise StoreError(f"the state database {file} cannot be opened: {error.strerror}") from None


def _set_up_sqlite(connection: Any, _: object) -> None:
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options()[_WRITES]
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    """Bring the tables up to date; Alembic, a tenth of a start, is imported only where they are not."""
    if _is_newest(connection):
        return
    if connection.dialect.name == "postgresql":  # controls that start side by side make the tables once
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATIONS)))
        if _is_newest(connection):
            return
    from alembic import command  # noqa: PLC0415  (as said)
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        command.upgrade(_alembic(connection), "head")
    except CommandError as error:
        raise StoreError(
            "the state database was written by a newer version; start that one again, or put back the backup"
            " from before the upgrade, or see whether `understudy database downgrade` of that version takes"
            " it back"
        ) from error


def migrate_back(connection: Connection, number: str) -> None:
    """Undo the migrations after this one; what their tables held is gone."""
    from alembic import command  # noqa: PLC0415  (as said)

    command.downgrade(_alembic(connection), number)


def _alembic(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415  (as said)

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def format_of(connection: Connection) -> str:
    """The last migration that was made; empty where there are no tables yet."""
    if not sa.inspect(connection).has_table(_VERSION.name):
        return ""
    return str(connection.scalar(sa.select(_VERSION)))


def _is_newest(connection: Connection) -> bool:
    return format_of(connection) == NEWEST


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def _fault(error: sa.exc.DBAPIError) -> str:
    name = getattr(error.orig, "sqlite_errorname", "").split("_")
    return _FAULTS.get(name[1] if len(name) > 1 else "", "cannot be reached or used")
