"""One serving process: sockets, uvicorn, logs, and an orderly end.

After SIGTERM or SIGINT the process says it is not ready and closes each connection with its next answer,
for `drain_seconds`; then it accepts nothing more, finishes what is under way within `grace_seconds`, and
exits with 0.
"""

import asyncio
import logging
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from serving.app import Service, create_app
from serving.http import fast_protocol, sweep
from serving.settings import ServingSettings

LINGER_SECONDS = 0.2
"""Between the last connection accepted and the closing of those that have asked nothing."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which keeps answering for a while after it was told to end."""

    def __init__(self, config: uvicorn.Config, service: Service, drain_seconds: float) -> None:
        super().__init__(config)
        self._service = service
        self._drain_seconds = drain_seconds
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's signature)
        """The first signal drains, a second one ends at once."""
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._end)

    def _end(self) -> None:
        """Accept nothing more; whoever connected just before that still gets to ask."""
        for server in self.servers:
            server.close()
        self._loop.call_later(LINGER_SECONDS, self._exit)

    def _exit(self) -> None:
        self.should_exit = True


def run(service: Service, settings: ServingSettings, sockets: list[socket.socket]) -> None:
    """Serve the public door until told to end."""
    run_app(create_app(service), service, settings, sockets)


def run_app(app: ASGIApp, service: Service, settings: ServingSettings, sockets: list[socket.socket]) -> None:
    """Serve an application whose infer paths are those of `service`."""
    config = uvicorn.Config(
        app,
        http=fast_protocol(service),
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def main() -> None:
        server = DrainingServer(config, service, settings.drain_seconds)
        sweeper = asyncio.create_task(sweep(server.server_state.connections))
        try:
            await server.serve(sockets=sockets)
        finally:
            sweeper.cancel()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())
