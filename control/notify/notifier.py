"""Tells the channels what happened, from the audit log.

Law: each channel is told of every revision that it wants at least once, in order, and normally once: how
far it was told is kept in the state database, so a restart or another leader goes on there; only a control
that is killed between telling and noting that tells it again, under the same id. A channel that is not
reachable is tried again, ever more rarely, and holds up no other; what is older than `MAX_AGE_SECONDS` is no
news any more: it is dropped and counted. Refused edits are in no log: of them the last `MAX_REFUSED` wait in
memory, and a restart forgets them. Only the leader tells.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import httpx
import structlog

from control.metrics import NOTIFICATIONS
from control.notify.messages import EVENTS, Channel, EventName, Notice, Notifications, sentence
from control.notify.ways import Refused, Unreachable, tell
from control.store.leader import Leader
from control.store.store import Revision, Store
from serving.errors import ServingError
from serving.telemetry.cells import Counter, Metrics

log = structlog.get_logger()

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
MAX_AGE_SECONDS = 3600.0
MAX_REFUSED = 50
AT_ONCE = 50
_MAY_WANT_APPROVAL = frozenset({"approval_wanted", "started", "edited", "resumed"})


class Teller:
    """One channel.

    Args:
        channel: who is told.
        made: what makes a notice of a revision.
        store: the audit log.
        leader: nothing is told unless it leads.
        client: for HTTP.
        metrics: what became of notices is counted there.
    """

    def __init__(
        self,
        channel: Channel,
        made: Callable[[Revision], Notice | None],
        store: Store,
        leader: Leader,
        client: httpx.AsyncClient,
        metrics: Metrics,
    ) -> None:
        self._channel = channel
        self._made = made
        self._store = store
        self._leader = leader
        self._client = client
        self._refused: deque[Notice] = deque()
        self._told = 0
        self._pause = FIRST_PAUSE
        self._failing = False
        self.woken = asyncio.Event()
        self._count: dict[str, Counter] = {
            outcome: metrics.counter(NOTIFICATIONS, channel.name, outcome)
            for outcome in ("sent", "retried", "dropped")
        }

    async def begin(self) -> None:
        """A channel that is new is not told of what was before it."""
        self._told = await asyncio.to_thread(self._store.told, self._channel.name)

    def refused(self, notice: Notice) -> None:
        """Tell of an edit that was refused, after those that wait."""
        if not self._channel.wants(notice) or any(notice.text == other.text for other in self._refused):
            return
        if len(self._refused) >= MAX_REFUSED:
            self._refused.popleft()
            self._count["dropped"].add()
        self._refused.append(notice)
        self.woken.set()

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            await self.woken.wait()
            self.woken.clear()
            try:
                while self._leader.leads and await self._some():
                    pass
            except ServingError as error:  # the store's trouble; the next change or pause tries again
                log.warning("notifications wait for the store", channel=self._channel.name, reason=str(error))
                await asyncio.sleep(FIRST_PAUSE)
                self.woken.set()

    async def _some(self) -> bool:
        """Tell what there is; False when there was nothing, or another control leads now."""
        while self._refused and await self._until_told(self._refused[0]):
            self._refused.popleft()
        name = self._channel.name
        revisions = await asyncio.to_thread(self._store.untold, name, AT_ONCE)
        if revisions is None:  # the database was lost, and written anew from memory
            await asyncio.to_thread(self._store.told, name, self._told)
            return True
        for revision in revisions:
            notice = self._made(revision)
            if notice is not None and self._channel.wants(notice) and not await self._until_told(notice):
                return False
            if notice is not None or revision is revisions[-1]:
                self._told = await asyncio.to_thread(self._store.told, name, revision.revision)
        return bool(revisions)

    async def _until_told(self, notice: Notice) -> bool:
        """Tell it, again and again until it is taken, refused or too old; False when we no longer lead."""
        while self._leader.leads:
            if time.time() - notice.at > MAX_AGE_SECONDS:
                self._give_up(notice, "too old")
                return True
            try:
                await tell(self._channel.way, notice, self._client)
            except Refused as error:
                self._give_up(notice, str(error))
                return True
            except Unreachable as error:
                await self._wait(str(error))
            else:
                self._count["sent"].add()
                self._pause, self._failing = FIRST_PAUSE, False
                return True
        return False

    def _give_up(self, notice: Notice, reason: str) -> None:
        self._count["dropped"].add()
        log.error("notification dropped", channel=self._channel.name, id=notice.id, reason=reason)

    async def _wait(self, reason: str) -> None:
        self._count["retried"].add()
        if not self._failing:
            self._failing = True
            log.warning("channel cannot be told; trying again", channel=self._channel.name, reason=reason)
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311  (spreading, not secrecy)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        await asyncio.sleep(pause)


class Notifier:
    """All channels.

    Args:
        settings: who is told.
        store: the audit log.
        leader: nothing is told unless it leads.
        metrics: what became of notices is counted there.
        links: of a rollout, for everyone with an address who may approve it now, the token of a link.
    """

    def __init__(
        self,
        settings: Notifications,
        store: Store,
        leader: Leader,
        metrics: Metrics,
        links: Callable[[str], tuple[tuple[str, str], ...]] = lambda _: (),
    ) -> None:
        self._settings = settings
        self._links = links
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=10.0)
        self._tellers = [
            Teller(channel, self._notice, store, leader, self._client, metrics)
            for channel in settings.channels
        ]
        self._refusals = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def link(self) -> str | None:
        """Base of links to the admin door; None for none."""
        return self._settings.link

    async def start(self) -> None:
        """Begin to tell.

        Raises:
            StoreError: it cannot be noted from where on.
        """
        for teller in self._tellers:
            await teller.begin()
            task = asyncio.create_task(teller.run(), name="notifications")
            self._tasks.append(task)
        self.look()

    async def stop(self) -> None:
        """Tell nothing more; what was not told is told after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(httpx.HTTPError):
            await self._client.aclose()

    def look(self) -> None:
        """There may be something new in the audit log."""
        for teller in self._tellers:
            teller.woken.set()

    def refused(self, problem: str, model: str, actor: str, event: EventName = "rejected") -> None:
        """An edit was refused, or an alias is not followed.

        Args:
            problem: why, with file, line and column.
            model: the public name; empty for a file.
            actor: who tried.
            event: which of the two.
        """
        self._refusals += 1
        now = time.time()
        notice = Notice(
            id=f"{self._settings.source}/refused/{int(now * 1000)}-{self._refusals}",
            event=event,
            model=model,
            at=now,
            text=sentence(event, model, problem, actor),
            actor=actor,
            link=self._settings.link,
        )
        for teller in self._tellers:
            teller.refused(notice)

    def _notice(self, revision: Revision) -> Notice | None:
        if revision.event not in EVENTS:
            return None
        link = self._settings.link
        asked = link is not None and revision.event in _MAY_WANT_APPROVAL
        personal = self._links(revision.model) if asked else ()
        return Notice(
            id=f"{self._settings.source}/{revision.revision}",
            event=revision.event,
            model=revision.model,
            at=revision.at,
            text=sentence(revision.event, revision.model, revision.reason, revision.actor),
            actor=revision.actor,
            revision=revision.revision,
            evidence=revision.evidence,
            link=None if link is None else f"{link}/#{revision.model}",
            personal=tuple((address, f"{link}/v1/approvals/{token}") for address, token in personal),
        )
