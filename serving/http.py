"""The low-latency HTTP path under uvicorn: an inference request is answered without an ASGI scope.

Law: a request whose method is POST and whose path is one of `paths` is answered here; everything else,
and every request that had to wait behind another one on its connection, goes to the ASGI application,
which ends in the same handler. Answers leave in the order of their requests. Nothing is kept without a
bound: bodies, heads, trailers and idle or trickling connections all have limits; those in time are enforced
by one sweep a second. Trailers are dropped (RFC 9110, 6.5.1).

A segment that is exactly one request, whose head was met before (`serving.heads`), on a connection that
owes no answer and whose parser is at rest, is not parsed: the parser would find the same in it. Requests may
be answered together with others of the same turn of the event loop (`serving.turn`); whatever else happens to
a connection until then ends the turn first.

Errors become responses in one place, `error_reply`; requests reach their handlers in one place, `_ask`.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import httptools
import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.admission import Gate
from serving.clock import clock
from serving.codings import answer, is_coded
from serving.errors import InvalidInput, ServingError, TooLarge
from serving.heads import HEAD_END, Heads
from serving.message import Call, Handler, Outcome, Reply
from serving.turn import Turn

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and its header fields, and again of the trailers."""
FIELD_BYTES = 4
"""What a field takes on the wire beside its name and value: a colon, CRLF and mostly a blank."""
JOIN_BYTES = 256 * 1024
"""A smaller body is copied behind its head, which is cheaper than a second buffer for the kernel."""
MAX_PIPELINED = 1000
LINGER_SECONDS = 2.0

log = structlog.get_logger()


class Limits:
    """Bounds of the public door, shared by the fast path and the ASGI application."""

    __slots__ = ("body_bytes", "idle_seconds", "receive_seconds")

    def __init__(
        self, body_bytes: int = 64 << 20, receive_seconds: float = 30.0, idle_seconds: float = 75.0
    ) -> None:
        self.body_bytes = body_bytes
        self.receive_seconds = receive_seconds
        self.idle_seconds = idle_seconds


class Endpoint(Protocol):
    """What this module needs of the application; read once a request, so that it may be swapped."""

    limits: Limits
    draining: bool
    gate: Gate | None

    @property
    def paths(self) -> Mapping[bytes, Handler]:
        """The infer endpoints that exist just now."""


class _Exchange:
    """One fast request in the place of uvicorn's cycle, with the attributes the base class reads."""

    __slots__ = (
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "task",
    )

    def __init__(self, keep_alive: bool) -> None:  # noqa: FBT001
        self.body: bytes | bytearray = b""
        self.keep_alive = keep_alive
        self.response_complete = False
        self.disconnected = False
        self.more_body = True
        self.message_event = _NO_EVENT


class _NoEvent:
    """Stands where the base class wakes a waiting ASGI application; nothing waits here."""

    def set(self) -> None:
        """Do nothing."""


_NO_EVENT = _NoEvent()


class _Refused(Exception):
    """Raised in a callback to stop the parser, once the request was refused."""


