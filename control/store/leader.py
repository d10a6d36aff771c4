"""Which control leads. One does; the others wait, and write nothing.

On SQLite a lock on a file beside the database says so: the kernel gives it back the moment its holder is
gone. On a database that machines share it is a lease in the database (`Store.lead`), which a successor
takes over once it was not renewed for `LEASE_SECONDS`. Either way each write checks the token.
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
from serving.errors import ServingError

log = structlog.get_logger()

LEASE_SECONDS = 3.0
RENEW_SECONDS = 1.0


class Leader:
    """Takes the lead and keeps it.

    Args:
        store: what is led.
        lock: the file to lock; None where the database is shared between machines.
    """

    def __init__(self, store: Store, lock: Path | None) -> None:
        self._store = store
        self._lock = lock
        self._holder = f"{socket.gethostname()}/{os.getpid()}"
        self._descriptor: int | None = None
        self.leads = False

    async def take(self) -> None:
        """Wait until this control leads."""
        told = ""
        while problem := await self._problem():
            if problem != told:
                told = problem
                log.warning("not leading yet", reason=problem)
            await asyncio.sleep(0.2)
        self.leads = True

    async def _problem(self) -> str:
        """Try to lead, and say why not; empty on success."""
        try:
            return "" if await self._try() else "another control leads; waiting for its end"
        except ServingError as error:
            return str(error)

    async def keep(self, regained: Callable[[], Awaitable[None]]) -> None:
        """Renew the lead for ever.

        Args:
            regained: called when the lead was lost and is ours again, or a change is in doubt, before
                anything else may change: what is stored may be something else than what is in memory.
        """
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                leads = await self._try()
                if leads and (self._store.in_doubt or not self.leads):
                    self.leads = False  # also when it fails on the way
                    await regained()
                self.leads = leads
            except ServingError as error:
                log.warning("the lead could not be renewed", reason=str(error))

    async def resign(self) -> None:
        """Let the next control lead at once."""
        if self.leads:
            self.leads = False
            await asyncio.to_thread(self._store.resign)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _try(self) -> bool:
        if self._lock is None:
            return await asyncio.to_thread(self._store.lead, self._holder, time.monotonic(), LEASE_SECONDS)
        if self._descriptor is None:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            return await asyncio.to_thread(self._store.lead, self._holder, time.monotonic(), 0.0)
        return True
