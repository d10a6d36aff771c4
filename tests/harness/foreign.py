"""A model server of somebody else's, as small as can be, which keeps what it was asked."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from harness.hostile import ANSWER, DIGITS, reply


@dataclass
class Asked:
    """One request.

    Attributes:
        headers: names in lower case.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Foreign:
    """What it says and answers, which may be changed at any time, and what it was asked.

    Attributes:
        statuses: by the end of a path, of what is not 200.
        silent: whether it answers no inference.
    """

    extensions: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=lambda: DIGITS)
    answer: dict[str, Any] = field(default_factory=lambda: ANSWER)
    statuses: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        """It listens."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    @property
    def inferences(self) -> list[Asked]:
        """Those of what it was asked."""
        return [each for each in self.asked if each.method == "POST"]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                one = await _read(reader)
                self.asked.append(one)
                if not (self.silent and one.method == "POST"):
                    writer.write(self._said(one))
        writer.close()

    def _said(self, one: Asked) -> bytes:
        status = next((told for end, told in self.statuses.items() if one.path.endswith(end)), "200 OK")
        if status != "200 OK":
            return reply(b'{"error":"no"}', status)
        if one.method == "POST":
            return reply(orjson.dumps(self.answer))
        return reply(orjson.dumps({"extensions": self.extensions} if one.path == "/v2" else self.metadata))


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body)
