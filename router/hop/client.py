"""A pooled HTTP/1.1 client for the router's hop to sandboxes and URL targets.

Framing law (RFC 9112): a reply is whole, or it is an error.
- A reply ends at its content-length, at its last chunk or, having neither, when the target closes. Cut
  short, two lengths, a coding other than chunked, bytes after the end, or above the limits: BadGateway.
  1xx replies are skipped; trailers are dropped, and end a reply where there are more than 64 KiB.
- A connection carries one request at a time. It is used again only after a whole HTTP/1.1 reply without
  `connection: close` to a wholly sent request; a request given up takes its connection with it. So late
  bytes never reach another request.
- A used connection found closed before the first byte of a reply is no answer at all: that request, and
  inference is safe to repeat, goes once more over a fresh connection. Nothing else is sent twice.

Costs: a request is one future and one write; no task, no timer. A reply that is one whole segment, whose
head came before byte for byte, is not parsed (`KnownHeads`). One sweep, when the next
deadline or idle time is over but at most every `SWEEP_SECONDS`, fails what is late and closes idle
connections, both up to that much late.

Longer than most files, since the law above is kept by reader, connection and pool together.
"""

import asyncio
import math
import os
import re
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import NamedTuple

from httptools import HttpParserError, HttpResponseParser

from router.hop.driven import Signal
from serving.errors import BadGateway, DeadlineExceeded, InvalidInput, ServingError, Unavailable
from serving.wire.known_heads import KnownHeads

SWEEP_SECONDS = 0.025
MAX_HEAD_BYTES = 64 * 1024
"""Of a reply: its head and those of interim replies; what chunks add to the body counts to its limit."""
JOIN_BYTES = 64 * 1024
"""A smaller body is copied behind its head, which is cheaper than a second buffer for the kernel."""

MAX_KNOWN_HEADS = 256
MAX_KNOWN_HEAD_BYTES = 4096
"""Of one head. With `MAX_KNOWN_HEADS` this bounds what a pool keeps to 1 MiB."""

_HEAD_END = b"\r\n\r\n"
_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<prefix>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
)

