"""The Unix socket at which the processes of a node report to their supervisor, as they would to control.

Law: only processes of this user reach it, and each sends whole requests with a length, one after the other on
a connection (`router.hop.client`). What is anything else ends its connection, and no other.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson
import structlog

from serving.errors import ServingError
from serving.host.sockets import listen_unix
from understudy.supervision.relay import Relay, Reply

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 1 << 26
"""As control takes."""
_LENGTH: Final = b"\r\ncontent-length:"


class RelayDoor:
    """Answers processes by a relay.

    Args:
        path: of the socket.
        relay: who answers.
    """

    def __init__(self, path: Path, relay: Relay) -> None:
        self._path = path
        self._relay = relay
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Be there, also where the socket was lost.

        Raises:
            OSError: it cannot be made.
        """
        if self._server is not None and self._path.exists():
            return
        self.close()
        self._server = await asyncio.start_unix_server(self._serve, sock=listen_unix(self._path))

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
                while body := await _request(reader):
                    reply = await self._answer(body)
                    head = b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n" % (reply.status, len(reply.body))
                    writer.write(head + reply.body)
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, body: bytes) -> Reply:
        try:
            return await self._relay.exchange(body)
        except ServingError as error:
            return Reply(error.status, orjson.dumps({"error": str(error)}))


async def _request(reader: asyncio.StreamReader) -> bytes:
    """The body of the next request; empty for one that cannot be read.

    Raises:
        IncompleteReadError: the process has gone.
        LimitOverrunError: its head has no end.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(_LENGTH)[2].partition(b"\r\n")[0].strip()
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        log.warning("a request to the supervisor cannot be read")
        return b""
    return await reader.readexactly(int(length))
