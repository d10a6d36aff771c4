"""Tells MLflow what became of its versions, from the audit log.

Law: of every revision that has deeds they are done at least once, in order: how far that was done is kept in
the state database, so a restart or another leader goes on there. A server that is away, or refuses the
credentials, is asked again, ever more rarely, for as long as it takes; one that forbids it to this account,
for `FORBIDDEN_SECONDS`, as what is of other models waits behind it. What it refuses for good, such as a tag
of a version that was deleted, is dropped, logged and counted. Only the leader tells.
"""

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from control.follow.deeds import Deeds, deeds
from control.metrics import FOLLOW_WRITTEN
from control.store.leader import Leader
from control.store.store import Revision, Store
from serving.errors import Forbidden, ServingError
from serving.sources.mlflow.api import Registry
from serving.sources.remote import Away
from serving.telemetry.cells import Metrics

log = structlog.get_logger()

CURSOR = "mlflow:told"
"""No channel of notifications has a colon in its name."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
FORBIDDEN_SECONDS = 600.0
AT_ONCE = 50


class Telling:
    """Writes to one MLflow server.

    Args:
        registry: the server.
        store: the audit log.
        leader: nothing is told unless it leads.
        metrics: what became of it is counted there.
        link: base of links to the admin door; None for no links.
    """

    def __init__(
        self, registry: Registry, store: Store, leader: Leader, metrics: Metrics, link: str | None
    ) -> None:
        self._registry = registry
        self._store = store
        self._leader = leader
        self._link = link
        self._told = 0
        self._pause = FIRST_PAUSE
        self.problem = ""
        """Why what is due is not told yet; empty where nothing is due, or all is well."""
        self.woken = asyncio.Event()
        self._count: dict[str, Callable[[], None]] = {
            outcome: metrics.counter(FOLLOW_WRITTEN, outcome).add
            for outcome in ("written", "retried", "dropped")
        }

    async def run(self) -> None:
        """Tell for ever; of what was before the first start, nothing."""
        begun = False
        while True:
            try:
                if not begun:
                    self._told = await asyncio.to_thread(self._store.told, CURSOR)
                    begun = True
                while self._leader.leads and await self._some():
                    pass
            except ServingError as error:  # the store's trouble
                log.warning("what MLflow is to be told waits for the store", reason=str(error))
                await asyncio.sleep(FIRST_PAUSE)
                continue
            await self.woken.wait()
            self.woken.clear()

    async def _some(self) -> bool:
        """Tell what there is; False when there was nothing, or another control leads now."""
        revisions = await asyncio.to_thread(self._store.untold, CURSOR, AT_ONCE)
        if revisions is None:  # the database was lost, and written anew from memory
            await asyncio.to_thread(self._store.told, CURSOR, self._told)
            return True
        for revision in revisions:
            older = await asyncio.to_thread(self._store.history, revision.model, 100, revision.revision)
            due = deeds(revision, older, self._link)
            if due is not None and not await self._until_done(due, revision):
                return False
            if due is not None or revision is revisions[-1]:
                self._told = await asyncio.to_thread(self._store.told, CURSOR, revision.revision)
        return bool(revisions)

    async def _until_done(self, due: Deeds, revision: Revision) -> bool:
        """Do it, again and again until it is done or refused; False when we no longer lead."""
        began = time.monotonic()
        while self._leader.leads:
            try:
                await asyncio.to_thread(do, due, self._registry)
            except ServingError as error:
                if worth_another_try(error, time.monotonic() - began):
                    await self._wait(str(error), revision)
                    continue
                self._count["dropped"]()
                log.error(
                    "MLflow is not told", model=revision.model, revision=revision.revision, reason=str(error)
                )
            else:
                self._count["written"]()
            self.problem, self._pause = "", FIRST_PAUSE
            return True
        return False

    async def _wait(self, reason: str, revision: Revision) -> None:
        self._count["retried"]()
        if not self.problem:
            log.warning("MLflow cannot be told; trying again", model=revision.model, reason=reason)
        self.problem = f"MLflow is not told yet what became of revision {revision.revision}: {reason}"
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311  (spreading, not secrecy)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        await asyncio.sleep(pause)


def worth_another_try(error: ServingError, seconds: float) -> bool:
    """Whether what failed may be done later.

    Args:
        error: how it failed.
        seconds: since it was tried first.
    """
    return isinstance(error, Away) or (isinstance(error, Forbidden) and seconds < FORBIDDEN_SECONDS)


def do(due: Deeds, registry: Registry) -> None:
    """Do all of it, unless it was done before; blocks.

    Raises:
        ServingError: it was not done, or not all of it.
    """
    known = registry.version(due.model, due.version).tags
    if all(known.get(key) == value for key, value in due.mark):
        return
    if due.alias is not None:
        now = registry.model(due.model).aliases.get(due.alias.alias)
        wanted = due.alias.only_from is None or now == due.alias.only_from
        if wanted and now != due.alias.version:
            registry.set_alias(due.model, due.alias.alias, due.alias.version)
    for key, value in due.tags:
        registry.set_version_tag(due.model, due.version, key, value)