Body = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Address:
    """Where a target listens: a Unix socket or, when `socket` is None, a host and port.

    Attributes:
        socket: path of the Unix socket.
        host: name or address, without brackets.
        port: of TCP; 0 with a socket.
        tls: whether the target speaks HTTPS.
        prefix: what stands before every request path, without a slash at its end.
    """

    socket: str | None
    host: str
    port: int
    tls: bool
    prefix: str

    @classmethod
    def of_url(cls, url: str) -> "Address":
        """Read `http[s]://host[:port][/prefix]`, ASCII only.

        Raises:
            InvalidInput: it is anything else. The text does not repeat the URL, which may hold a password.
        """
        found = _URL.fullmatch(url)
        if found is None:
            raise InvalidInput("a URL is http[s]://host[:port][/prefix], without user, query or fragment")
        tls = found["scheme"] == "https"
        port = int(found["port"] or (443 if tls else 80))
        try:
            host = str(IPv6Address(found["v6"])) if found["v6"] else found["name"]
            host.encode("idna")
        except ValueError:
            raise InvalidInput("the URL's host is no name or address") from None
        if not 0 < port < 65536:
            raise InvalidInput(f"the URL's port is {port}; expected 1 to 65535")
        return cls(None, host, port, tls, (found["prefix"] or "").rstrip("/"))

    @classmethod
    def of_socket(cls, path: str) -> "Address":
        """The Unix socket at `path`."""
        return cls(path, "localhost", 0, tls=False, prefix="")

    @property
    def host_header(self) -> str:
        """The value of the Host header: the port is left out where the scheme implies it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in {0, 443 if self.tls else 80} else f"{host}:{self.port}"


class ClientReply(NamedTuple):
    """A whole reply.

    Attributes:
        status: 200 to 599.
        headers: names in lower case; repeated ones joined by `, ` (RFC 9110, 5.3).
        body: all of it, without chunked coding; any content coding is left as it came.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What a head said that came twice in a row on a connection: status 200, and a body of so many bytes.

    Only a reply that ends by its content-length and leaves its connection open has one; one that differs each
    time is never remembered.
    """

    headers: dict[bytes, bytes]
    body_bytes: int


def known_heads() -> KnownHeads[ReplyHead]:
    """A cache of the heads that one target repeats."""
    return KnownHeads(MAX_KNOWN_HEADS, MAX_KNOWN_HEAD_BYTES)


class ReplyReader:
    """The framing law as a parser without I/O: bytes in, one whole reply out; then `begin` again.

    Args:
        known: heads that need no parsing; shared by the connections to one target. None shares nothing.

    Attributes:
        received: bytes since `begin`.
        reusable: after a reply, whether its connection may carry another request.
        until_close: whether the reply under way ends when the target closes.
    """

    __slots__ = (
        "_body",
        "_complete",
        "_headed",
        "_headers",
        "_known",
        "_label",
        "_last_head",
        "_limit",
        "_max_reply_bytes",
        "_parser",
        "_reply_headers",
        "_status",
        "_unkept_bytes",
        "received",
        "reusable",
        "until_close",
    )

    def __init__(self, label: str, max_reply_bytes: int, known: KnownHeads[ReplyHead] | None = None) -> None:
        self._label = label
        self._known = known_heads() if known is None else known
        self._last_head = b""
        self._max_reply_bytes = max_reply_bytes
        self._parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Expect a reply."""
        self.received = 0
        self.reusable = self.until_close = self._complete = False
        self._headed = False
        self._unkept_bytes = 0
        self._limit = MAX_HEAD_BYTES
        self._body: bytes | bytearray = b""

    def feed(self, data: bytes) -> ClientReply | None:
        """Take what arrived; the reply once it is whole.

        Raises:
            BadGateway: the bytes break the law; the reader is of no further use.
        """
        if self.received:
            return self._parse(data)
        end = data.find(_HEAD_END) + len(_HEAD_END)
        raw = data[:end]
        known = self._known.get(raw)
        if known is not None and len(data) == end + known.body_bytes:
            self.received = len(data)
            self.reusable = True
            return ClientReply(200, known.headers, data[end:])
        reply = self._parse(data)
        if reply is not None and raw != self._last_head:
            self._last_head = raw
        elif reply is not None and self.reusable and reply.status == 200 and self._framed(end, len(data)):
            self._known.learn(raw, ReplyHead(reply.headers, len(data) - end))
        return reply

    def _framed(self, end: int, size: int) -> bool:
        """Whether the reply was one head, up to `end`, and a body of the length that it announced."""
        headers = self._reply_headers
        length = headers.get(b"content-length", b"")
        return b"transfer-encoding" not in headers and length.isdigit() and end + int(length) == size

    def _parse(self, data: bytes) -> ClientReply | None:
        self.received += len(data)
        self._unkept_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if isinstance(error.__context__, BadGateway):  # raised by one of the callbacks below
                raise error.__context__ from None
            raise self._bad(f"not a valid HTTP reply: {error}") from None
        if self._complete:
            return self._reply()
        if self.received > self._limit:
            raise self._too_large()
        if self._headed and self._unkept_bytes > MAX_HEAD_BYTES:
            raise self._bad(f"more than {MAX_HEAD_BYTES} bytes of trailers or of one chunk's extensions")
        return None

    def end(self) -> ClientReply:
        """The target closed: the reply that ends so.

        Raises:
            BadGateway: the reply under way is cut short.
        """
        if not self.until_close:
            raise self._bad(f"reply cut short after {self.received} bytes")
        return self._reply()

    def _reply(self) -> ClientReply:
        return ClientReply(self._status, self._reply_headers, bytes(self._body))

    def _bad(self, reason: str) -> BadGateway:
        return BadGateway(f"{self._label}: {reason}")

    def _too_large(self) -> BadGateway:
        return self._bad(f"reply larger than {self._limit} bytes")

    # ------------------------------------------------------------------ called by the parser

    def on_message_begin(self) -> None:
        """A reply, an interim one, or what must not be there."""
        if self._complete:
            raise self._bad("bytes after the end of the reply")
        self._headers: dict[bytes, bytes] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a trailer is dropped."""
        if self._headed:
            return
        name, headers = name.lower(), self._headers
        headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        """Decide how the body ends."""
        self._status = status = self._parser.get_status_code()
        headers = self._reply_headers = self._headers
        if status < 200:
            if status < 100 or status == 101:
                raise self._bad(f"unexpected status {status}")
            return
        if status > 599:
            raise self._bad(f"unexpected status {status}")
        self._headed = True
        self._unkept_bytes = 0
        self._limit = MAX_HEAD_BYTES + self._max_reply_bytes
        if b"transfer-encoding" in headers:
            if headers[b"transfer-encoding"].lower() != b"chunked":
                raise self._bad("reply in an unknown transfer coding")
        elif b"content-length" not in headers:
            self.until_close = status not in {204, 304}

    def on_body(self, body: bytes) -> None:
        """A piece of the body, of any size above 0."""
        self._unkept_bytes = 0
        if len(self._body) + len(body) > self._max_reply_bytes:
            self._limit = self._max_reply_bytes
            raise self._too_large()
        if not self._body:
            self._body = body
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += body

    def on_chunk_header(self) -> None:
        """The size of a chunk, with its extensions, which are not kept."""
        self._unkept_bytes = 0

    def on_message_complete(self) -> None:
        """The end of a reply, or of an interim one."""
        if self._status >= 200:
            self._complete = True
            parser = self._parser
            self.reusable = parser.should_keep_alive() and (
                b"connection" not in self._reply_headers or parser.get_http_version() == "1.1"
            )


class _Exchange(Signal[ClientReply]):
    """One request and the future of its reply; cancelling it aborts its connection at once."""

    __slots__ = ("connection", "deadline", "parts", "pool")

    def __init__(self, pool: "Pool", parts: tuple[Body, ...], deadline: float) -> None:
        super().__init__(pool.loop)
        self.pool = pool
        self.parts = parts
        self.deadline = deadline
        self.connection: _Connection | None = None  # none: it waits for one, or is over

    def cancel(self, msg: object = None) -> bool:
        """As a future's."""
        if not super().cancel(msg):
            return False
        self.pool.abandon(self)
        self.tell()
        return True

    def answer(self, reply: ClientReply) -> None:
        """The reply is whole."""
        self.set_result(reply)
        self.tell()

    def refuse(self, error: ServingError) -> None:
        """There will be none."""
        self.set_exception(error)
        self.tell()


