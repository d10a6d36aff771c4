"""`python -m control`: the control plane alone."""

import asyncio
import logging
import signal
import socket
from collections.abc import Mapping
from types import FrameType, MappingProxyType

import structlog
import uvicorn
from starlette.types import ASGIApp

from control.api.app import create_app
from control.api.data_plane import SyncDoor
from control.api.limits import MAX_SYNC_BYTES, BodyLimit
from control.api.security import OPEN_PATHS, Guard, is_loopback, problem_of_door
from control.follow.deliveries import PATH
from control.plane import Plane
from control.settings import ControlSettings
from serving.admission.bodies import Bodies
from serving.admission.gate import Gate
from serving.admission.tls import Certificate
from serving.errors import ServingError
from serving.host.ending import ending
from serving.host.process import die_with_parent, private_files, set_up_logs
from serving.host.sockets import listen, listen_unix
from serving.http.connection import protocol_of, sweep
from serving.http.connection_limit import ConnectionLimits, limited
from serving.http.endpoint import Limits
from serving.http.listening import ListeningServer
from serving.telemetry.cells import Metrics
from serving.wire.handler import Handler

log = structlog.get_logger()


class Door:
    """The admin door's limits on connections; it has no path that is answered before the application."""

    limits = Limits(MAX_SYNC_BYTES, bodies=Bodies(4 * MAX_SYNC_BYTES, MAX_SYNC_BYTES))
    draining = False
    gate: Gate | None = None
    paths: Mapping[bytes, Handler] = MappingProxyType({})


class Server(ListeningServer):
    """uvicorn's server, for which an orderly end after a signal is a success: it exits with 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class; it goes no further where a signal came before uvicorn listened to them."""
        await super().startup(sockets)
        self.should_exit |= ending.is_set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's signature)
        """The first signal ends in order, a second one at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def main(settings: ControlSettings | None = None) -> None:
    """Serve the admin door until told to end.

    Raises:
        OSError: the port is taken.
        SystemExit: the door would be open to others without a token.
    """
    if settings is None:  # started by a supervisor, not by a person whose shell may end
        die_with_parent()
        settings = ControlSettings()
    set_up_logs(settings.log_format, settings.log_level)
    private_files()
    if reason := problem_of_door(settings):
        raise SystemExit(f"error: {reason}")
    if settings.admin_tls_cert is None and not is_loopback(settings.admin_host):
        log.warning("the admin door is open to others without TLS; whoever listens in sees its token")
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    listener = listen(settings.admin_host, settings.admin_port)
    tokens = settings.token.get_secret_value(), settings.viewer_token.get_secret_value()
    plane = _plane(settings)
    signed = [PATH] if plane.deliveries is not None else []
    app = Guard(BodyLimit(SyncDoor(create_app(plane), plane)), *tokens, plane.people, signed=signed)
    for number in (signal.SIGTERM, signal.SIGINT):  # before uvicorn listens, and once it has ended in order
        signal.signal(number, lambda *_: ending.set())
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    try:
        _serve(app, settings, listener)
    except ServingError as error:
        raise SystemExit(f"error: {error}") from None


def _serve(app: ASGIApp, settings: ControlSettings, listener: socket.socket) -> None:
    metrics = Metrics(settings.state_dir / "metrics", "admin")
    limits = ConnectionLimits(
        "admin", settings.admin_max_connections, settings.admin_max_connections_per_client, metrics
    )
    certificate = None
    if settings.admin_tls_cert is not None and settings.admin_tls_key is not None:
        certificate = Certificate("admin", settings.admin_tls_cert, settings.admin_tls_key, metrics)
    config = uvicorn.Config(
        app,
        http=limited(protocol_of(Door()), limits, OPEN_PATHS),
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # or who guesses tokens from this machine would be another client each time
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    inner = [listen_unix(settings.admin_socket)] if settings.admin_socket is not None else []

    async def main() -> None:
        server = Server(config, certificate.context() if certificate is not None else None, inner)
        beside = [asyncio.create_task(sweep(server.server_state.connections))]
        if certificate is not None:
            beside.append(asyncio.create_task(certificate.run()))
        try:
            await server.serve(sockets=[listener])
        finally:
            ending.set()
            for task in beside:
                task.cancel()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())


def _plane(settings: ControlSettings) -> Plane:
    try:
        return Plane(settings)
    except ServingError as error:  # the database, mostly; under a supervisor this is tried again
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
