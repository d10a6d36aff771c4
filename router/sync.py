"""The one exchange with control: counts and readiness out, the newer snapshot in.

Law: a router needs control only to change. When control is away it serves on from its last good snapshot,
which is kept on disk and also serves its own restart.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog

from router.hop.client import Address, ClientReply, Pool
from router.laps import Laps
from router.rollout.snapshot import Documents, Snapshot, from_wire
from router.settings import NodeSettings
from serving.clock import clock
from serving.errors import InvalidInput, ServingError

log = structlog.get_logger()

WAIT_SECONDS = 1.0
"""How long control may hold an exchange when it has nothing new."""
RETRY_SECONDS = 0.1
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

    def pool(self) -> Pool:
        """Connections to it.

        Raises:
            InvalidInput: the URL, or the file of certificates.
        """
        path = self.control.removeprefix("unix:")
        if path != self.control:
            return Pool(Address.of_socket(path), label="control", max_connections=2)
        address = Address.of_url(self.control)
        tls = trusting(self.ca) if address.tls and self.ca is not None else None
        return Pool(address, label="control", max_connections=2, tls=tls)


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


class Sync:
    """Keeps one process in step with control.

    Args:
        link: how control is reached.
        cache: where the last good snapshot is kept; None keeps none.
        report: makes what to tell control, before each exchange; one is made after the other.
        apply: given each newer snapshot; its return means that it is in force.
    """

    def __init__(
        self,
        link: Link,
        cache: Path | None,
        report: Callable[[], Awaitable[Mapping[str, Any]]],
        apply: Callable[[Snapshot], Awaitable[None]],
    ) -> None:
        self._pool = link.pool()
        self._headers = b"content-type: application/json\r\n"
        if link.token:
            self._headers += b"authorization: Bearer " + link.token.encode() + b"\r\n"
        self._cache = cache
        self._report = report
        self._reporting = asyncio.Lock()
        self._apply = apply
        self._began = clock()
        self.revision = 0
        self.exchanges = 0
        """Reports that control has answered."""
        self.wait_seconds = WAIT_SECONDS
        self.begun = asyncio.Event()
        """Set once what control or the disk has is in force, or neither has anything."""
        self._documents = Documents()
        self._reachable: bool | None = None  # not known yet
        self._hurrying: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Exchange for ever; begins with the snapshot on disk while control does not answer."""
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

    async def _tell(self) -> None:
        with suppress(ServingError):  # the next exchange says the same
            await self._post(0.0)

    def close(self) -> None:
        """Drop the connection."""
        self._pool.close()

    async def _exchange(self) -> None:
        reply = await self._post(self.wait_seconds)
        if reply.status != 200:
            raise ServingError(f"it answered with status {reply.status}")
        self.exchanges += 1
        if self._reachable is False:
            log.info("control is back")
        self._reachable = True
        wire = orjson.loads(reply.body)["snapshot"]
        if wire is not None:
            await self._take(wire)

    async def _post(self, wait_seconds: float) -> ClientReply:
        async with self._reporting:
            report = await self._report()
        body = orjson.dumps({**report, "revision": self.revision, "wait": wait_seconds})
        deadline = clock() + wait_seconds + 5.0
        return await self._pool.post(b"/v1/sync", self._headers, body, deadline)

    async def _take(self, wire: Mapping[str, Any]) -> None:
        rollouts, laps = {}, Laps()  # hundreds of them must not keep requests waiting
        for model, served in self._documents.rollouts(wire):
            rollouts[model] = served
            await laps.rest()
        snapshot = Snapshot(wire["revision"], rollouts)
        await self._apply(snapshot)
        self.revision = snapshot.revision
        if self._cache is not None:
            with suppress(OSError):  # a full disk must not stop an edit
                await asyncio.to_thread(save, self._cache, wire)

    async def _unreachable(self, reason: str) -> None:
        starting = self._reachable is None and clock() - self._began < START_SECONDS
        if self._reachable is not False and not starting:
            self._reachable = False
            log.warning("control cannot be reached; serving on", reason=reason)
        if self.revision == 0 and self._cache is not None and (snapshot := saved(self._cache)) is not None:
            await self._apply(snapshot)
            self.revision = snapshot.revision
            log.info("serving from the last good snapshot", revision=snapshot.revision)
        self.begun.set()
        await asyncio.sleep(RETRY_SECONDS)


def save(path: Path, wire: Mapping[str, Any]) -> None:
    """Keep a snapshot on disk as control sent it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(orjson.dumps(wire))
    temporary.replace(path)


def saved(path: Path) -> Snapshot | None:
    """The snapshot on disk; None where there is none that can be read."""
    try:
        return from_wire(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, ServingError):
        return None