class _Connection(asyncio.Protocol):
    """One connection, which in its life is connecting, busy with an exchange, or idle."""

    __slots__ = ("connecting", "exchange", "idle_since", "pool", "reader", "transport", "used")

    def __init__(self, pool: "Pool", exchange: _Exchange) -> None:
        self.pool = pool
        self.reader = ReplyReader(pool.label, pool.max_reply_bytes, pool.known_heads)
        self.transport: asyncio.Transport | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.exchange: _Exchange | None = exchange
        self.idle_since = 0.0
        self.used = False
        exchange.connection = self

    def start(self, exchange: _Exchange) -> None:
        """Send a request over this idle connection."""
        self.exchange = exchange
        exchange.connection = self
        self.reader.begin()
        self._send(exchange)

    def _send(self, exchange: _Exchange) -> None:
        assert self.transport is not None
        if len(exchange.parts) == 1:
            self.transport.write(exchange.parts[0])
        else:
            self.transport.writelines(exchange.parts)

    def detach(self) -> _Exchange | None:
        """Part connection and exchange, so that neither can reach the other again."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.connection = None
        return exchange

    def fail(self, error: ServingError) -> None:
        """Close, and answer what is under way with an error."""
        exchange = self.detach()
        self.pool.drop(self)
        if exchange is not None:
            exchange.refuse(error)

    def abort(self) -> None:
        """Close now, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()
        elif self.connecting is not None:
            self.connecting.cancel()

    # ------------------------------------------------------------------ called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        if self.exchange is None:
            transport.abort()  # given up while connecting
        else:
            self._send(self.exchange)

    def data_received(self, data: bytes) -> None:
        if self.exchange is None:
            self.pool.drop(self)  # nobody asked
            return
        try:
            reply = self.reader.feed(data)
        except BadGateway as error:
            self.fail(error)
            return
        if reply is not None:
            self._answer(reply)

    def eof_received(self) -> None:
        """The transport closes itself next; only here is the end known to be a clean one."""
        if self.exchange is None:
            self.pool.drop(self)
        elif self.reader.until_close:
            self._answer(self.reader.end())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (both kinds of end count alike)
        if self.exchange is None:
            self.pool.drop(self)
        elif self.reader.received:
            self.fail(BadGateway(f"{self.pool.label}: reply cut short after {self.reader.received} bytes"))
        elif self.used:
            self.pool.reconnect(self)
        else:
            self.fail(Unavailable(f"{self.pool.label}: closed the connection without a reply"))

    def _answer(self, reply: ClientReply) -> None:
        exchange = self.detach()
        assert exchange is not None
        assert self.transport is not None
        self.used = True
        # A reply that overtakes its request leaves a connection whose next bytes would be the old body.
        if self.reader.reusable and not self.transport.get_write_buffer_size():
            self.pool.release(self)
        else:
            self.pool.drop(self)
        exchange.answer(reply)


