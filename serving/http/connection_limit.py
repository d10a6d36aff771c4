"""How many connections a door holds, in all and of one client; one more is turned away once it has asked.

Law: whoever is turned away costs an accept and a short answer, and takes nothing from those inside. Questions
for the health of the process are answered all the same, one a connection, so that a client that holds all
connections does not have the process replaced: whoever finds the door full gets a spare place until it has
asked. Spare places are few, held for a second at most, and the oldest gives way to the newest.

The limit lies below what the process may open, so that its own files and sockets (models, sandboxes, control)
find room however many clients come. Where files run out nevertheless, libuv accepts and closes what it
cannot serve, without spinning.
"""

import asyncio
import re
import resource
from collections.abc import Collection
from typing import Any

from serving.admission.gate import REJECTED, peer
from serving.http.connection import Connection
from serving.http.plain_heads import HEAD_END
from serving.http.replies import DATED
from serving.telemetry.cells import Counter, Family, Metrics

CONNECTIONS = Family("understudy_connections", "gauge", "Open connections of a door.", ("door",))
OWN_FILES = 128
"""Of the files that a process may open, so many are kept for itself, or half of them if that is less."""
SPARE_PLACES = 32
SPARE_SECONDS = 1.0
MAX_SPARE_BYTES = 8192
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\n%bcontent-type: application/json\r\nretry-after: 1\r\n"
    b'content-length: 32\r\nconnection: close\r\n\r\n{"error":"too many connections"}'
)


class ConnectionLimits:
    """The connections of one door in one process.

    Args:
        total: the most there may be; fewer where the process may not open so many files.
        per_client: the most of one address (of IPv6, one /64); 0 for no limit of its own.
    """

    def __init__(self, door: str, total: int, per_client: int, metrics: Metrics) -> None:
        files = raise_file_limit()
        self.total = min(total, files - min(OWN_FILES, files // 2))
        self._per_client = per_client
        self._open = 0
        self._clients: dict[str, int] = {}
        self._full = metrics.counter(REJECTED, door, "connections")
        self._client_full = metrics.counter(REJECTED, door, "client_connections")
        self._gauge = metrics.gauge(CONNECTIONS, door)
        self._gauge.set(0)

    @property
    def share(self) -> float:
        """Of the connections that there may be those that are open."""
        return self._open / self.total

    def enter(self, client: str) -> Counter | None:
        """None if one more may stay, then `leave` must follow; else what counts it once it is turned away."""
        if self._open >= self.total:
            return self._full
        if self._per_client:
            known = self._clients.get(client, 0)
            if known >= self._per_client:
                return self._client_full
            self._clients[client] = known + 1
        self._open += 1
        self._gauge.set(self._open)
        return None

    def leave(self, client: str) -> None:
        """Its connection is closed."""
        self._open -= 1
        self._gauge.set(self._open)
        if self._per_client:
            left = self._clients[client] - 1
            if left:
                self._clients[client] = left
            else:
                del self._clients[client]


class _Spare(asyncio.Protocol):
    """A connection over the limit, until it has asked: for the health of the process, or in vain."""

    def __init__(self, door: Connection, transport: asyncio.Transport, places: "_Places") -> None:
        self._door = door
        self._transport = transport
        self._places = places
        self._received = b""
        self._timer = asyncio.get_running_loop().call_later(SPARE_SECONDS, self.turn_away)
        self.counter: Counter | None = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        if HEAD_END not in self._received and len(self._received) < MAX_SPARE_BYTES:
            return
        head = self._received.partition(HEAD_END)[0] + HEAD_END
        line, _, rest = head.partition(b"\r\n")
        if not self._places.asks_for_health(line):
            self.turn_away()
            return
        self._free()
        self._transport.set_protocol(self._door)
        self._door.data_received(b"".join((line, b"\r\nconnection: close\r\n", rest)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._free()
        self._door.connection_lost(exc)

    def turn_away(self) -> None:
        """Say that the door is full."""
        self._free()
        if self._transport.is_closing():
            return
        if self.counter is not None:
            self.counter.add()
        self._transport.write(_FULL % DATED.line)
        self._transport.close()

    def _free(self) -> None:
        self._timer.cancel()
        self._places.waiting.pop(self, None)


class _Places:
    """The spare places of one door.

    Args:
        paths: where health is asked for.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self.waiting: dict[_Spare, None] = {}  # the oldest first
        several = "|".join(re.escape(path) for path in sorted(paths))
        self._line = re.compile(rf"(?:GET|HEAD) (?:{several})(?:\?[!-~]*)? HTTP/1\.[01]".encode())

    def asks_for_health(self, line: bytes) -> bool:
        """Whether a request line does so."""
        return self._line.fullmatch(line) is not None

    def take(self, spare: _Spare) -> None:
        """Give a place, of the oldest if all are taken."""
        if len(self.waiting) >= SPARE_PLACES:
            next(iter(self.waiting)).turn_away()
        self.waiting[spare] = None


def limited(base: type[Connection], limits: ConnectionLimits, health: Collection[str]) -> type[Connection]:
    """The protocol class `base`, whose connections are counted and limited.

    Args:
        base: of the door.
        limits: of its connections.
        health: paths that are answered over the limits too.
    """
    places = _Places(health)

    class Limited(base):  # type: ignore[misc, valid-type]
        _counted_as: str | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            client = peer(self.client)
            counter = limits.enter(client)
            if counter is None:
                self._counted_as = client
                return
            spare = _Spare(self, transport, places)
            spare.counter = counter
            places.take(spare)
            transport.set_protocol(spare)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._counted_as is not None:
                limits.leave(self._counted_as)
                self._counted_as = None
            super().connection_lost(exc)

    return Limited


def raise_file_limit() -> int:
    """Let this process open as many files as it may, and say how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most: Any = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return int(most)
