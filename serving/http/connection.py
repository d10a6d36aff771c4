"""The low-latency HTTP path under uvicorn: an inference request is answered without an ASGI scope.

Law: a request whose method is POST and whose path is one of `paths` is answered here; everything else,
and every request that had to wait behind another one on its connection, goes to the ASGI application,
which ends in the same handler. Answers leave in the order of their requests. Nothing is kept without a
bound: bodies, heads, trailers and idle or trickling connections all have limits; those in time are enforced
by one sweep a second. Trailers are dropped (RFC 9110, 6.5.1).

A segment that is exactly one request, whose head was met before (`serving.http.known_heads`), on a connection
that owes no answer and whose parser is at rest, is not parsed: the parser would find the same in it. Requests
may be answered together with others of the same turn of the event loop (`serving.http.turn_batch`); whatever
else happens to a connection until then ends the turn first.

Errors become responses in one place, `error_reply`; requests reach their handlers in one place, `_ask`.
"""

import asyncio
import select
from collections.abc import Awaitable, Coroutine, Mapping
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import httptools
import orjson
import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.admission.bodies import Bodies
from serving.admission.gate import Gate, peer
from serving.clock import clock
from serving.errors import InvalidInput, ServingError, TooLarge
from serving.host.memory import machine_bytes
from serving.http.codings import answer, is_coded
from serving.http.known_heads import HEAD_END, Heads, Problem, problem_of, problem_of_target
from serving.http.turn_batch import Turn
from serving.settings import ServingSettings
from serving.wire.handler import Handler
from serving.wire.message import Call, Outcome, Reply

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and its header fields, and again of the trailers."""
FIELD_BYTES = 4
"""What a field takes on the wire beside its name and value: a colon, CRLF and mostly a blank."""
JOIN_BYTES = 256 * 1024
"""A smaller body is copied behind its head, which is cheaper than a second buffer for the kernel."""
MAX_PIPELINED = 100
"""Requests that wait behind another one on their connection; what comes behind them is not parsed yet."""
SLICE_BYTES = 4096
"""Pipelined requests are read in pieces of this size, between which it is seen whether they pile up."""
MAX_IN_ONE_GO = 16
"""Requests in what one read gave; more are read in slices."""
SMALL_BODY_BYTES = 64 * 1024
"""Is not refused by its length where memory for bodies is short: it may have come whole with its head."""
MACHINE_SHARE = 16
"""Unless told otherwise, bodies under way in one process take at most this part of the memory there is."""
LINGER_SECONDS = 2.0
PROBE_SECONDS, PROBED_SECONDS, PROBE_AGAIN_SECONDS = 0.25, 0.05, 1.0
"""When a client that sends no more, and waits for its answer, is looked for: first, once probed, and then."""

log = structlog.get_logger()


class Limits:
    """Bounds of the public door, shared by the fast path and the ASGI application."""

    __slots__ = ("bodies", "body_bytes", "idle_seconds", "receive_seconds")

    def __init__(
        self,
        body_bytes: int = 64 << 20,
        receive_seconds: float = 30.0,
        idle_seconds: float = 75.0,
        bodies: Bodies | None = None,
    ) -> None:
        self.body_bytes = body_bytes
        self.receive_seconds = receive_seconds
        self.idle_seconds = idle_seconds
        self.bodies = Bodies(16 * body_bytes, body_bytes) if bodies is None else bodies


def limits_of(settings: ServingSettings) -> Limits:
    """The limits that a process was told to keep."""
    largest = settings.max_body_bytes
    total = settings.max_bodies_bytes or max(2 * largest, machine_bytes() // MACHINE_SHARE)
    return Limits(largest, settings.receive_seconds, settings.idle_seconds, Bodies(total, largest))


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

    def __init__(self, keep_alive: bool | None) -> None:  # noqa: FBT001
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


class _Flow(FlowControl):
    """Reading stays paused while bytes are held that the parser has not seen."""

    held = False

    def resume_reading(self) -> None:
        """As the base class, unless held."""
        if not self.held:
            super().resume_reading()


class _Lingerer(asyncio.Protocol):
    """Reads on for a while after a last answer, so that no reset destroys it on its way (RFC 9112, 9.6)."""

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


class _Dated:
    """Beginnings of answers, with the time of day; made anew once a second, by the sweep.

    Attributes:
        line: the header Date (RFC 9110, 6.6.1).
        ok_json: up to the body's length, of most answers.
        ok_binary: likewise, with a place for the length of its JSON.
    """

    __slots__ = ("line", "ok_binary", "ok_json")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Take the time now."""
        self.line = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        self.ok_json = _STATUS[200] + self.line + _JSON
        self.ok_binary = _STATUS[200] + self.line + _BINARY


