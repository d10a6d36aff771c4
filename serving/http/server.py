"""One serving process: sockets, uvicorn, logs, and an orderly end.

After SIGTERM or SIGINT the process says it is not ready and closes each connection with its next answer,
for `drain_seconds`; then it turns newcomers away, accepts those that have connected, finishes what is under
way within `grace_seconds`, and exits with 0.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from serving.admission.gate import OPEN_PATHS
from serving.host.ending import ending
from serving.host.heartbeat import BEAT_SECONDS, Heart, Neighbour
from serving.host.memory import keep_freed_memory
from serving.http.app import Service, create_app
from serving.http.connection import protocol_of, sweep
from serving.http.connection_limit import limited
from serving.http.endpoint import Endpoint, ModelsEndpoint
from serving.http.gated_app import GatedApp
from serving.http.listening import ListeningServer
from serving.http.public_door import Doorkeeper
from serving.settings import ServingSettings

LINGER_SECONDS = 0.2
"""Between newcomers being turned away and the last connection accepted, and between that and the closing of
those that have asked nothing."""


NextDoor = tuple[socket.socket, Neighbour]
"""The listening socket of another process of the node, and how that one is."""


class DrainingServer(ListeningServer):
    """uvicorn's server, which keeps answering for a while after it was told to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Endpoint,
        drain_seconds: float,
        tls: ssl.SSLContext | None = None,
        heart: Heart | None = None,
        neighbours: Sequence[NextDoor] = (),
    ) -> None:
        super().__init__(config, tls)
        self._heart = heart
        self._next_doors = tuple(neighbours)
        self._service = service
        self._drain_seconds = drain_seconds
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's signature)
        """The first signal drains, a second one ends at once."""
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        ending.set()
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._turn_away)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class, and show that the door is open."""
        await super().startup(sockets)
        if self._heart is not None:
            self._heart.door(is_open=True)

    async def mind_neighbours(self) -> None:
        """Accept in the stead of those that are away, for ever."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for listener, neighbour in self._next_doors:
                if neighbour.is_away():
                    self.stand_in(listener)
                else:
                    self.step_back(listener)

    def _turn_away(self) -> None:
        """Nobody begins to connect any more; whoever is about to have connected is accepted."""
        self.turn_newcomers_away()
        self._loop.call_later(LINGER_SECONDS, self._close_door)

    def _close_door(self) -> None:
        """Accept nothing more; whoever connected just before that still gets to ask."""
        if self._heart is not None:
            self._heart.door(is_open=False)
        self.accept_waiting()
        self.accept_no_more()
        for listener, _ in self._next_doors:
            listener.close()
        self._next_doors = ()
        self._loop.call_later(LINGER_SECONDS, self._exit)

    def _exit(self) -> None:
        self.should_exit = True


def run(
    service: Service,
    settings: ServingSettings,
    sockets: list[socket.socket],
    keeper: Doorkeeper | None = None,
    heartbeat: Path | None = None,
    neighbours: Sequence[NextDoor] = (),
) -> None:
    """Serve a door until told to end; see `run_app`."""
    run_app(create_app(service), service, settings, sockets, keeper, heartbeat, neighbours)


def run_app(
    app: ASGIApp,
    service: ModelsEndpoint,
    settings: ServingSettings,
    sockets: list[socket.socket],
    keeper: Doorkeeper | None = None,
    heartbeat: Path | None = None,
    neighbours: Sequence[NextDoor] = (),
) -> None:
    """Serve an application whose infer paths are those of `service`.

    Args:
        app: what answers all that is not answered before it.
        service: whose infer paths, limits and gate are used.
        settings: of the end.
        sockets: that listen.
        keeper: of a public door; None for a door that only processes of this node reach.
        heartbeat: the file through which the supervisor sees that the event loop turns.
        neighbours: at whose doors connections are accepted while they are away.
    """
    keep_freed_memory()
    protocol = protocol_of(service)
    tls = None
    if keeper is not None:
        keeper.open(service)
        app = GatedApp(app, service)
        protocol = limited(protocol, keeper.connections, OPEN_PATHS)
        tls = keeper.certificate.context() if keeper.certificate is not None else None
    config = _config(app, protocol, settings.grace_seconds)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def main() -> None:
        heart = Heart(heartbeat) if heartbeat is not None else None
        server = DrainingServer(config, service, settings.drain_seconds, tls, heart, neighbours)
        beside = [asyncio.create_task(sweep(server.server_state.connections))]
        if heart is not None:
            beside.append(asyncio.create_task(heart.run()))
        if neighbours:
            beside.append(asyncio.create_task(server.mind_neighbours()))
        if keeper is not None:
            beside.append(asyncio.create_task(keeper.run(service, server.accept_waiting)))
        try:
            await server.serve(sockets=sockets)
        finally:
            for task in beside:
                task.cancel()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())


def _config(app: ASGIApp, protocol: type[asyncio.Protocol], grace_seconds: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # clients are told apart by the connection, or by the header of --rate-header
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace_seconds)),
    )
