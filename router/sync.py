"""The one exchange with control: counts and readiness out, the newer snapshot in.

Law: a router needs control only to change. When control is away it serves on from its last good snapshot,
which is kept on disk and also serves its own restart. It says which one that is before it is given another,
and serves it where control may not give it another (decision 91).
"""

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import structlog

from router.hop.client import Address, ClientReply, Pool
from router.laps import Laps
from router.rollout.snapshot import Snapshot
from router.settings import NodeSettings
from router.wire.ledger import Ledger, Told
from router.wire.receipt_keys import KeyRow
from router.wire.report import (
    NODES_SPEAK,
    ROWS_MOVE,
    WIRE,
    Answer,
    Held,
    Report,
    Row,
    StageReport,
    Unusable,
    encoded,
)
from router.wire.snapshot import Reading, Received, held
from serving.clock import clock
from serving.errors import InvalidInput, ServingError
from serving.host.whole_files import write_whole

log = structlog.get_logger()

WAIT_SECONDS = 1.0
"""How long control may hold an exchange when it has nothing new."""
RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 1.0
"""The pause before control is tried again doubles up to this; a fleet must not come back all at once."""
ANSWER_SECONDS = 5.0
"""For which an answer may take longer than control may hold it."""
KNOWN_SECONDS = 5.0
"""For which somebody waits until an exchange is over; mostly it takes one or two."""
LEAVE_SECONDS = 3.0
"""For which a process that ends waits for control to take its last report."""
NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})
START_SECONDS = 10.0
"""Processes start side by side; that control is not there for so long is nothing to report."""


@dataclass(frozen=True, slots=True)
class Link:
    """How control is reached.

    Attributes:
        control: URL of the control plane, or `unix:` and the path of its socket on this machine.
        token: sent as a bearer token; empty for none.
        ca: certificates by which that of an `https:` control is checked; None for those of the system.
    """

    control: str
    token: str = field(default="", repr=False)
    ca: Path | None = None

    @classmethod
    def of(cls, settings: NodeSettings) -> "Link":
        """As a process of a node is told."""
        return cls(settings.control, settings.token.get_secret_value(), settings.control_ca)

    @classmethod
    def for_reports(cls, settings: NodeSettings) -> "Link":
        """To whom a process of a node reports: its supervisor, where that speaks for it, else control."""
        return cls.of(settings) if settings.relay is None else cls(f"unix:{settings.relay}")

    @property
    def headers(self) -> bytes:
        """Of each request."""
        lines = b"content-type: application/json\r\n"
        if self.token:
            lines += b"authorization: Bearer " + self.token.encode() + b"\r\n"
        return lines

    def pool(self, most: int = 2) -> Pool:
        """Connections to it, so many at most.

        Raises:
            InvalidInput: the URL, or the file of certificates.
        """
        path = self.control.removeprefix("unix:")
        if path != self.control:
            return Pool(Address.of_socket(path), label="control", max_connections=most)
        address = Address.of_url(self.control)
        tls = trusting(self.ca) if address.tls and self.ca is not None else None
        return Pool(address, label="control", max_connections=most, tls=tls)


