"""How large a body the admin door takes: plain ASGI, in front of the application."""

import orjson
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.wire.outcomes import MAX_BODY_BYTES
from serving.document import MAX_BYTES

SYNC_PATH = "/v1/sync"
MAX_SYNC_BYTES = 1 << 26
"""The counts of all stages of one process are a few kB; a report beyond this is none of ours."""
OUTCOMES_PATH = "/v1/outcomes"
SYNC_OUTCOMES_PATH = "/v1/sync/outcomes"
MAX_OUTCOMES_BYTES = MAX_BODY_BYTES
_LIMITS = {
    SYNC_PATH: MAX_SYNC_BYTES,
    OUTCOMES_PATH: MAX_OUTCOMES_BYTES,
    SYNC_OUTCOMES_PATH: MAX_OUTCOMES_BYTES,
}


class BodyLimit:
    """Answers 413 to a body that is too large, declared or found to be so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = _LIMITS.get(scope["path"], MAX_BYTES)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        detail = f"the body is larger than {limit} bytes"
        if int(declared) > limit:  # the parser in front lets nothing but digits through
            await _refuse(send, detail)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)
            return message

        await self._app(scope, counted, send)


async def _refuse(send: Send, detail: str) -> None:
    body = orjson.dumps({"type": "about:blank", "title": "Too large", "status": 413, "detail": detail})
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": body})
