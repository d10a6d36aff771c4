"""How many connections a door holds, in all and of one client; one more is turned away at once.

Law: whoever is turned away costs an accept and a short answer, and takes nothing from those inside. The
limit lies below what the process may open, so that its own files and sockets (models, sandboxes, control)
find room however many clients come. Where files run out nevertheless, libuv accepts and closes what it
cannot serve, without spinning.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.admission import REJECTED, peer
from serving.cells import Family, Metrics
from serving.http import DATED

CONNECTIONS = Family("understudy_connections", "gauge", "Open connections of a door.", ("door",))
OWN_FILES = 128
"""Of the files that a process may open, so many are kept for itself, or half of them if that is less."""
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

    def enter(self, client: str) -> bool:
        """Whether one more may stay; then `leave` must follow."""
        if self._open >= self.total:
            self._full.add()
            return False
        if self._per_client:
            known = self._clients.get(client, 0)
            if known >= self._per_client:
                self._client_full.add()
                return False
            self._clients[client] = known + 1
        self._open += 1
        self._gauge.set(self._open)
        return True

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


def limited(base: type[HttpToolsProtocol], limits: ConnectionLimits) -> type[HttpToolsProtocol]:
    """The protocol class `base`, whose connections are counted and limited."""

    class Limited(base):  # type: ignore[misc, valid-type]
        _counted_as: str | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            client = peer(self.client)
            if limits.enter(client):
                self._counted_as = client
            else:
                transport.write(_FULL % DATED.line)
                transport.close()

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