def trusting(ca: Path) -> ssl.SSLContext:
    """A client's side that trusts the certificates of this file only.

    Raises:
        InvalidInput: there are none in it.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise InvalidInput(f"{ca.name}: {reason}") from None


class Pauses:
    """Between tries to reach control: each twice as long as the one before, up to a bound, and by chance."""

    def __init__(self) -> None:
        self._next = RETRY_SECONDS

    def begin_anew(self) -> None:
        """It was reached."""
        self._next = RETRY_SECONDS

    def next(self) -> float:
        """Seconds to wait now: half of the pause at least, and half more than it at most."""
        pause, self._next = self._next, min(2 * self._next, LONGEST_RETRY_SECONDS)
        return pause * random.uniform(0.5, 1.5)  # noqa: S311  (no secret)


class Sync:
    """Keeps one process in step with control.

    Args:
        link: how control is reached.
        cache: where the last good snapshot is kept; None keeps none. Where there is none, the latest of the
            other processes of the node stands in, which keep theirs in the same folder.
        report: makes what to tell control, all of it, before each exchange; one is made after the other.
        apply: given each newer snapshot; its return means that it is in force.
        take_keys: given the keys for receipts, before a snapshot that comes with them; None where none are
            asked for.
    """

    def __init__(
        self,
        link: Link,
        cache: Path | None,
        report: Callable[[], Awaitable[Report]],
        apply: Callable[[Snapshot], Awaitable[None]],
        take_keys: Callable[[Sequence[KeyRow]], Awaitable[None]] | None = None,
    ) -> None:
        self._pool = link.pool()
        self._headers = link.headers
        self._cache = cache
        self._report = report
        self._reporting = asyncio.Lock()
        self._apply = apply
        self._take_keys = take_keys
        self.took: Callable[[Mapping[str, Any]], None] = lambda _: None
        """Told of each newer snapshot as it came, once it is in force."""
        self._pauses = Pauses()
        self.wire = WIRE
        """The contract of who answers; until it is known, this release's."""
        self._began = clock()
        self.exchanges = 0
        """Reports that control has answered."""
        self.wait_seconds = WAIT_SECONDS
        self.begun = asyncio.Event()
        """Set once what control or the disk has is in force, or neither has anything."""
        self._received = Received()
        self._on_disk = Held()
        self._refused = ""  # why control gives nothing
        self._unusable: Unusable | None = None
        self.ledger = Ledger()
        self._reachable: bool | None = None  # not known yet
        self._hurrying: asyncio.Task[None] | None = None
        self._known_as_of = 0.0  # seconds since 1970
        self._known = asyncio.Condition()

    async def run(self) -> None:
        """Exchange for ever; begins with the snapshot on disk while control does not answer."""
        if self._cache is not None:
            self._on_disk = await asyncio.to_thread(held_on_disk, self._cache)
        while True:
            try:
                await self._exchange()
            except ServingError as error:
                await self._unreachable(str(error))
            except (ValueError, KeyError, TypeError) as error:
                await self._unreachable(f"its answer cannot be read: {error}")
            except Exception:  # a fault of ours must not cut a router off from control for ever
                log.exception("the exchange with control failed")
                await asyncio.sleep(RETRY_SECONDS)
            self.begun.set()

    def hurry(self) -> None:
        """Report now, beside the exchange that control may be holding; that one brings what is newer."""
        if self._hurrying is None or self._hurrying.done():
            self._hurrying = asyncio.create_task(self._tell(), name="hurried report")

    async def leave(self) -> None:
        """Tell control what it has not been told, if it takes that soon, and drop the connection.

        To be called once `run` is cancelled: whoever ends takes what it knows with it.
        """
        with suppress(ServingError, TimeoutError, ValueError):
            async with asyncio.timeout(LEAVE_SECONDS):
                reply = await self._post(0.0)
                if reply.status == 200 and Answer.model_validate(orjson.loads(reply.body)).whole:
                    self.ledger.begin_anew()
                    await self._post(0.0)
        self.close()

    async def _tell(self) -> None:
        with suppress(ServingError):  # the next exchange says the same
            await self._post(0.0, hurried=True)

    @property
    def revision(self) -> int:
        """Of the snapshot in force; 0 before the first."""
        return self._received.snapshot.revision

    @property
    def held(self) -> Held:
        """Which snapshot is in force; before the first, which one is on disk."""
        return held(self._received.snapshot) if self.revision else self._on_disk

    def snapshot(self) -> bytes:
        """The snapshot in force, whole, as it is told."""
        return self._received.encoded()

    def close(self) -> None:
        """Drop the connection."""
        self._pool.close()

    async def known_as_of(self, moment: float) -> bool:
        """Wait until what control says is in force as of a moment: an exchange is over that began after it.

        Args:
            moment: seconds since 1970.

        Returns:
            False where that is not so within `KNOWN_SECONDS`, or control cannot be reached.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(KNOWN_SECONDS), self._known:
                await self._known.wait_for(lambda: self._known_as_of >= moment or self._reachable is False)
        return self._known_as_of >= moment

    async def _exchange(self) -> None:
        began = time.time()
        reply = await self._post(self.wait_seconds)
        if reply.status != 200:
            raise ServingError(f"it answered with status {reply.status}")
        answer = Answer.model_validate(orjson.loads(reply.body))
        self.wire = answer.wire
        if answer.whole:
            self.ledger.begin_anew()
            self._unusable = None  # another control: what it gives is to be tried
            return
        if answer.relayed is False:
            await self._take_news(answer)
            return
        self.exchanges += 1
        if self._unusable is None:
            self._pauses.begin_anew()
        if self._reachable is False:
            log.info("control is back")
        self._reachable = True
        await self._take_news(answer)
        if answer.wire < 2:
            self.ledger.begin_anew()  # an older control wants everything each time
        elif answer.relayed or answer.snapshot is not None or self.ledger.begun:
            self.ledger.answered()
        if answer.revision <= self.revision:  # else a supervisor has yet to hand on what is newer
            self._known_as_of = began
        async with self._known:
            self._known.notify_all()

    async def _take_news(self, answer: Answer) -> None:
        if answer.refused and answer.refused != self._refused:
            log.warning("control gives this node no snapshot; serving on", reason=answer.refused)
        self._refused = answer.refused
        if answer.refused:
            await self._serve_kept()
            if self.revision == 0:
                self._on_disk = Held()  # nothing that can be used
        if answer.receipt_keys is not None and self._take_keys is not None:
            await self._take_keys(answer.receipt_keys)
        if answer.snapshot is not None:
            await self._take(answer.snapshot)

    async def tell(self, processes: Sequence[bytes]) -> Answer:
        """Report for a node's processes too, beside the exchange that control may be holding.

        Args:
            processes: what each of them says, as JSON.

        Raises:
            ServingError: control did not take it.
        """
        said = [orjson.Fragment(each) for each in processes]
        async with self._reporting:
            more: dict[str, Any] = {"processes": said}
            if self.wire < ROWS_MOVE:
                more["base"] = 0
            body = await self.body(0.0, hurried=True, more=more)
        reply = await self._pool.post(b"/v1/sync", self._headers, body, clock() + ANSWER_SECONDS)
        if reply.status != 200:
            raise ServingError(f"control answered with status {reply.status}")
        try:
            answer = Answer.model_validate(orjson.loads(reply.body))
        except ValueError as error:
            raise ServingError(f"the answer of control cannot be read: {error}") from None
        self.wire = answer.wire
        if answer.whole:  # what the node itself says; of its processes each answer says it
            self.ledger.begin_anew()
        return answer

    async def _post(self, wait_seconds: float, *, hurried: bool = False) -> ClientReply:
        async with self._reporting:
            body = await self.body(wait_seconds, hurried=hurried)
        deadline = clock() + wait_seconds + ANSWER_SECONDS
        return await self._pool.post(b"/v1/sync", self._headers, body, deadline)

    async def body(
        self, wait_seconds: float, *, hurried: bool = False, more: Mapping[str, Any] = NOTHING_MORE
    ) -> bytes:
        """The next report as it is sent, with what more it says."""
        report, laps = await self._report(), Laps()
        counted = {(row.model, row.stage, row.candidate): row.counts for row in report.counts}
        telling = self.ledger.telling(counted, tables(report), hurried=hurried)
        for _ in telling.places():
            await laps.rest()
        told = telling.told
        stages = [
            StageReport(model=model, stage=stage, candidate=candidate, counts=found)
            for (model, stage, candidate), found in told.counts.items()
        ]
        rows = moved(report, told, self.wire)
        exchange = {
            "wire": WIRE,
            "revision": self.revision,
            "held": self.held,
            "unusable": self._unusable,
            "wait": wait_seconds,
            "number": told.number,
            "base": told.base,
            "settled_until": told.settled_until,
            "counts": await _texts(stages, laps),
            **rows,
            "targets": await _texts(rows["targets"], laps),
            "served": await _texts(rows["served"], laps),
        }
        return encoded(report.model_copy(update={**exchange, **more}))

    async def _take(self, wire: Mapping[str, Any]) -> None:
        """Read a snapshot or the difference to one, and apply it, or remember why that cannot be."""
        try:
            reading = await self._read(wire)
        except (ServingError, ValueError, KeyError, TypeError, AttributeError) as error:
            revision = wire.get("revision")
            await self._cannot_use(revision if isinstance(revision, int) else 0, error)
            await asyncio.sleep(self._pauses.next())  # an older control gives it again at once
            return
        try:
            await self._apply(reading.snapshot)
        except Exception as error:
            await self._cannot_use(0, error)
            raise
        self._unusable = None
        if self._received.take(reading):
            self.took(wire)
        if self._cache is not None:
            with suppress(OSError):  # a full disk must not stop an edit
                await asyncio.to_thread(save, self._cache, self._received.encoded())

    async def _read(self, wire: Mapping[str, Any]) -> Reading:
        """Read it.

        Raises:
            KeyError, TypeError, AttributeError: it is no snapshot.
            ServingError: a document in it is not valid here.
            ValueError: it is older than what is in force, or no difference to that.
        """
        had, epoch, revision = self.held, wire.get("epoch", 0), wire["revision"]
        if epoch and (epoch, revision) < (had.epoch, had.revision):
            raise ValueError(f"revision {revision} is older than {had.revision}, which is held here")
        reading, laps = self._received.read(wire), Laps()  # hundreds of them must not keep requests waiting
        for _ in reading.rollouts():
            await laps.rest()
        return reading

    async def _cannot_use(self, revision: int, error: Exception) -> None:
        """Remember why a snapshot cannot be used, and serve on."""
        name = type(error).__name__
        reason = str(error) if isinstance(error, ServingError | ValueError) else f"{name}: {error}"
        before, self._unusable = self._unusable, Unusable(revision=revision, reason=reason[:1000])
        if self._unusable != before:
            log.error("a snapshot cannot be used; serving on", revision=revision, reason=reason)
        await self._serve_kept()

    async def _unreachable(self, reason: str) -> None:
        starting = self._reachable is None and clock() - self._began < START_SECONDS
        if self._reachable is not False and not starting:
            self._reachable = False
            log.warning("control cannot be reached; serving on", reason=reason)
            async with self._known:
                self._known.notify_all()
        await self._serve_kept()
        self.begun.set()
        await asyncio.sleep(self._pauses.next())

    async def _serve_kept(self) -> None:
        """Put the snapshot on disk in force, where nothing is."""
        if (
            self.revision == 0
            and self._cache is not None
            and any(saved(path, self._received) for path in kept(self._cache))
        ):
            await self._apply(self._received.snapshot)
            log.info("serving from the last good snapshot", revision=self.revision)


def tables(report: Report) -> Sequence[Mapping[Any, object]]:
    """What a report says beside counts, by place: targets, who is served, and of a node what it answered."""
    use = report.use
    return (
        {row.place: row for row in report.targets},
        {row.model: row for row in report.served},
        {} if use is None else {row.place: row for row in use.answered},
        {} if use is None else {row.place: row for row in use.compared},
    )


def moved(report: Report, told: Told, wire: int) -> dict[str, Any]:
    """What a report says of these tables to who speaks this contract."""
    targets, served, answered, compared = told.moved
    unchanged = told.base > 0 and wire >= NODES_SPEAK and not targets and not served
    if told.base == 0 or wire < ROWS_MOVE:
        whole = {"targets": report.targets, "served": report.served}
        return {"unchanged": True, "targets": (), "served": ()} if unchanged else whole
    use = report.use
    if use is not None:
        rows = {"answered": _there(answered), "compared": _there(compared)}
        use = use.model_copy(update={"partly": True, **rows})
    return {
        "partly": not unchanged,
        "unchanged": unchanged,
        "targets": _there(targets),
        "served": _there(served),
        "gone": [place for place, row in targets.items() if row is None],
        "gone_served": [place for place, row in served.items() if row is None],
        "use": use,
    }


def _there(rows: Mapping[Any, object]) -> list[Any]:
    """Those that are not gone."""
    return [row for row in rows.values() if row is not None]


async def _texts(rows: Iterable[Row], laps: Laps) -> list[orjson.Fragment]:
    """Rows of a report as JSON; together they would keep the event loop for long."""
    texts = []
    for row in rows:
        texts.append(orjson.Fragment(encoded(row)))
        await laps.rest()
    return texts


def save(path: Path, snapshot: bytes) -> None:
    """Keep a snapshot on disk, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, snapshot)


def kept(cache: Path) -> list[Path]:
    """Where a process of this node finds a snapshot: its own, then those of the others, the latest first."""
    with suppress(OSError):
        others = (path for path in cache.parent.glob("*.json") if path != cache)
        return [cache, *sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)]
    return [cache]  # one went away meanwhile


def held_on_disk(cache: Path) -> Held:
    """Which snapshot a process of this node would find there; zeros for none."""
    for path in kept(cache):
        with suppress(OSError, ValueError):
            return Held.model_validate_json(path.read_bytes())
    return Held()


def saved(path: Path, received: Received) -> bool:
    """Take the snapshot on disk; False where there is none that can be read."""
    try:
        reading = received.read(orjson.loads(path.read_bytes()))
        for _ in reading.rollouts():
            pass
        received.take(reading)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ServingError):
        return False
    return True
