"""uvicorn's server on sockets that were opened before, each with TLS or without.

Law: who connects is accepted within one beat, however long the turns of the event loop are. libuv accepts one
connection a turn, which would let clients that come starve behind those that are there, unseen by any limit
of ours; so what waits is accepted in one go as soon as turns are long. Who waits at the door of a neighbour
that is away, as a worker that died, is accepted by those that are there.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress

import uvicorn

from serving.admission.tls import HANDSHAKE_SECONDS
from serving.host.sockets import turn_newcomers_away

MOST_AT_ONCE = 1000


class ListeningServer(uvicorn.Server):
    """Accepts connections once the application has started.

    Args:
        tls: of the sockets that `serve` is given; None for none.
        inner: further sockets, for processes of this machine only: never with TLS.
    """

    def __init__(
        self, config: uvicorn.Config, tls: ssl.SSLContext | None = None, inner: Sequence[socket.socket] = ()
    ) -> None:
        super().__init__(config)
        self.servers = []  # the base class has none before its startup, in which it can be told to end
        self._tls = tls
        self._inner = inner
        self._listeners: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._neighbours: set[socket.socket] = set()  # in whose stead this process accepts
        self._arriving: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class, which knows neither a deadline for handshakes nor sockets without TLS."""
        await super().startup(sockets=[])
        for listener in sockets or []:
            await self._accept(listener, self._tls)
        for listener in self._inner:
            await self._accept(listener, None)

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        server = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=listener,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls is not None else None,
            backlog=self.config.backlog,
        )
        self.servers.append(server)
        self._listeners.append((listener, tls))

    def accept_waiting(self) -> None:
        """Accept whoever waits on the listening sockets now."""
        for listener, tls in self._listeners:
            self._accept_from(listener, tls)

    def _accept_from(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                connection, _address = listener.accept()
            except BlockingIOError:  # nobody waits
                return
            except OSError:  # no file is left for it, or it has left
                self.step_back(listener)  # for the time being: its reader would come at once, again and again
                return
            task = asyncio.get_running_loop().create_task(self._take(connection, tls))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def stand_in(self, listener: socket.socket) -> None:
        """Accept at the door of a neighbour too, until `step_back`; not where this one accepts no more."""
        if listener in self._neighbours or not self._listeners:
            return
        self._neighbours.add(listener)
        asyncio.get_running_loop().add_reader(listener, self._accept_from, listener, self._tls)

    def step_back(self, listener: socket.socket) -> None:
        """The neighbour accepts itself again."""
        if listener in self._neighbours:
            self._neighbours.discard(listener)
            asyncio.get_running_loop().remove_reader(listener)

    async def _take(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        with suppress(OSError):  # the client has left, or does not speak TLS
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls is not None else None,
            )

    def turn_newcomers_away(self) -> None:
        """Accept those that have connected, or are about to, and let nobody else begin to."""
        for listener in [*(listener for listener, _ in self._listeners), *self._neighbours]:
            turn_newcomers_away(listener)

    def accept_no_more(self) -> None:
        """Close the listening sockets; connections live on."""
        self._forget_listeners()
        for server in self.servers:
            server.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class."""
        self._forget_listeners()
        await super().shutdown(sockets)

    def _forget_listeners(self) -> None:
        self._listeners.clear()
        for listener in list(self._neighbours):
            self.step_back(listener)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
