"""One connection of a door: inference is answered without an ASGI scope, all else by uvicorn's cycles.

Law: a request whose method is POST and whose path is one of `paths` is answered here; everything else,
and every request that had to wait behind another one on its connection, goes to the ASGI application
(`serving.http.asgi`), which ends in the same handler. Answers leave in the order of their requests. Nothing
is kept without a bound: bodies, heads, trailers and idle or trickling connections all have limits; those in
time are enforced by one sweep a second. How bytes become requests is the law of `request_reader`.

A segment that is exactly one request, whose head was met before (`serving.http.plain_heads`), on a connection
that owes no answer and whose reader is at rest, is not parsed: the reader would find the same in it. Requests
may be answered together with others of the same turn of the event loop (`serving.http.turn_batch`); whatever
else happens to a connection until then ends the turn first.

Errors become responses in one place, `error_reply`; requests reach their handlers in one place, `_ask`.
"""

import asyncio
import select
from collections import deque
from collections.abc import Awaitable, Coroutine, Mapping
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from serving.admission.bodies import SMALL_BODY_BYTES, no_room
from serving.admission.gate import peer
from serving.clock import clock
from serving.errors import ClientTooSlow, InvalidInput, ServingError
from serving.http.asgi import Applications, Ends, not_kept
from serving.http.codings import answer, is_coded
from serving.http.endpoint import Endpoint
from serving.http.plain_heads import HEAD_END, PlainHeads, Problem, problem_of_target
from serving.http.replies import DATED, JSON, STATUS, content_headers, error_reply, too_large
from serving.http.request_reader import RequestHead, RequestReader
from serving.http.turn_batch import Turn
from serving.wire.handler import Handler
from serving.wire.message import Call, Outcome, Reply
from serving.wire.request_id import REQUEST_ID, request_id

