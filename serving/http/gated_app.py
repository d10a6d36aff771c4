"""The gate in front of the ASGI application: plain ASGI."""

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.admission.gate import OPEN_PATHS
from serving.clock import clock
from serving.http.app import respond
from serving.http.endpoint import Endpoint
from serving.http.replies import error_reply
from serving.wire.message import Call


class GatedApp:
    """Answers who is refused, and passes on everything else.

    Args:
        app: behind the gate.
        endpoint: whose gate it is, and whose handlers hear what it refuses of them.
    """

    def __init__(self, app: ASGIApp, endpoint: Endpoint) -> None:
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        gate = self._endpoint.gate
        if gate is None or scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = gate.refusal(headers, scope["client"])
        if refusal is None:
            await self._app(scope, receive, send)
            return
        handler = self._endpoint.paths.get(scope["path"].encode())
        if handler is not None and scope["method"] == "POST":
            handler.refused(Call(headers, b"", clock()), refusal)
        await respond(error_reply(refusal))(scope, receive, send)
