"""PostgreSQL behind `control.store.database`: no call waits longer than it may, whatever the server does.

Law: a transaction ends within its seconds, connecting included. The server is told to end in time what is
slow or waits for a lock, so that the outcome is certain; a server that says nothing at all, stopped or cut
off, is left by closing the connection. Where that happens in a COMMIT, the caller cannot know its outcome.
"""

import math
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

T = TypeVar("T")

CERTAIN_SHARE = 0.8
"""The server's limits, as a part of ours: what is merely slow it ends itself, before we must cut it off."""


class Silent(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class Patience:
    """How long each thread's calls to the server may still take.

    Args:
        seconds: of a transaction, connecting included.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._of_thread = threading.local()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """The calls of this thread within the block share its seconds."""
        self._of_thread.deadline = time.monotonic() + self.seconds
        try:
            yield
        finally:
            del self._of_thread.deadline

    def deadline(self) -> float:
        """When the call that begins now must have ended, in monotonic seconds."""
        until: float = getattr(self._of_thread, "deadline", time.monotonic() + self.seconds)
        return until


class _Connection(psycopg.Connection[Any]):
    """One that closes itself when the server does not answer in time."""

    patience: Patience | None = None  # none while it is being opened, which has a limit of its own

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """As psycopg, which would wait for ever; every exchange with the server goes through here."""
        if self.patience is None:
            return super().wait(gen, *arguments, **options)
        try:
            return super().wait(_until(self.patience.deadline(), gen), *arguments, **options)
        except Silent:
            self.close()
            raise


def _until(deadline: float, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """The exchange, given up at the deadline; psycopg comes by ten times a second when nothing arrives."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise Silent("no answer in time")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def engine(url: URL, patience: Patience, **options: Any) -> Engine:
    """An engine whose connections have their limits.

    Args:
        url: of the database.
        patience: the limits.
        options: further ones of SQLAlchemy.
    """
    on_server = math.ceil(patience.seconds * CERTAIN_SHARE * 1000)
    limits = " ".join(
        f"-c {name}={on_server}"
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    )
    given = url.query.get("options", "")
    arguments: dict[str, Any] = {
        # A later one wins, so what the URL says is in force.
        "options": " ".join([limits, *([given] if isinstance(given, str) else given)]).strip(),
        "tcp_user_timeout": math.ceil(patience.seconds * 1000),
        "keepalives_idle": 5,
        "keepalives_interval": 1,
        "keepalives_count": max(1, math.ceil(patience.seconds)),
    }
    for name in arguments.keys() & url.query.keys() - {"options"}:
        del arguments[name]
    made = sa.create_engine(
        url, connect_args=arguments, pool_pre_ping=True, pool_timeout=patience.seconds, **options
    )

    @sa.event.listens_for(made, "do_connect")
    def connect(_: object, __: object, positional: list[Any], named: dict[str, Any]) -> _Connection:
        left = patience.deadline() - time.monotonic()
        if left <= 0:
            raise Silent("no time is left to connect")
        connection = _Connection.connect(*positional, **{**named, "connect_timeout": math.ceil(left)})
        connection.patience = patience
        return connection

    return made


def silent(error: BaseException | None) -> bool:
    """Whether the server did not answer in time, by its own account or by ours."""
    late = (
        Silent, psycopg.errors.ConnectionTimeout, psycopg.errors.QueryCanceled,
        psycopg.errors.LockNotAvailable, psycopg.errors.IdleInTransactionSessionTimeout,
    )  # fmt: skip
    return isinstance(error, late)