class _Lingerer(asyncio.Protocol):
    """Reads on for a while after a last answer, lest a reset destroys it on its way (RFC 9112, 9.6)."""

    def __init__(self, protocol: asyncio.Protocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._protocol.connection_lost(exc)


def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()


_STATUS = {int(status): _status_line(status) for status in HTTPStatus}
_JSON = b"content-type: application/json\r\n"
_BINARY = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
_OK_JSON = _STATUS[200] + _JSON
_OK_BINARY = _STATUS[200] + _BINARY
_LAST = b"content-length: %d\r\nconnection: close\r\n\r\n"


def fast_protocol(endpoint: Endpoint) -> type[HttpToolsProtocol]:
    """The protocol class for `uvicorn.Config(http=...)`, bound to one application."""

    class FastProtocol(_FastProtocol):
        pass

    FastProtocol.endpoint = endpoint
    FastProtocol.heads = Heads(endpoint.limits.body_bytes)
    FastProtocol.turn = Turn()
    return FastProtocol


class _FastProtocol(HttpToolsProtocol):
    endpoint: Endpoint
    heads: Heads
    turn: Turn

    _deferred = False  # an answer to the end of this turn
    _fast: _Exchange | None = None
    _task: "asyncio.Future[Reply] | None" = None
    _handler: Handler | None = None
    _busy_since: float | None = None  # when the head of an unfinished request began to arrive
    _idle_since: float = 0.0
    _head_bytes = 0  # at most so many of the head have arrived; behind it, since the last of a body
    _headed = False  # the head is read: fields that follow are trailers
    _trailer_bytes = 0
    _offered = False  # the head asks for another protocol
    _segment_bytes = 0  # of what is being parsed, unless an earlier message is in it
    _last_head = b""  # at the beginning of the last segment that began a message

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = clock()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        super().connection_lost(exc)

    # ------------------------------------------------------------------ receiving

    def data_received(self, data: bytes) -> None:
        if self._deferred:
            self.turn.end()
        if self._busy_since is None and self.endpoint.gate is None:  # a gate looks at every head itself
            end = data.find(HEAD_END) + len(HEAD_END)
            raw = data[:end]
            head = self.heads.get(raw)
            if head is not None and len(data) == end + head.body_bytes:
                handler = self.endpoint.paths.get(head.path)
                cycle = self.cycle
                if handler is not None and (cycle is None or cycle.response_complete):
                    call = Call(head.headers, data[end:], clock())
                    self._idle_since = call.arrived
                    self._deferred = True
                    if not self.turn.defer(handler, call, self._conclude):
                        self._conclude(self._ask(handler, call))
                    return
            elif raw == self._last_head:
                self.heads.learn(raw)
            else:
                self._last_head = raw
        self._parse(data)

    def eof_received(self) -> None:
        """The client sends no more; what it is owed leaves before the connection is closed."""
        if self._deferred:
            self.turn.end()

    def _parse(self, data: bytes) -> None:
        self._segment_bytes = len(data)
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "not a valid HTTP request")
        else:
            if self._head_bytes > MAX_HEAD_BYTES and not self._awaits_answer():
                self._refuse(431, "request trailers too large" if self._headed else "request head too large")

    def _awaits_answer(self) -> bool:
        """Whether the client has sent all of a request, and has no answer yet."""
        return self._busy_since is None and self.cycle is not None and not self.cycle.response_complete

    def _decline(self, rest: bytes) -> None:
        """Take a request without what it offers to upgrade to (RFC 9110, 7.8), as the parser cannot."""
        kept = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        if len(kept) == len(self.headers):
            self._refuse(400, "tunnels are not supported")
            return
        version = self.parser.get_http_version().encode()
        first = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)
        self._offered = False
        self.parser = self._new_parser()  # the one before reads nothing behind a last request
        self._parse(b"".join((first, *kept, b"\r\n", rest)))

    def _new_parser(self) -> httptools.HttpRequestParser:
        """As the base class makes it: what comes behind a last request is ignored, not an error."""
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _receives_head(self) -> bool:
        return self._fast is None and self.scope is None

    def on_message_begin(self) -> None:
        if self._deferred:
            self.turn.end()
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = None  # type: ignore[assignment]
        self._fast = None
        self._busy_since = clock()
        self._head_bytes = self._segment_bytes
        self._headed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; one of the trailers is counted and dropped (RFC 9110, 6.5.1)."""
        if self._headed:
            self._trailer_bytes += len(name) + len(value) + FIELD_BYTES
            if self._trailer_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "request trailers too large")
                raise _Refused
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_chunk_header(self) -> None:
        """The size of a chunk is read, with its extensions: what they took is not kept."""
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._headed = True
        self._trailer_bytes = 0
        if self._head_bytes > MAX_HEAD_BYTES and self._exact_head_bytes() > MAX_HEAD_BYTES:
            self._refuse(431, "request head too large")
            raise _Refused
        if self.transport.is_closing():  # the request before was the last
            raise _Refused
        if self.parser.should_upgrade():
            self._offered = True
            return
        handler = self.endpoint.paths.get(self.url)
        waiting = self.cycle is not None and not self.cycle.response_complete
        if handler is None or waiting or self.parser.get_method() != b"POST":
            if len(self.pipeline) >= MAX_PIPELINED:
                self.transport.close()
                raise _Refused
            self._fall_back()
            return
        self._handler = handler
        self._fast = self.cycle = _Exchange(self.parser.should_keep_alive())  # type: ignore[assignment]
        gate = self.endpoint.gate
        if gate is not None and (refusal := gate.refusal(dict(self.headers), self.client)) is not None:
            if self.expect_100_continue:  # then nobody knows whether its body still comes
                self._fast.keep_alive = False
            self._send(self._fast, refusal)
        elif self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _exact_head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + FIELD_BYTES for name, value in self.headers)

    def _fall_back(self) -> None:
        """Let uvicorn build what it would have built, had it seen the head itself."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError) as error:
            raise httptools.HttpParserError("invalid URL") from error

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        fast = self._fast
        if fast is None:
            super().on_body(body)
            return
        if fast.response_complete:
            return
        if not fast.body:
            fast.body = body
        else:
            if not isinstance(fast.body, bytearray):
                fast.body = bytearray(fast.body)
            fast.body += body
        if len(fast.body) > self.endpoint.limits.body_bytes:
            self._send(fast, error_reply(too_large(self.endpoint.limits)))

    def on_message_complete(self) -> None:
        self._busy_since = None
        self._segment_bytes = self._head_bytes = 0
        self._headed = False
        fast, self._fast = self._fast, None
        if fast is None:
            if self._offered:
                return
            self.scope = None  # type: ignore[assignment]
            super().on_message_complete()
            return
        if fast.response_complete:
            return
        headers, handler = dict(self.headers), self._handler
        assert handler is not None
        call = Call(headers, fast.body, clock())  # type: ignore[arg-type]
        coded = is_coded(headers)
        self._deferred = True
        if coded or not self.turn.defer(handler, call, partial(self._conclude, fast=fast)):
            self._conclude(self._ask(handler, call, coded), fast)

    # ------------------------------------------------------------------ answering

    def _ask(self, handler: Handler, call: Call, coded: bool = False) -> "Reply | Awaitable[Reply]":  # noqa: FBT001, FBT002
        """What every request on the short path passes through, whether its head was parsed or remembered."""
        try:
            if coded:
                return answer(handler, call, self.endpoint.limits.body_bytes)
            return handler(call)
        except Exception as error:  # noqa: BLE001  (the one place where errors become responses)
            return error_reply(error)

    def _conclude(self, outcome: Outcome, fast: _Exchange | None = None) -> None:
        """Answer a request; one whose head was remembered has no exchange, unless it takes longer."""
        self._deferred = False
        if type(outcome) is Reply:
            reply = outcome
        elif isinstance(outcome, Exception):
            reply = error_reply(outcome)
        else:
            if fast is None:
                self.cycle = fast = _Exchange(True)  # type: ignore[assignment]
            self._answer_later(fast, outcome)  # type: ignore[arg-type]
            return
        if fast is None:
            self._write(reply, True)
        else:
            self._send(fast, reply)

    def _answer_later(self, fast: _Exchange, outcome: Coroutine[Any, Any, Reply]) -> None:
        # What routes to another process drives its own coroutine (router.eager) and gives what is under way.
        task: Any = outcome if asyncio.isfuture(outcome) else self.loop.create_task(outcome)
        self._task = task
        task.add_done_callback(lambda done: self._finished(fast, done))

    def _finished(self, fast: _Exchange, task: "asyncio.Future[Reply]") -> None:
        self._task = None
        if task.cancelled():
            if not self.transport.is_closing():
                self.transport.close()
            return
        error = task.exception()
        self._send(fast, task.result() if error is None else error_reply(error))

    def _send(self, fast: _Exchange, reply: Reply) -> None:
        fast.response_complete = True
        self._idle_since = clock()
        self._write(reply, fast.keep_alive)

    def _write(self, reply: Reply, keep_alive: bool) -> None:  # noqa: FBT001
        if self.transport.is_closing():
            return
        body = reply.body
        if reply.status == 200:
            length = reply.json_length
            head = _OK_JSON if length is None else _OK_BINARY % length
        else:
            head = _STATUS[reply.status] + content_headers(reply)
        if self.endpoint.draining:
            keep_alive = False
        line = (b"content-length: %d\r\n\r\n" if keep_alive else _LAST) % len(body)
        if len(body) < JOIN_BYTES:
            self.transport.write(b"".join((head, reply.headers, line, body)))
        else:
            self.transport.writelines((head + reply.headers + line, body))
        if not keep_alive:
            self.transport.close()
        elif self.pipeline or self.flow.read_paused:
            self.on_response_complete()

    def on_response_complete(self) -> None:
        """As the base class, without a timer: idle connections are found by the sweep."""
        self.server_state.total_requests += 1
        self._idle_since = clock()
        if self.transport.is_closing():
            return
        if self.endpoint.draining:
            self.transport.close()
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        if not self.pipeline and not self.flow.write_paused:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """A client that does not read its answers is not asked for more requests."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    def _refuse(self, status: int, message: str) -> None:
        """End the connection, with an answer where it cannot be taken for that of an earlier request."""
        if self._deferred:
            self.turn.end()
        if self.transport.is_closing() or isinstance(self.transport.get_protocol(), _Lingerer):
            return
        if self._owes_another_answer():
            self.transport.close()
            return
        body = error_reply(InvalidInput(message)).body
        head = (_STATUS[status], _JSON, _LAST % len(body))
        self.transport.write(b"".join((*head, body)))
        if self.transport.can_write_eof():  # TLS has no half of a connection to close
            self.transport.write_eof()
        if self.cycle is not None:  # an application that waits for the rest of the body waits in vain
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.set_protocol(_Lingerer(self, self.transport))
        self.transport.resume_reading()

    def _owes_another_answer(self) -> bool:
        """Whether an earlier request is unanswered, or this one's answer has begun."""
        cycle = self.cycle
        if cycle is None:
            return False
        if self._receives_head():
            return not cycle.response_complete
        if self._fast is not None:
            return self._fast.response_complete
        return bool(self.pipeline) or cycle.response_started

    def _should_upgrade(self) -> bool:
        return False

    # ------------------------------------------------------------------ limits

    def overdue(self, now: float) -> None:
        """Called once a second: close a connection that trickles, idles, or leaves its answers unread."""
        limits = self.endpoint.limits
        if self.transport.is_closing():
            if now - self._idle_since > limits.idle_seconds + limits.receive_seconds:
                self.transport.abort()
        elif self._busy_since is not None:
            if now - self._busy_since > limits.receive_seconds and not self._awaits_us():
                self._refuse(408, "request not received in time")
        elif (
            self.cycle is None or self.cycle.response_complete
        ) and now - self._idle_since > limits.idle_seconds:
            self.transport.close()

    def _awaits_us(self) -> bool:
        """Whether the rest of a request waits for our answer to the one before it."""
        return self.flow.read_paused and (self._task is not None or bool(self.pipeline))

    def shutdown(self) -> None:
        """Close now what idles; what is under way says `connection: close` when it answers."""
        if self._deferred:
            self.turn.end()
        if self._busy_since is None or self.cycle is None:
            super().shutdown()
        elif self.cycle is not None:
            self.cycle.keep_alive = False


async def sweep(connections: "set[Any]") -> None:
    """Enforce the time limits of all connections, for ever; one timer for all of them."""
    while True:
        await asyncio.sleep(1.0)
        now = clock()
        for connection in list(connections):
            if isinstance(connection, _FastProtocol):
                connection.overdue(now)


# ---------------------------------------------------------------------- shared with the ASGI application


def error_reply(error: BaseException) -> Reply:
    """The response of any failure: an expected one in its own words, any other as a 500 without them."""
    if isinstance(error, ServingError):
        seconds = error.retry_after_seconds
        extra = b"" if seconds is None else b"retry-after: %d\r\n" % seconds
        return Reply(error.status, orjson.dumps({"error": str(error)}, default=str), None, extra)
    log.error("request failed", exc_info=error)
    return Reply(500, b'{"error":"internal error"}')


def content_headers(reply: Reply) -> bytes:
    """The lines that describe the body."""
    if reply.json_length is None:
        return _JSON
    return _BINARY % reply.json_length


def too_large(limits: Limits) -> TooLarge:
    """The error of a body over the limit."""
    return TooLarge(f"the body is larger than {limits.body_bytes} bytes")