class Pool:
    """Connections to one target; made and used inside one running event loop.

    At most `max_connections` are open; up to four times as many requests wait for one in their order.
    The connection that was used last is used next, so that those not needed grow old and are closed.

    Args:
        address: where the target listens.
        label: how errors name the target.
        max_connections: open at a time, busy and idle.
        max_reply_bytes: of a reply's body.
        idle_seconds: after which an idle connection is closed; below any usual server's keep-alive.
        connect_seconds: for a connection to be made over a network, TLS included. On this machine it is there
            at once, or refused: only this process may be late to see it, and so the request's own time holds.
        server_name: that a certificate has to be for, over HTTPS; None for the host.

    Attributes:
        tls: of the connections that are made from now on; None over HTTP.
    """

    def __init__(
        self,
        address: Address,
        label: str,
        *,
        max_connections: int = 64,
        max_reply_bytes: int = 64 << 20,
        idle_seconds: float = 4.0,
        connect_seconds: float = 1.0,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.label = label
        self.max_reply_bytes = max_reply_bytes
        self.known_heads = known_heads()
        self._address = address
        self._max_connections = max_connections
        self._idle_seconds = idle_seconds
        self._connect_seconds = connect_seconds
        self.tls = tls or (ssl.create_default_context() if address.tls else None)
        self._server_name = server_name or address.host if address.tls else None
        self._post = f"POST {address.prefix}".encode()
        self._get = f"GET {address.prefix}".encode()
        self._tail = f" HTTP/1.1\r\nhost: {address.host_header}\r\n".encode()
        self._connections: set[_Connection] = set()  # each holds one of the slots
        self._idle: deque[_Connection] = deque()  # those of them without an exchange, longest idle first
        self._waiting: deque[_Exchange] = deque()  # empty while there is a free slot or an idle connection
        self._timer: asyncio.TimerHandle | None = None
        self._sweep_at = math.inf  # when the timer is to go off
        self._closed = False

    def post(self, path: bytes, headers: bytes, body: Body, deadline: float) -> asyncio.Future[ClientReply]:
        """Send a request that is safe to repeat; cancel the future to give it up.

        Args:
            path: begins with a slash; sent as it is, after the address's prefix.
            headers: lines each ended by CRLF, sent as they are; without host and content-length.
            body: contiguous bytes, which must not change until the future is done.
            deadline: in seconds of `time.monotonic()`; enforced up to `SWEEP_SECONDS` late.

        Returns:
            The future of the reply, whatever its status. It fails with
            Unavailable: no connection, closed without a reply, too many requests wait, or pool closed;
            BadGateway: a reply that breaks the framing law;
            DeadlineExceeded: no whole reply in time.
        """
        head = (self._post, path, self._tail, headers, b"content-length: %d\r\n\r\n" % len(body))
        if len(body) < JOIN_BYTES:
            return self._submit((b"".join((*head, body)),), deadline)
        return self._submit((b"".join(head), body), deadline)

    def get(self, path: bytes, deadline: float, headers: bytes = b"") -> asyncio.Future[ClientReply]:
        """As `post`, without a body."""
        return self._submit((b"".join((self._get, path, self._tail, headers, b"\r\n")),), deadline)

    def close(self) -> None:
        """Take no more requests; those taken are answered, and each connection is closed after its last."""
        self._closed = True
        for connection in list(self._idle):
            self.drop(connection)

    def _submit(self, parts: tuple[Body, ...], deadline: float) -> _Exchange:
        exchange = _Exchange(self, parts, deadline)
        if self._closed:
            exchange.refuse(Unavailable(f"{self.label}: no longer a target"))
        elif deadline <= time.monotonic():
            exchange.refuse(self._overdue())
        elif len(self._waiting) >= 4 * self._max_connections:
            exchange.refuse(Unavailable(f"{self.label}: too many requests wait"))
        else:
            if deadline < self._sweep_at:
                self._sweep_by(deadline)
            if self._idle:
                self._idle.pop().start(exchange)
            elif len(self._connections) < self._max_connections:
                self._connect(exchange)
            else:
                self._waiting.append(exchange)
        return exchange

    # ------------------------------------------------------------------ called by connections and exchanges

    def release(self, connection: _Connection) -> None:
        """A connection whose reply is whole takes the next request, or becomes idle."""
        if self._waiting:
            connection.start(self._waiting.popleft())
        elif self._closed:
            self.drop(connection)
        else:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
            if connection.idle_since + self._idle_seconds < self._sweep_at:
                self._sweep_by(connection.idle_since + self._idle_seconds)

    def drop(self, connection: _Connection) -> None:
        """Close a connection without an exchange, and give its slot to the next request."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        connection.abort()
        if self._waiting:
            self._connect(self._waiting.popleft())
        elif not self._connections:
            self._unplan()

    def reconnect(self, lost: _Connection) -> None:
        """Send the request of a lost connection once more; a fresh one is never `used`, so not twice."""
        exchange = lost.detach()
        assert exchange is not None
        self._connections.remove(lost)
        self._connect(exchange)

    def abandon(self, exchange: _Exchange) -> None:
        """The caller gave up."""
        connection = exchange.connection
        if connection is not None:
            connection.detach()
            self.drop(connection)
        else:
            with suppress(ValueError):
                self._waiting.remove(exchange)

    # ------------------------------------------------------------------ connecting

    def _connect(self, exchange: _Exchange) -> None:
        connection = _Connection(self, exchange)
        self._connections.add(connection)
        connection.connecting = self.loop.create_task(self._open(connection))

    async def _open(self, connection: _Connection) -> None:
        address = self._address
        seconds = None if address.socket is not None else self._connect_seconds
        try:
            async with asyncio.timeout(seconds):
                if address.socket is not None:
                    await self.loop.create_unix_connection(lambda: connection, address.socket)
                else:
                    await self.loop.create_connection(
                        lambda: connection,
                        address.host,
                        address.port,
                        ssl=self.tls,
                        server_hostname=self._server_name,
                    )
        except OSError as error:
            connection.connecting = None
            connection.fail(Unavailable(f"{self.label}: no connection: {_reason(error)}"))

    # ------------------------------------------------------------------ time

    def _sweep(self) -> None:
        self._unplan()
        now = time.monotonic()
        for exchange in [waiting for waiting in self._waiting if waiting.deadline <= now]:
            self._waiting.remove(exchange)
            exchange.refuse(self._overdue())
        for connection in list(self._connections):
            if connection.exchange is not None and connection.exchange.deadline <= now:
                connection.fail(self._overdue())
        while self._idle and self._idle[0].idle_since + self._idle_seconds <= now:
            self.drop(self._idle[0])
        self._sweep_by(self._next_end())

    def _sweep_by(self, when: float) -> None:
        """Sweep not later than at this time of `time.monotonic()`, but in `SWEEP_SECONDS` at the earliest."""
        now = time.monotonic()
        at = max(when, now + SWEEP_SECONDS)
        if at < self._sweep_at:
            self._unplan()
            self._sweep_at, self._timer = at, self.loop.call_later(at - now, self._sweep)

    def _unplan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sweep_at, self._timer = math.inf, None

    def _next_end(self) -> float:
        """When the next deadline or idle time is over; infinity where there is none."""
        ends = [waiting.deadline for waiting in self._waiting]
        ends += [held.exchange.deadline for held in self._connections if held.exchange is not None]
        if self._idle:
            ends.append(self._idle[0].idle_since + self._idle_seconds)
        return min(ends, default=math.inf)

    def _overdue(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self.label}: no reply within the deadline")


def _reason(error: OSError) -> str:
    """Why a connection failed, in words that hold no path or address."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason}"
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    return os.strerror(error.errno) if error.errno else "refused"
