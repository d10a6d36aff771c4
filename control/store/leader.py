"""Which control leads. One does; the others wait, and write nothing.

On SQLite a lock on a file beside the database says so: the kernel gives it back the moment its holder is
gone. On a database that machines share it is a lease in the database (`Store.lead`), which a successor
takes over once it was not renewed for `LEASE_SECONDS`. Either way each write checks the token. A thread
renews the lease, so that a storm of reports cannot cost the lead; it stops where the event loop stands still.

Law: who could not renew the lease leads no longer once another may, and says so: nodes that report to it
would be in nobody's evidence. Nor does it lead before it has taken up what was stored meanwhile.
"""

import asyncio
import fcntl
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
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
STUCK_SECONDS = 10.0
"""For which the event loop may stand still before another is to lead."""


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
        self._holds = False  # the lock or the lease, by the last try
        self._until = 0.0  # of the lease
        self._term: int | None = None  # that of what is in memory; None where that may not be what is stored
        self._turned = 0.0  # when the event loop last did

    @property
    def leads(self) -> bool:
        """Whether this control leads, and no other may yet."""
        if not self._holds or self._term != self._store.term:
            return False
        return self._lock is not None or self._clock() < self._until

    async def take(self) -> None:
        """Wait until this control leads."""
        told = ""
        while problem := await self._problem():
            if problem != told:
                told = problem
                log.warning("not leading yet", reason=problem)
            await asyncio.sleep(WAIT_SECONDS)
        self._term = self._store.term

    async def _problem(self) -> str:
        """Try to lead, and say why not; empty on success."""
        try:
            led = await asyncio.to_thread(self._try)
        except ServingError as error:
            return str(error)
        return "" if led else "another control leads; waiting for its end"

    async def keep(self, regained: Callable[[], Awaitable[None]]) -> None:
        """Renew the lead for ever.

        Args:
            regained: called when another may have led meanwhile, or a change is in doubt, before anything
                else may change: what is stored may be something else than what is in memory.
        """
        over = threading.Event()
        self._turns()
        own, loop = ThreadPoolExecutor(1, "lease"), asyncio.get_running_loop()
        renewing = loop.run_in_executor(own, self._renew, loop, over)
        try:
            while not renewing.done():
                await asyncio.wait([renewing], timeout=RENEW_SECONDS)
                await self._take_up(regained)
            await renewing  # which raises what it ended by
        finally:
            over.set()
            await asyncio.wait([renewing])  # or it could take the lead again after `resign`
            own.shutdown()

    async def _take_up(self, regained: Callable[[], Awaitable[None]]) -> None:
        """Take up what is stored where it may be something else than what is in memory."""
        term = self._store.term
        if self._holds and term >= 0 and (self._store.in_doubt or self._term != term):
            self._term = None  # also when it fails on the way
            try:
                await regained()
                self._term = term
            except ServingError as error:
                log.warning("what is stored could not be taken up", reason=str(error))

    async def resign(self) -> None:
        """Let the next control lead at once; after the end of `keep`."""
        leads, self._holds = self.leads, False
        if leads:
            await asyncio.to_thread(self._store.resign)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _turns(self) -> None:
        self._turned = self._clock()

    def _renew(self, loop: asyncio.AbstractEventLoop, over: threading.Event) -> None:
        """Renew the lead until it is over, while the event loop turns; in a thread."""
        while not over.wait(RENEW_SECONDS):
            loop.call_soon_threadsafe(self._turns)
            if self._clock() - self._turned > STUCK_SECONDS:
                continue
            try:
                self._try()
            except ServingError as error:
                log.warning("the lead could not be renewed", reason=str(error))

    def _try(self) -> bool:
        """Ask for the lead, or for more of it; blocks."""
        if self._lock is not None and self._holds:  # for as long as this process lives
            return True
        asked = self._clock()
        lease = LEASE_SECONDS if self._lock is None else 0.0
        self._holds = self._locks() and self._store.lead(self._holder, asked, lease)
        self._until = asked + LEASE_SECONDS if self._holds else 0.0
        return self._holds

    def _locks(self) -> bool:
        """Whether the lock is ours, or there is none to hold."""
        if self._lock is None or self._descriptor is not None:
            return True
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True
