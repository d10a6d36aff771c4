"""What HTTP asks beside an endpoint's own methods: HEAD where there is GET, and 405 with those there are."""

from starlette.applications import Starlette
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Answers HEAD as GET without a body (RFC 9110, 9.3.2): plain ASGI; the server leaves out the body.

    An answer that goes on for as long as the client listens ends with its head.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, a HEAD as a GET."""
        if scope["type"] == "http" and scope["path"] == "*":  # of OPTIONS, or it was refused before
            headers = [(b"allow", b"DELETE, GET, HEAD, OPTIONS, POST, PUT")]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app({**scope, "method": "GET"}, receive, send_head)


def allowed(app: Starlette, scope: Scope) -> str:
    """The methods of a path, as the header Allow lists them.

    Each method is tried, as a route of an included router does not tell which it has.
    """
    methods = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        for route in app.router.routes
        if route.matches({**scope, "method": method})[0] is Match.FULL
    }
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))
