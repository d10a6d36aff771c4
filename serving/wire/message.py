"""One inference request as it came, and the answer as it goes out: bytes, decoded only where needed."""

from collections.abc import Awaitable, Mapping
from typing import final

from serving.errors import InvalidInput

OIP_HTTP = "oip-http"
"""The Open Inference Protocol over HTTP, the wire of a call that names no other (`serving.wire.codec`)."""

JSON_LENGTH_HEADER = b"inference-header-content-length"
"""The binary extension's header: how many bytes of the body are JSON."""
COMPUTE_HEADER = b"x-understudy-compute-ns"
"""Of an answer: the model's own run time; 0 where this request has none to itself."""
SHARED_HEADER = b"x-understudy-shared-run"
"""Of an answer that tells its run time: other requests were in that run."""


class Call:
    """An inference request: an identity-coded body and its headers.

    Attributes:
        headers: names in lower case; of a repeated header the last value. Calls may share them.
        body: after any content coding was removed.
        arrived: `time.perf_counter()` when the body was complete, in seconds.
        timeout_seconds: what whoever routes the call gives its target; None leaves it to the model.
        wire: how its body is to be read, and the answer's to be written.
        error_headers: further header lines of its answer where that is a failure, each ended by CRLF; a
            `Reply` has its own.
        deadline: when its client gives up on it, on the clock of `arrived`, where its door knows, which then
            cancels it.
    """

    __slots__ = ("arrived", "body", "deadline", "error_headers", "headers", "timeout_seconds", "wire")

    def __init__(
        self,
        headers: Mapping[bytes, bytes],
        body: bytes,
        arrived: float,
        timeout_seconds: float | None = None,
        wire: str = OIP_HTTP,
    ) -> None:
        self.headers = headers
        self.body = body
        self.arrived = arrived
        self.timeout_seconds = timeout_seconds
        self.wire = wire
        self.error_headers = b""
        self.deadline: float | None = None

    @property
    def json_length(self) -> int | None:
        """Bytes of JSON at the head of the body; None when all of it is JSON.

        Raises:
            InvalidInput: the header is no length within the body.
        """
        text = self.headers.get(JSON_LENGTH_HEADER)
        if text is None:
            return None
        length = int(text) if text.isdigit() and len(text) <= 12 else -1
        if not 0 <= length <= len(self.body):
            shown = text[:20].decode("latin-1")
            raise InvalidInput(f"Inference-Header-Content-Length {shown!r} is not a length within the body")
        return length


@final
class Reply:
    """An answer: what `serving.http.connection` writes, and what the router needs to know of it.

    Attributes:
        body: all bytes after the head.
        json_length: bytes of JSON at the head of a body with binary tensors; None for pure JSON.
        headers: further header lines, each ended by CRLF.
        compute_seconds: the model's own run time, without queue and hop; 0 where this request has none to
            itself: nothing ran, or it shared the run of an inline model with others.
        shared: whether other requests were in the run that computed it; None where nobody knows.
    """

    __slots__ = ("body", "compute_seconds", "headers", "json_length", "shared", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        json_length: int | None = None,
        headers: bytes = b"",
        compute_seconds: float = 0.0,
        shared: bool | None = None,  # noqa: FBT001  (by position, as it is made for each answer)
    ) -> None:
        self.status = status
        self.body = body
        self.json_length = json_length
        self.headers = headers
        self.compute_seconds = compute_seconds
        self.shared = shared


Outcome = Reply | Awaitable[Reply] | Exception
"""What became of one call among several: as a handler gives it, or what it would have raised."""
