"""`python -m control`: the control plane alone."""

import asyncio
import logging
import signal
from types import FrameType

import uvicorn

from control.app import create_app
from control.limits import BodyLimit
from control.plane import Plane
from control.security import Guard, refusal_to_start
from control.settings import ControlSettings
from serving.errors import ServingError
from serving.process import die_with_parent, listen, set_up_logs


class Server(uvicorn.Server):
    """uvicorn's server, for which an orderly end after a signal is a success: it exits with 0."""

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
    if reason := refusal_to_start(settings.admin_host, settings.token, settings.viewer_token):
        raise SystemExit(f"error: {reason}")
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    listener = listen(settings.admin_host, settings.admin_port)
    app = Guard(BodyLimit(create_app(_plane(settings))), settings.token, settings.viewer_token)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,  # longer than clients keep an idle connection; httpx's 5 s are uvicorn's too
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has ended in order
        signal.signal(number, lambda *_: None)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(Server(config).serve(sockets=[listener]))


def _plane(settings: ControlSettings) -> Plane:
    try:
        return Plane(settings)
    except ServingError as error:  # the database, mostly; under a supervisor this is tried again
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
