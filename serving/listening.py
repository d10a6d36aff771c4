"""uvicorn's server on sockets that were opened before, each with TLS or without."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

import uvicorn

from serving.tls import HANDSHAKE_SECONDS


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
        self._tls = tls
        self._inner = inner

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

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
