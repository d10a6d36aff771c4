"""Requests for the ASGI application: uvicorn's cycles, in scopes made here.

A cycle is uvicorn's `RequestResponseCycle`: it runs the application, writes its answer to the transport, and
says when that is whole. Reading, order and limits are the connection's (`serving.http.connection`).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from serving.http.request_reader import RequestHead
from serving.wire.request_id import REQUEST_ID, request_id

_KEPT_FIELD = (b"connection", b"keep-alive")
_LOGGER = logging.getLogger("uvicorn.error")

Fields = list[tuple[bytes, bytes]]


def not_kept(headers: Fields) -> Fields:
    """The headers of an answer that turns out to be its connection's last."""
    return [field for field in headers if field is not _KEPT_FIELD]


class Ends(NamedTuple):
    """The two ends of a connection, as a scope has them.

    Attributes:
        server: address and port of ours.
        client: of the other one.
        scheme: http or https.
    """

    server: tuple[str, int | None] | None
    client: tuple[str, int] | None
    scheme: str

    @classmethod
    def of(cls, transport: asyncio.Transport) -> "Ends":
        """Those of a transport; None where it has no address."""
        scheme = "https" if is_ssl(transport) else "http"
        return cls(get_local_addr(transport), get_remote_addr(transport), scheme)


class Applications:
    """The ASGI application of a process, behind all its connections.

    Args:
        config: which application.
        server_state: uvicorn's: what runs, for an orderly end.
        app_state: what the application's lifespan left for its requests.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        if not config.loaded:
            config.load()
        self._app = config.loaded_app
        self._state = server_state
        self._app_state = app_state
        self._version = config.asgi_version

    def cycle(
        self,
        head: RequestHead,
        ends: Ends,
        transport: asyncio.Transport,
        flow: FlowControl,
        on_response: Callable[[], None],
    ) -> RequestResponseCycle:
        """A request's exchange with the application, which does not run yet.

        Raises:
            ValueError: the target cannot be read.
        """
        headers = list(self._state.default_headers)
        if head.keep_alive is None:
            headers.append(_KEPT_FIELD)
        if id_ := request_id(head.fields):
            headers.append((REQUEST_ID, id_))
        return RequestResponseCycle(
            scope=self._scope(head, ends),  # type: ignore[arg-type]
            transport=transport,
            flow=flow,
            logger=_LOGGER,
            access_logger=_LOGGER,
            access_log=False,
            default_headers=headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.expects,
            keep_alive=head.keep_alive is not False,
            on_response=on_response,
        )

    def _scope(self, head: RequestHead, ends: Ends) -> dict[str, Any]:
        try:
            url = httptools.parse_url(head.target)
            path = url.path.decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError) as error:
            raise ValueError("invalid URL") from error
        return {
            "type": "http",
            "asgi": {"version": self._version, "spec_version": "2.3"},
            "http_version": head.version,
            "server": ends.server,
            "client": ends.client,
            "scheme": ends.scheme,
            "method": head.method.decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": head.headers,
            "state": self._app_state.copy(),
        }

    def start(self, cycle: RequestResponseCycle) -> None:
        """Run the application for it."""
        task = asyncio.get_running_loop().create_task(cycle.run_asgi(self._app))
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)
