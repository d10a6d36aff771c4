"""Which control leads. One does; the others wait, and write nothing.

On SQLite a lock on a file beside the database says so: the kernel gives it back the moment its holder is
gone. On a database that machines share it is a lease in the database (`Store.lead`), which a successor
takes over once it was not renewed for `LEASE_SECONDS`. Either way each write checks the token.

Law: who could not renew the lease leads no longer once another may, and says so: nodes that report to it
would be in nobody's evidence.
"""

import asyncio
import fcntl
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from control.store.store import Store
from serving.errors import ServingError, Unavailable

log = structlog.get_logger()

LEASE_SECONDS = 2.2
RENEW_SECONDS = 0.25
"""Another leads within 3 s, and a leader may still stand still for nearly two."""
WAIT_SECONDS = 0.1
"""Between two looks at whether another leads yet."""


class NotLeading(Unavailable):
    """Another control leads, or none: asked once more over a new connection, a balancer may find it."""


class Leader:
    """Takes the lead and keeps it.

    Args:
        store: what is led.
        lock: the file to lock; None where the database is shared between machines.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, lock: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._lock = lock
        self._holder = f"{socket.gethostname()}/{os.getpid()}"
        self._descriptor: int | None = None
        self._leads = False
        self._until = 0.0  # of the lease
        self._term = -1  # that of what is in memory

    @property
    def leads(self) -> bool:
        """Whether this control leads, and no other may yet."""
        return self._leads and (self._lock is not None or self._clock() < self._until)

    async def take(self) -> None:
        """Wait until this control leads."""
        told = ""
        while problem := await self._problem():
            if problem != told:
                told = problem
                log.warning("not leading yet", reason=problem)
            await asyncio.sleep(WAIT_SECONDS)
        self._leads, self._term = True, self._store.term

    async def _problem(self) -> str:
        """Try to lead, and say why not; empty on success."""
        try:
            return "" if await self._try() else "another control leads; waiting for its end"
        except ServingError as error:
            return str(error)

    async def keep(self, regained: Callable[[], Awaitable[None]]) -> None:
        """Renew the lead for ever.

        Args:
            regained: called when another may have led meanwhile, or a change is in doubt, before anything
                else may change: what is stored may be something else than what is in memory.
        """
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                self._leads = await self._try() and await self._is_up_to_date(regained)
            except ServingError as error:
                log.warning("the lead could not be renewed", reason=str(error))

    async def _is_up_to_date(self, regained: Callable[[], Awaitable[None]]) -> bool:
        """Take up what is stored where it may be something else than what is in memory."""
        if self._store.in_doubt or self._store.term != self._term:
            self._leads = False  # also when it fails on the way
            await regained()
            self._term = self._store.term
        return True

    async def resign(self) -> None:
        """Let the next control lead at once."""
        leads, self._leads = self.leads, False
        if leads:
            await asyncio.to_thread(self._store.resign)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _try(self) -> bool:
        if self._lock is None:
            asked = self._clock()
            led = await asyncio.to_thread(self._store.lead, self._holder, asked, LEASE_SECONDS)
            self._until = asked + LEASE_SECONDS if led else 0.0
            return led
        if self._descriptor is None:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            return await asyncio.to_thread(self._store.lead, self._holder, self._clock(), 0.0)
        return True
