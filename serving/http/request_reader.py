"""The framing law of requests as a parser without I/O: bytes in, heads, pieces of bodies and ends out.

Law: what is heard of a stream does not depend on how it was cut. Nothing is kept without a bound: a head and
its trailers have a limit each, and so has what a chunk says beside its size. An offer of another protocol is
declined, and the request answered as it would be without it (RFC 9110, 7.8). Trailers are dropped (RFC 9110,
6.5.1). After a fault, and behind a last request, nothing more is read.
"""

from collections.abc import Mapping
from typing import Protocol

import httptools

from serving.http.plain_heads import Problem, problem_of

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and its header fields, and again of the trailers."""
FIELD_BYTES = 4
"""What a field takes on the wire beside its name and value: a colon, CRLF and mostly a blank."""


class RequestHead:
    """A request's first line and header fields.

    Attributes:
        method: as it came.
        target: likewise: a path with its query, mostly.
        headers: names in lower case, in their order.
        fields: the same; of a repeated one, the last.
        version: of HTTP, `1.1` or `1.0`.
        keep_alive: whether the connection may carry another request; None if so and HTTP/1.0 has to be told.
        expects: whether the client waits for an interim answer before it sends the body.
    """

    __slots__ = ("expects", "fields", "headers", "keep_alive", "method", "target", "version")
    fields: Mapping[bytes, bytes]
    method: bytes
    version: str
    keep_alive: bool | None

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.expects = False


class Hearer(Protocol):
    """Who is told what a stream says, in its order, while it is read."""

    def begun(self) -> None:
        """The first byte of a request."""

    def head(self, head: RequestHead) -> bool:
        """Its head, which is sound; False if nothing more is to be read."""

    def piece(self, piece: bytes) -> None:
        """A piece of its body, of any size above 0."""

    def ended(self) -> None:
        """It is whole."""

    def fault(self, problem: Problem) -> None:
        """The law is broken, for which the client is to be told: status, words, and further lines."""


class _Over(Exception):
    """Raised in a callback to stop the parser."""


class RequestReader:
    """Reads one connection's requests.

    Args:
        hearer: who is told.

    Attributes:
        over: nothing more is read.
    """

    __slots__ = (
        "_head",
        "_headed",
        "_hearer",
        "_last",
        "_offered",
        "_parser",
        "_piece",
        "_segment_bytes",
        "_trailer_bytes",
        "_unkept_bytes",
        "over",
    )

    def __init__(self, hearer: Hearer) -> None:
        self._hearer = hearer
        self._piece = hearer.piece
        self._parser = self._new_parser()
        self._unkept_bytes = 0  # at most so many of the head have come; behind it, since the last of a body
        self._segment_bytes = 0  # of what is being parsed, unless an earlier message is in it
        self._headed = False  # the head is read: fields that follow are trailers
        self._last = False  # what follows the body is of no request
        self._offered = False  # the head asks for another protocol
        self.over = False

    def feed(self, data: bytes) -> None:
        """Read on, and tell."""
        while data and not self.over:
            self._segment_bytes = len(data)
            self._unkept_bytes += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._declined(data[offer.args[0] :])
                continue
            except httptools.HttpParserError:
                self._fault(400, "not a valid HTTP request")
                return
            if self._unkept_bytes > MAX_HEAD_BYTES and (self._headed or not self._last):
                self._fault(431, "request trailers too large" if self._headed else "request head too large")
            return

    def _fault(self, status: int, words: str) -> None:
        if not self.over:
            self.over = True
            self._hearer.fault((status, words, b""))

    def _new_parser(self) -> httptools.HttpRequestParser:
        """What comes behind a last request is ignored, not an error."""
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _declined(self, rest: bytes) -> bytes:
        """What a request is without its offer to upgrade, and what came behind it."""
        head = self._head
        kept = [b"%b: %b\r\n" % header for header in head.headers if header[0] != b"upgrade"]
        if len(kept) == len(head.headers):
            self._fault(400, "tunnels are not supported")
            return b""
        version = self._parser.get_http_version().encode()
        first = b"%b %b HTTP/%b\r\n" % (self._parser.get_method(), head.target, version)
        self._parser = self._new_parser()  # the one before reads nothing behind a last request
        return b"".join((first, *kept, b"\r\n", rest))

    # ------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._head = RequestHead()
        self._unkept_bytes = self._segment_bytes
        self._headed = self._last = self._offered = False
        self._hearer.begun()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; one of the trailers is counted and dropped."""
        if self._headed:
            self._trailer_bytes += len(name) + len(value) + FIELD_BYTES
            if self._trailer_bytes > MAX_HEAD_BYTES:
                self._fault(431, "request trailers too large")
                raise _Over
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._head.expects = True
        self._head.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The whole head."""
        self._headed = True
        self._trailer_bytes = 0
        if self._unkept_bytes > MAX_HEAD_BYTES and self._exact_head_bytes() > MAX_HEAD_BYTES:
            self._fault(431, "request head too large")
            raise _Over
        parser, head = self._parser, self._head
        if parser.should_upgrade():
            self._offered = True
            return
        head.version = version = parser.get_http_version()
        head.fields = fields = dict(head.headers)
        problem = problem_of(head.headers, fields, version)
        if problem is not None:
            self.over = True
            self._hearer.fault(problem)
            raise _Over
        head.method = parser.get_method()
        keep_alive = parser.should_keep_alive()
        self._last = not keep_alive
        if version == "1.0":
            head.expects = False
            head.keep_alive = None if keep_alive else False
        else:
            head.keep_alive = keep_alive
        if not self._hearer.head(head):
            self.over = True
            raise _Over

    def _exact_head_bytes(self) -> int:
        fields = sum(len(name) + len(value) + FIELD_BYTES for name, value in self._head.headers)
        return len(self._head.target) + fields

    def on_chunk_header(self) -> None:
        """The size of a chunk is read, with its extensions: what they took is not kept."""
        self._unkept_bytes = 0  # at most so many came of the head; behind it, since the last of a body

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._unkept_bytes = 0
        self._piece(body)

    def on_message_complete(self) -> None:
        """The end of a request, or of a head that offers another protocol, which is read again without."""
        self._segment_bytes = self._unkept_bytes = 0
        self._headed = False
        if not self._offered:
            self._hearer.ended()
