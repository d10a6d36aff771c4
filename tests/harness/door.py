"""A door of `connection` on a real event loop and a real socket, in front of two handlers that echo."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import orjson
import uvicorn
import uvloop
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from uvicorn.server import ServerState

from serving.http.connection import protocol_of, sweep
from serving.http.connection_limit import ConnectionLimits, limited
from serving.http.endpoint import Limits
from serving.wire.handler import Handler, Single
from serving.wire.message import Call, Reply

FAST = b"/v2/models/m/infer"
"""Answered by the short path."""
LATER = b"/v2/models/later/infer"
"""Likewise, but not in the same turn: when `Door.release` is set."""
ASGI = b"/v2/models/m/infer?by=asgi"
"""Answered by the application behind it."""
HEALTH = b"/health"
"""Answered by the application, also when all places for connections are taken."""


class Door:
    """What the protocol needs of an application, and what tests may change of it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.draining = False
        self.gate: Any = None
        self.paths: dict[bytes, Handler] = {FAST: Single(echo), LATER: Single(self._later)}
        self.release = asyncio.Event()
        self.port = 0
        self.connections: set[Any] = set()
        self.clients: list[Client] = []

    def _later(self, call: Call) -> Awaitable[Reply]:
        async def answer() -> Reply:
            await self.release.wait()
            return echo(call)

        return answer()

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """Echo what the scope holds."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        if scope["path"] == "/later":
            await self.release.wait()
        content = _seen(scope["headers"], body)
        response: Response = JSONResponse(content | {"method": scope["method"], "target": scope["path"]})
        await response(scope, receive, send)

    async def connect(self) -> "Client":
        """One connection."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def ask(self, wire: bytes) -> bytes:
        """All that one connection says to these bytes, which close its sending side, until it is closed."""
        client = await self.connect()
        with contextlib.suppress(ConnectionError):
            await client.send(wire)
            client.writer.write_eof()
        return await client.rest()


class Client:
    """The other end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, wire: bytes) -> None:
        """Send, and wait until it is taken."""
        self.writer.write(wire)
        await self.writer.drain()

    async def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        first, *lines = head.decode().split("\r\n")[:-2]
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        length = 0 if bodiless else int(headers.get("content-length", 0))
        return int(first.split()[1]), headers, await asyncio.wait_for(self.reader.readexactly(length), 10)

    async def rest(self) -> bytes:
        """All that comes until the end."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(self.reader.read(1 << 16), 10):
                found += piece
        self.writer.close()
        return found


def echo(call: Call) -> Reply:
    """Answer with the headers and the length of the body."""
    return Reply(200, orjson.dumps(_seen(call.headers.items(), call.body)))


def _seen(headers: Any, body: bytes) -> dict[str, Any]:
    return {"headers": {k.decode(): v.decode("latin-1") for k, v in headers}, "bytes": len(body)}


@contextlib.asynccontextmanager
async def opened(limits: Limits | None = None, places: ConnectionLimits | None = None) -> AsyncIterator[Door]:
    """A door that listens; with so many places for connections."""
    door = Door(limits or Limits())
    protocol_class = protocol_of(door)
    if places is not None:
        protocol_class = limited(protocol_class, places, {HEALTH.decode()})
    config = uvicorn.Config(
        door.application,
        http=protocol_class,
        interface="asgi3",
        proxy_headers=False,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    config.load()
    state = ServerState()
    door.connections = state.connections

    def protocol() -> asyncio.Protocol:
        return config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg, return-value]

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    door.port = server.sockets[0].getsockname()[1]
    sweeping = asyncio.create_task(sweep(state.connections))
    try:
        yield door
    finally:
        sweeping.cancel()
        server.close()
        for client in door.clients:
            client.writer.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await server.wait_closed()


def with_door(
    work: Callable[[Door], Coroutine[Any, Any, None]],
    limits: Limits | None = None,
    places: ConnectionLimits | None = None,
) -> None:
    """Run work at an open door."""

    async def main() -> None:
        async with opened(limits, places) as door:
            await work(door)

    uvloop.run(main())


async def within(condition: Callable[[], Any], what: str, seconds: float = 5.0) -> None:
    """Wait until the condition is true, on the event loop."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.005)