DATED = _Dated()
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RETRY = b"retry-after: 1\r\n"
_NO_ROOM = "no memory for another body now"
_KEPT_FIELD = (b"connection", b"keep-alive")
_KEPT = b"content-length: %d\r\nconnection: keep-alive\r\n\r\n"
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
    _fields: Mapping[bytes, bytes]  # of the head, of a repeated one the last
    _busy_since: float | None = None  # when the head of an unfinished request began to arrive
    _idle_since: float = 0.0
    _head_bytes = 0  # at most so many of the head have arrived; behind it, since the last of a body
    _headed = False  # the head is read: fields that follow are trailers
    _trailer_bytes = 0
    _body_bytes = 0
    _held: dict[object, int]  # of the bodies budget, by exchange
    _unfed = b""  # came in, and waits until what came before it is answered
    _ended = False  # the client closed its sending side
    _last_words: bytes | None = None  # to be said when all before is answered; then the connection ends
    _offered = False  # the head asks for another protocol
    _segment_bytes = 0  # of what is being parsed, unless an earlier message is in it
    _last_head = b""  # at the beginning of the last segment that began a message

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow: _Flow = _Flow(transport)
        self._held = {}
        self._idle_since = clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unfed = b""
        if self._task is not None:
            self._task.cancel()
        super().connection_lost(exc)
        for exchange in list(self._held):
            self._let_go(exchange)

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

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; what it is owed leaves before the connection is closed.

        Over TLS the event loop closes all the same.
        """
        if self._deferred:
            self.turn.end()
        self._ended = True
        if not self._ends_later() or _gone(self.transport):
            return False
        self.loop.call_later(PROBE_SECONDS, self._look_for)
        return True

    def _ends_later(self) -> bool:
        """Whether something is owed to a client that sends no more; its last answer ends the connection."""
        if self.transport.is_closing() or isinstance(self.transport.get_protocol(), _Lingerer):
            return False
        if self._unfed or self._last_words is not None:
            return True
        if self._busy_since is not None:
            self._refuse(400, "the client sent no more before its request was whole")
            return self._last_words is not None
        if not self._awaits_answer():
            return False
        self.cycle.keep_alive = False
        if not isinstance(self.cycle, _Exchange):
            self.cycle.default_headers = self.server_state.default_headers
        return True

    def _look_for(self, probed: bool = False) -> None:  # noqa: FBT001, FBT002
        """Find out whether a client that sends no more is still there to be answered.

        Over TCP one that has left looks the same as one that closed its sending side only, until something is
        sent to it: an interim response, which every client of HTTP/1.1 can read (RFC 9110, 15.2). The reset
        that comes back then shows in the state of the socket.
        """
        if self.transport.is_closing() or not (self._awaits_answer() or self._unfed):
            return
        if _gone(self.transport):
            self.transport.abort()
            return
        begun = bool(self.pipeline) or getattr(self.cycle, "response_started", False)
        if probed or begun or self._unfed or self.parser.get_http_version() == "1.0":
            self.loop.call_later(PROBE_AGAIN_SECONDS, self._look_for)
        else:
            self.transport.write(_CONTINUE)
            self.loop.call_later(PROBED_SECONDS, self._look_for, True)

    # ------------------------------------------------------------------ parsing

    def _parse(self, data: bytes) -> None:
        if self._unfed or len(self.pipeline) >= MAX_PIPELINED:
            self._hold(self._unfed + data)
        elif len(data) > SLICE_BYTES and data.count(HEAD_END) > MAX_IN_ONE_GO:
            self._parse_slices(data)
        else:
            self._feed(data)

    def _parse_slices(self, data: bytes) -> None:
        for at in range(0, len(data), SLICE_BYTES):
            if self.pipeline or self.flow.write_paused:
                self._hold(data[at:])
                return
            if not self._feed(data[at : at + SLICE_BYTES]) or self.transport.is_closing():
                return

    def _hold(self, data: bytes) -> None:
        self._unfed = data
        self.flow.pause_reading()
        self.flow.held = True

    def _go_on(self) -> None:
        """Parse what was held, now that what came before it is answered."""
        if not self._unfed or self.pipeline or self.flow.write_paused or self.transport.is_closing():
            return
        data, self._unfed = self._unfed, b""
        self.flow.held = False
        self._parse_slices(data)
        if self._unfed or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._ended and not self._ends_later():
            self.transport.close()

    def _feed(self, data: bytes) -> bool:
        """Let the parser read; False when nothing more is to be read on this connection."""
        while True:
            self._segment_bytes = len(data)
            self._head_bytes += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                declined = self._decline(data[offer.args[0] :])
                if declined is None:
                    return False
                data = declined
                continue
            except httptools.HttpParserError:
                self._refuse(400, "not a valid HTTP request")
                return False
            if self._head_bytes > MAX_HEAD_BYTES and not self._awaits_answer():
                self._refuse(431, "request trailers too large" if self._headed else "request head too large")
                return False
            if self._body_bytes and self._busy_since is not None:
                return self._count_body()
            return True

    def _count_body(self) -> bool:
        """The body goes on in another read: what is here of it takes its memory from that of all."""
        exchange = self.cycle
        if exchange.response_complete:
            return True
        grown = self._body_bytes - self._held.get(exchange, 0)
        if grown and not self.endpoint.limits.bodies.take(peer(self.client), grown):
            self._refuse(503, _NO_ROOM, _RETRY)
            return False
        self._held[exchange] = self._body_bytes
        return True

    def _let_go(self, exchange: object) -> None:
        """The body of an exchange is no longer kept."""
        size = self._held.pop(exchange, 0)
        if size:
            self.endpoint.limits.bodies.give(peer(self.client), size)

    def _awaits_answer(self) -> bool:
        """Whether the client has sent all of a request, and has no answer yet."""
        return self._busy_since is None and self.cycle is not None and not self.cycle.response_complete

    def _decline(self, rest: bytes) -> bytes | None:
        """What a request is without its offer to upgrade (RFC 9110, 7.8), and what came behind it."""
        kept = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        if len(kept) == len(self.headers):
            self._refuse(400, "tunnels are not supported")
            return None
        version = self.parser.get_http_version().encode()
        first = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)
        self._offered = False
        self.parser = self._new_parser()  # the one before reads nothing behind a last request
        return b"".join((first, *kept, b"\r\n", rest))

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
        self._body_bytes = 0

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
        version = self.parser.get_http_version()
        fields = dict(self.headers)
        problem = problem_of(self.headers, fields, version) or self._problem_of_length(fields)
        if problem is not None:
            self._refuse(*problem)
            raise _Refused
        keep_alive: bool | None = self.parser.should_keep_alive()
        if version == "1.0":
            self.expect_100_continue = False
            keep_alive = None if keep_alive else False
        handler = self.endpoint.paths.get(self.url)
        waiting = self.cycle is not None and not self.cycle.response_complete
        method = self.parser.get_method()
        if handler is None and (problem := problem_of_target(method, self.url)) is not None:
            self._refuse(*problem)
            raise _Refused
        if handler is None or waiting or method != b"POST":
            self._fall_back()
            if keep_alive is None:
                self.cycle.keep_alive = True
                self.cycle.default_headers = [*self.server_state.default_headers, _KEPT_FIELD]
            return
        self._handler = handler
        self._fields = fields
        self._fast = self.cycle = _Exchange(keep_alive)  # type: ignore[assignment]
        gate = self.endpoint.gate
        if gate is not None and (refusal := gate.refusal(fields, self.client)) is not None:
            if self.expect_100_continue:  # then nobody knows whether its body still comes
                self._fast.keep_alive = False
            self._send(self._fast, refusal)
        elif self.expect_100_continue:
            self.transport.write(_CONTINUE)

    def _problem_of_length(self, fields: Mapping[bytes, bytes]) -> Problem | None:
        """Why a body is refused before it is read."""
        length = fields.get(b"content-length")
        if length is None:
            return None
        size, limits = int(length), self.endpoint.limits  # the parser let nothing but digits through
        if size > limits.body_bytes:
            return 413, str(too_large(limits)), b""
        if size > SMALL_BODY_BYTES and not limits.bodies.fits(peer(self.client), size):
            return 503, _NO_ROOM, _RETRY
        return None

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
        self._body_bytes += len(body)
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
            fast.body = b""
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
        headers, handler = self._fields, self._handler
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
                return answer(handler, call, self.endpoint.limits, peer(self.client))
            return handler.one(call)
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
        # What routes to another process drives its own coroutine (driven) and gives what is under way.
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
        if self._held:
            self._let_go(fast)
        self._write(reply, fast.keep_alive)

    def _write(self, reply: Reply, keep_alive: bool | None) -> None:  # noqa: FBT001
        """Write an answer; None keeps the connection and says so, as HTTP/1.0 asks."""
        if self.transport.is_closing():
            return
        body = reply.body
        if reply.status == 200:
            length = reply.json_length
            head = DATED.ok_json if length is None else DATED.ok_binary % length
        else:
            head = _STATUS[reply.status] + DATED.line + content_headers(reply)
        if self.endpoint.draining:
            keep_alive = False
        if keep_alive:
            line = b"content-length: %d\r\n\r\n" % len(body)
        else:
            line = (_KEPT if keep_alive is None else _LAST) % len(body)
        if len(body) < JOIN_BYTES:
            self.transport.write(b"".join((head, reply.headers, line, body)))
        else:
            self.transport.writelines((head + reply.headers + line, body))
        if keep_alive is False:
            self.transport.close()
        elif self.pipeline or self.flow.read_paused or self._last_words is not None:
            self.on_response_complete()

    def on_response_complete(self) -> None:
        """As the base class, without a timer: idle connections are found by the sweep."""
        self.server_state.total_requests += 1
        self._idle_since = clock()
        if self._held:
            for exchange in [exchange for exchange in self._held if exchange.response_complete]:  # type: ignore[attr-defined]
                self._let_go(exchange)
        if self.transport.is_closing():
            return
        if self.endpoint.draining:
            self.transport.close()
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words is not None:
            self._say_last(self._last_words)
            return
        if not self.pipeline and not self.flow.write_paused:
            self.flow.resume_reading()
            if self._unfed:
                self.loop.call_soon(self._go_on)

    def pause_writing(self) -> None:
        """A client that does not read its answers is not asked for more requests."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()
        if self._unfed:
            self.loop.call_soon(self._go_on)

    def _refuse(self, status: int, message: str, lines: bytes = b"") -> None:
        """End the connection with an answer, behind those to the requests before it."""
        if self._deferred:
            self.turn.end()
        if self.transport.is_closing() or isinstance(self.transport.get_protocol(), _Lingerer):
            return
        if self._last_words is not None:
            return
        body = error_reply(InvalidInput(message)).body
        words = b"".join((_STATUS[status], DATED.line, _JSON, lines, _LAST % len(body), body))
        if self._receives_head():
            if self.cycle is not None and not self.cycle.response_complete:
                self._say_later(words)
                return
        elif self.cycle.response_complete or getattr(self.cycle, "response_started", False):
            self.transport.close()  # what was refused has its answer, or the beginning of it
            return
        elif self.pipeline:
            self.pipeline.popleft()  # it waits there itself
            self._say_later(words)
            return
        self._say_last(words)

    def _say_later(self, words: bytes) -> None:
        self._last_words = words
        self._busy_since = None
        self.flow.pause_reading()

    def _say_last(self, words: bytes) -> None:
        """Answer for the last time; the client may still be sending."""
        self.transport.write(words)
        if self.transport.can_write_eof():  # TLS has no half of a connection to close
            self.transport.write_eof()
        if self._fast is not None:
            self._fast.body = b""
        for exchange in list(self._held):
            self._let_go(exchange)
        if self.cycle is not None:  # an application that waits for the rest of the body waits in vain
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.set_protocol(_Lingerer(self, self.transport))
        self.flow.held = False
        self.transport.resume_reading()

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


def _gone(transport: asyncio.Transport) -> bool:
    """Whether the other end is closed both ways: seen at once of a Unix socket, of TCP once it said so."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), 0)  # errors and hang-ups are always told
    return bool(poll.poll(0))


async def sweep(connections: "set[Any]") -> None:
    """Enforce the time limits of all connections and renew the date, for ever; one timer for all of it."""
    while True:
        await asyncio.sleep(1.0)
        now = clock()
        DATED.renew()
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