JOIN_BYTES = 256 * 1024
"""A smaller body is copied behind its head, which is cheaper than a second buffer for the kernel."""
MAX_PIPELINED = 100
"""Requests that wait behind another one on their connection; what comes behind them is not parsed yet."""
SLICE_BYTES = 4096
"""Pipelined requests are read in pieces of this size, between which it is seen whether they pile up."""
MAX_IN_ONE_GO = 16
"""Requests in what one read gave; more are read in slices."""
LINGER_SECONDS = 2.0
PROBE_SECONDS, PROBED_SECONDS, PROBE_AGAIN_SECONDS = 0.25, 0.05, 1.0
"""When a client that sends no more, and waits for its answer, is looked for: first, once probed, and then."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_KEPT = b"content-length: %d\r\nconnection: keep-alive\r\n\r\n"
_LAST = b"content-length: %d\r\nconnection: close\r\n\r\n"


class _Exchange:
    """One request that is answered here, in the place of a cycle with the application.

    Attributes:
        body: what has come of it.
        fields: of the head, of a repeated one the last; not set where the head was remembered.
        handler: whose it is; likewise.
        keep_alive: None keeps the connection and says so, as HTTP/1.0 asks.
        echo: the line of the answer with the request's id; empty where it has none.
        response_complete: the answer is written.
    """

    __slots__ = ("body", "echo", "fields", "handler", "keep_alive", "response_complete")
    fields: Mapping[bytes, bytes]
    handler: Handler
    response_started = False  # an answer is written in one go

    def __init__(self, keep_alive: bool | None) -> None:  # noqa: FBT001
        self.body: bytes | bytearray = b""
        self.keep_alive = keep_alive
        self.echo = b""
        self.response_complete = False


Exchange = _Exchange | RequestResponseCycle


class _Flow(FlowControl):
    """Reading stays paused while bytes are held that the reader has not seen."""

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


class Connection(asyncio.Protocol):
    """One connection; the class is bound to an application by `protocol_of`.

    Args:
        config: uvicorn's, with the ASGI application.
        server_state: uvicorn's, which knows all connections of the process.
        app_state: what the application's lifespan left.
    """

    endpoint: Endpoint
    heads: PlainHeads
    turn: Turn
    applications: Applications | None = None
    """Of all connections of the server, whose first one makes it."""

    transport: asyncio.Transport
    flow: _Flow
    _ends: Ends

    _exchange: Exchange | None = None  # of the last request whose head was read; it may wait in `_pipeline`
    _receiving: Exchange | None = None  # the same, while its body is being received
    _deferred = False  # an answer to the end of this turn
    _task: "asyncio.Future[Reply] | None" = None
    _version = "1.1"  # of HTTP, as the client speaks it
    _echo = b""  # the line with the id of the request that is being read, once its head is there
    _busy_since: float | None = None  # when the head of an unfinished request began to arrive
    _idle_since: float = 0.0
    _body_bytes = 0
    _unfed = b""  # came in, and waits until what came before it is answered
    _ended = False  # the client closed its sending side
    _last_words: bytes | None = None  # to be said when all before is answered; then the connection ends
    _last_head = b""  # at the beginning of the last segment that began a message

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], **_: Any
    ) -> None:  # uvicorn's own server gives its loop too
        if self.applications is None:
            type(self).applications = Applications(config, server_state, app_state)
        assert self.applications is not None
        self._applications = self.applications
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(self)
        self._pipeline: deque[RequestResponseCycle] = deque()
        self._held: dict[Exchange, int] = {}  # of the bodies budget

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        self.transport = transport
        self.flow = _Flow(transport)
        self._ends = Ends.of(transport)
        self._state.connections.add(self)  # type: ignore[arg-type]
        self._idle_since = clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more: an application that waits is told, a handler that runs is cancelled."""
        self._unfed = b""
        if self._task is not None:
            self._task.cancel()
        self._state.connections.discard(self)
        self._part_with_application()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        for exchange in list(self._held):
            self._let_go(exchange)

    def _part_with_application(self) -> None:
        """An application that waits for the rest of the body, or to write, waits in vain."""
        cycle = self._exchange
        if isinstance(cycle, RequestResponseCycle):
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the other end."""
        return self._ends.client

    # ------------------------------------------------------------------ receiving

    def data_received(self, data: bytes) -> None:
        """Answer what is a known head and a whole body, and read all else."""
        if self._deferred:
            self.turn.end()
        if self._busy_since is None and self.endpoint.gate is None:  # a gate looks at every head itself
            end = data.find(HEAD_END) + len(HEAD_END)
            raw = data[:end]
            head = self.heads.get(raw)
            if head is not None and len(data) == end + head.body_bytes:
                handler = self.endpoint.paths.get(head.path)
                exchange = self._exchange
                if handler is not None and (exchange is None or exchange.response_complete):
                    call = Call(head.headers, data[end:], clock())
                    self._idle_since = call.arrived
                    self._deferred = True
                    if not self.turn.defer(handler, call, self._conclude):
                        self._conclude(call, self._ask(handler, call))
                    return
            elif raw == self._last_head:
                self.heads.learn(raw)
            else:
                self._last_head = raw
        self._read(data)

    def eof_received(self) -> bool:
        """The client sends no more; what it is owed leaves before the connection is closed.

        Over TLS the event loop closes all the same.
        """
        if self._deferred:
            self.turn.end()
        self._ended = True
        if not self._ends_later() or _gone(self.transport):
            return False
        self._loop.call_later(PROBE_SECONDS, self._look_for)
        return True

    def _ends_later(self) -> bool:
        """Whether something is owed to a client that sends no more; its last answer ends the connection."""
        if self.transport.is_closing() or isinstance(self.transport.get_protocol(), _Lingerer):
            return False
        if self._unfed or self._last_words is not None:
            return True
        if self._busy_since is not None:
            self._turn_away(InvalidInput("the client sent no more before its request was whole"))
            return self._last_words is not None
        exchange = self._awaited()
        if exchange is None:
            return False
        exchange.keep_alive = False
        if isinstance(exchange, RequestResponseCycle):
            exchange.default_headers = not_kept(exchange.default_headers)
        return True

    def _look_for(self, probed: bool = False) -> None:  # noqa: FBT001, FBT002
        """Find out whether a client that sends no more is still there to be answered.

        Over TCP one that has left looks the same as one that closed its sending side only, until something is
        sent to it: an interim response, which every client of HTTP/1.1 can read (RFC 9110, 15.2). The reset
        that comes back then shows in the state of the socket.
        """
        exchange = self._awaited()
        if self.transport.is_closing() or (exchange is None and not self._unfed):
            return
        if _gone(self.transport):
            self.transport.abort()
            return
        begun = bool(self._pipeline) or (exchange is not None and exchange.response_started)
        if probed or begun or self._unfed or self._version == "1.0":
            self._loop.call_later(PROBE_AGAIN_SECONDS, self._look_for)
        else:
            self.transport.write(_CONTINUE)
            self._loop.call_later(PROBED_SECONDS, self._look_for, True)

    # ------------------------------------------------------------------ reading

    def _read(self, data: bytes) -> None:
        if self._unfed or len(self._pipeline) >= MAX_PIPELINED:
            self._hold(self._unfed + data)
        elif len(data) > SLICE_BYTES and data.count(HEAD_END) > MAX_IN_ONE_GO:
            self._read_slices(data)
        else:
            self._feed(data)

    def _read_slices(self, data: bytes) -> None:
        for at in range(0, len(data), SLICE_BYTES):
            if self._pipeline or self.flow.write_paused:
                self._hold(data[at:])
                return
            self._feed(data[at : at + SLICE_BYTES])
            if self._reader.over or self.transport.is_closing():
                return

    def _hold(self, data: bytes) -> None:
        self._unfed = data
        self.flow.pause_reading()
        self.flow.held = True

    def _go_on(self) -> None:
        """Read what was held, now that what came before it is answered."""
        if not self._unfed or self._pipeline or self.flow.write_paused or self.transport.is_closing():
            return
        data, self._unfed = self._unfed, b""
        self.flow.held = False
        self._read_slices(data)
        if self._unfed or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._ended and not self._ends_later():
            self.transport.close()

    def _feed(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._body_bytes and self._receiving is not None and not self._reader.over:
            self._count_body(self._receiving)

    def _count_body(self, exchange: Exchange) -> None:
        """The body goes on in another read: what is here of it takes its memory from that of all."""
        if exchange.response_complete:
            return
        grown = self._body_bytes - self._held.get(exchange, 0)
        if grown and not self.endpoint.limits.bodies.take(peer(self.client), grown):
            self._turn_away(no_room())
            return
        self._held[exchange] = self._body_bytes

    def _let_go(self, exchange: Exchange) -> None:
        """The body of an exchange is no longer kept."""
        size = self._held.pop(exchange, 0)
        if size:
            self.endpoint.limits.bodies.give(peer(self.client), size)

    def _awaited(self) -> Exchange | None:
        """The exchange whose request is whole, and which has no answer yet."""
        exchange = self._exchange
        return exchange if self._busy_since is None and _is_open(exchange) else None

    # ------------------------------------------------------------------ told by the reader

    def begun(self) -> None:
        """A request begins to arrive."""
        if self._deferred:
            self.turn.end()
        self._receiving = None
        self._busy_since = clock()
        self._body_bytes = 0
        self._echo = b""

    def head(self, head: RequestHead) -> bool:
        """Its head is there: who is to answer it. False if nothing more is to be read."""
        if self.transport.is_closing():  # the request before was the last
            return False
        self._version = head.version
        if id_ := request_id(head.fields):
            self._echo = b"%b: %b\r\n" % (REQUEST_ID, id_)
        handler = self.endpoint.paths.get(head.target)
        failure = self._failure_of_length(head.fields)
        if failure is not None:
            if handler is not None and head.method == b"POST":
                self._tell(handler, head.fields, failure)
            self._turn_away(failure)
            return False
        if handler is None and (problem := problem_of_target(head.method, head.target)) is not None:
            self.fault(problem)
            return False
        if handler is None or _is_open(self._exchange) or head.method != b"POST":
            return self._begin_cycle(head)
        self._exchange = self._receiving = exchange = _Exchange(head.keep_alive)
        exchange.fields, exchange.handler, exchange.echo = head.fields, handler, self._echo
        gate = self.endpoint.gate
        if gate is not None and (refusal := gate.refusal(head.fields, self.client)) is not None:
            if head.expects:  # then nobody knows whether its body still comes
                exchange.keep_alive = False
            self._send_refusal(exchange, refusal)
        elif head.expects:
            self.transport.write(_CONTINUE)
        return True

    def _failure_of_length(self, fields: Mapping[bytes, bytes]) -> ServingError | None:
        """Why a body is refused before it is read."""
        length = fields.get(b"content-length")
        if length is None:
            return None
        size, limits = int(length), self.endpoint.limits  # the parser let nothing but digits through
        if size > limits.body_bytes:
            return too_large(limits)
        if size > SMALL_BODY_BYTES and not limits.bodies.fits(peer(self.client), size):
            return no_room()
        return None

    def _begin_cycle(self, head: RequestHead) -> bool:
        """Give a request to the application, behind those that wait for an answer."""
        try:
            cycle = self._applications.cycle(head, self._ends, self.transport, self.flow, self._responded)
        except ValueError:
            self._turn_away(InvalidInput("not a valid HTTP request"))
            return False
        waits = _is_open(self._exchange)
        self._exchange = self._receiving = cycle
        if waits:
            self.flow.pause_reading()
            self._pipeline.append(cycle)
        else:
            self._applications.start(cycle)
        return True

    def piece(self, piece: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(piece)
        exchange = self._receiving
        if exchange is None or exchange.response_complete:
            return
        if isinstance(exchange, RequestResponseCycle):
            exchange.body += piece
            if len(exchange.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            exchange.message_event.set()
        else:
            self._keep(exchange, piece)

    def _keep(self, exchange: _Exchange, piece: bytes) -> None:
        if not exchange.body:
            exchange.body = piece
        else:
            if not isinstance(exchange.body, bytearray):
                exchange.body = bytearray(exchange.body)
            exchange.body += piece
        if len(exchange.body) > self.endpoint.limits.body_bytes:
            exchange.body = b""
            self._send_refusal(exchange, too_large(self.endpoint.limits))

    def ended(self) -> None:
        """The request is whole."""
        self._busy_since = None
        exchange, self._receiving = self._receiving, None
        if exchange is None or exchange.response_complete:
            return
        if isinstance(exchange, RequestResponseCycle):
            exchange.more_body = False
            exchange.message_event.set()
            return
        handler = exchange.handler
        call = Call(exchange.fields, exchange.body, clock())  # type: ignore[arg-type]
        coded = is_coded(exchange.fields)
        self._deferred = True
        if coded or not self.turn.defer(handler, call, partial(self._conclude, exchange=exchange)):
            self._conclude(call, self._ask(handler, call, coded), exchange)

    def fault(self, problem: Problem) -> None:
        """The client does not speak HTTP as it is spoken here."""
        status, words, lines = problem
        self._refuse(Reply(status, error_reply(InvalidInput(words)).body, None, lines))

    # ------------------------------------------------------------------ answering

    def _ask(self, handler: Handler, call: Call, coded: bool = False) -> "Reply | Awaitable[Reply]":  # noqa: FBT001, FBT002
        """What every request on the short path passes through, whether its head was read or remembered."""
        try:
            if coded:
                return answer(handler, call, self.endpoint.limits, peer(self.client))
            return handler.one(call)
        except Exception as error:  # noqa: BLE001  (the one place where errors become responses)
            return error_reply(error, call.error_headers)

    def _conclude(self, call: Call, outcome: Outcome, exchange: _Exchange | None = None) -> None:
        """Answer a request; one whose head was remembered has no exchange, unless it takes longer."""
        self._deferred = False
        if type(outcome) is Reply:
            reply = outcome
        elif isinstance(outcome, Exception):
            reply = error_reply(outcome, call.error_headers)
        else:
            if exchange is None:
                self._exchange = exchange = _Exchange(True)
            self._answer_later(exchange, call, outcome)  # type: ignore[arg-type]
            return
        if exchange is None:
            self._write(reply, True)
        else:
            self._send(exchange, reply)

    def _answer_later(self, exchange: _Exchange, call: Call, outcome: Coroutine[Any, Any, Reply]) -> None:
        # What routes to another process drives its own coroutine (driven) and gives what is under way.
        task: Any = outcome if asyncio.isfuture(outcome) else self._loop.create_task(outcome)
        self._task = task
        task.add_done_callback(lambda done: self._finished(exchange, call, done))

    def _finished(self, exchange: _Exchange, call: Call, task: "asyncio.Future[Reply]") -> None:
        self._task = None
        if task.cancelled():
            if not self.transport.is_closing():
                self.transport.close()
            return
        error = task.exception()
        reply = task.result() if error is None else error_reply(error, call.error_headers)
        self._send(exchange, reply)

    def _send(self, exchange: _Exchange, reply: Reply) -> None:
        exchange.response_complete = True
        self._idle_since = clock()
        if self._held:
            self._let_go(exchange)
        self._write(reply, exchange.keep_alive, exchange.echo)

    def _send_refusal(self, exchange: _Exchange, failure: ServingError) -> None:
        """Answer a request that its handler is not asked."""
        self._tell(exchange.handler, exchange.fields, failure)
        self._send(exchange, error_reply(failure))

    def _tell(self, handler: Handler, fields: Mapping[bytes, bytes], failure: ServingError) -> None:
        """What is being received is refused: its handler hears of it."""
        assert self._busy_since is not None
        handler.refused(Call(fields, b"", self._busy_since), failure)

    def _write(self, reply: Reply, keep_alive: bool | None, echo: bytes = b"") -> None:  # noqa: FBT001
        """Write an answer; None keeps the connection and says so, as HTTP/1.0 asks."""
        if self.transport.is_closing():
            return
        body = reply.body
        if reply.status == 200:
            length = reply.json_length
            head = DATED.ok_json if length is None else DATED.ok_binary % length
        else:
            head = STATUS[reply.status] + DATED.line + content_headers(reply)
        if self.endpoint.draining:
            keep_alive = False
        if keep_alive:
            line = b"content-length: %d\r\n\r\n" % len(body)
        else:
            line = (_KEPT if keep_alive is None else _LAST) % len(body)
        if len(body) < JOIN_BYTES:
            self.transport.write(b"".join((head, echo, reply.headers, line, body)))
        else:
            self.transport.writelines((head + echo + reply.headers + line, body))
        if keep_alive is False:
            self.transport.close()
        elif self._pipeline or self.flow.read_paused or self._last_words is not None:
            self._responded()

    def _responded(self) -> None:
        """An answer has left: go on with what waited for that."""
        self._state.total_requests += 1
        self._idle_since = clock()
        if self._held:
            for exchange in [exchange for exchange in self._held if exchange.response_complete]:
                self._let_go(exchange)
        if self.transport.is_closing():
            return
        if self.endpoint.draining:
            self.transport.close()
            return
        if self._pipeline:
            self._applications.start(self._pipeline.popleft())
        elif self._last_words is not None:
            self._say_last(self._last_words)
            return
        if not self._pipeline and not self.flow.write_paused:
            self.flow.resume_reading()
            if self._unfed:
                self._loop.call_soon(self._go_on)

    def pause_writing(self) -> None:
        """A client that does not read its answers is not asked for more requests."""
        self.flow.pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self.flow.resume_writing()
        self.flow.resume_reading()
        if self._unfed:
            self._loop.call_soon(self._go_on)

    def _turn_away(self, failure: ServingError) -> None:
        self._refuse(error_reply(failure), failure)

    def _refuse(self, reply: Reply, failure: ServingError | None = None) -> None:
        """End the connection with an answer, behind those to the requests before it.

        Args:
            reply: to what is being received.
            failure: what it says, for the handler of a request whose head was read.
        """
        if self._deferred:
            self.turn.end()
        self._reader.over = True
        if self.transport.is_closing() or isinstance(self.transport.get_protocol(), _Lingerer):
            return
        if self._last_words is not None:
            return
        head = (STATUS[reply.status], DATED.line, JSON, self._echo, reply.headers)
        words = b"".join((*head, _LAST % len(reply.body), reply.body))
        refused = self._receiving
        if refused is None:  # its head is not read, or says what is wrong
            if _is_open(self._exchange):
                self._say_later(words)
                return
        elif refused.response_complete or refused.response_started:
            self.transport.close()  # what was refused has its answer, or the beginning of it
            return
        elif self._pipeline:
            self._pipeline.pop()  # it waits there itself
            self._say_later(words)
            return
        elif failure is not None and isinstance(refused, _Exchange):
            self._tell(refused.handler, refused.fields, failure)
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
        if isinstance(self._receiving, _Exchange):
            self._receiving.body = b""
        for exchange in list(self._held):
            self._let_go(exchange)
        self._part_with_application()
        self.transport.set_protocol(_Lingerer(self, self.transport))
        self.flow.held = False
        self.transport.resume_reading()

    # ------------------------------------------------------------------ limits

    def overdue(self, now: float) -> None:
        """Called once a second: close a connection that trickles, idles, or leaves its answers unread."""
        limits = self.endpoint.limits
        if self.transport.is_closing():
            if now - self._idle_since > limits.idle_seconds + limits.receive_seconds:
                self.transport.abort()
        elif self._busy_since is not None:
            if now - self._busy_since > limits.receive_seconds and not self._awaits_us():
                self._turn_away(ClientTooSlow("request not received in time"))
        elif not _is_open(self._exchange) and now - self._idle_since > limits.idle_seconds:
            self.transport.close()

    def _awaits_us(self) -> bool:
        """Whether the rest of a request waits for our answer to the one before it."""
        return self.flow.read_paused and (self._task is not None or bool(self._pipeline))

    def shutdown(self) -> None:
        """Called by uvicorn: close now what idles; what is under way says so when it answers."""
        if self._deferred:
            self.turn.end()
        exchange = self._exchange
        if exchange is None or (exchange.response_complete and self._busy_since is None):
            self.transport.close()
        else:
            exchange.keep_alive = False


def protocol_of(endpoint: Endpoint) -> type[Connection]:
    """The protocol class for `uvicorn.Config(http=...)`, bound to one application."""

    class Bound(Connection):
        pass

    Bound.endpoint = endpoint
    Bound.heads = PlainHeads(endpoint.limits.body_bytes)
    Bound.turn = Turn()
    return Bound


def _is_open(exchange: Exchange | None) -> bool:
    """Whether an answer is owed."""
    return exchange is not None and not exchange.response_complete


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
        DATED.renew()  # at once: a process may have been forked long after its imports
        await asyncio.sleep(1.0)
        now = clock()
        for connection in list(connections):
            connection.overdue(now)
