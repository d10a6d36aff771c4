import asyncio
import gc
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import chain, pairwise, repeat

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from router.hop.client import (
    MAX_HEAD_BYTES,
    MAX_KNOWN_HEADS,
    Address,
    ClientReply,
    Pool,
    ReplyHead,
    ReplyReader,
    known_heads,
)
from serving.errors import BadGateway, DeadlineExceeded, InvalidInput, ServingError, Unavailable
from serving.wire.known_heads import KnownHeads

LABEL = "digits/2"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\n\r\n"
HEADERS = b"content-type: application/json\r\n"
PATH = b"/v2/models/digits/infer"


def at(listener: socket.socket, scheme: str = "http") -> Address:
    return Address.of_url(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "address", "header"),
    [
        ("http://triton:8000", Address(None, "triton", 8000, tls=False, prefix=""), "triton:8000"),
        ("http://triton/", Address(None, "triton", 80, tls=False, prefix=""), "triton"),
        ("https://a.b/c/d/", Address(None, "a.b", 443, tls=True, prefix="/c/d"), "a.b"),
        ("https://a.b:80", Address(None, "a.b", 80, tls=True, prefix=""), "a.b:80"),
        ("http://[::1]:81/x", Address(None, "::1", 81, tls=False, prefix="/x"), "[::1]:81"),
    ],
)
def test_a_url_becomes_an_address(url, address, header):
    assert Address.of_url(url) == address
    assert address.host_header == header


@pytest.mark.parametrize(
    "url",
    [
        "",
        "triton:8000",
        "ftp://triton",
        "http://",
        "http://user:secret@triton",
        "http://triton?secret",
        "http://triton/#secret",
        "http://triton:0",
        "http://triton:65536",
        "http://triton:8000x",
        "http://tri ton",
        "http://triton/\r\nsecret: 1",
        "http://triton\n",
        "http://trit\u00f6n",
        "http://a..b",
        "http://" + "a" * 64,
        "http://[::1::]:80",
    ],
)
def test_any_other_url_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidInput) as caught:
        Address.of_url(url)
    assert "secret" not in str(caught.value)


def test_a_socket_becomes_an_address_with_a_host_that_names_no_path():
    address = Address.of_socket("/run/x.sock")
    assert (address.socket, address.host_header, address.tls) == ("/run/x.sock", "localhost", False)


# ---------------------------------------------------------------------- the framing law


def read(pieces, *, closes=False, max_reply_bytes=1000) -> ClientReply | None:
    reader = ReplyReader(LABEL, max_reply_bytes)
    for piece in pieces:
        reply = reader.feed(piece)
        if reply is not None:
            return reply
    return reader.end() if closes else None


def in_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


names = st.from_regex(rb"x-[a-z0-9]{1,8}", fullmatch=True)
values = st.from_regex(rb"[!-~]([ -~]{0,20}[!-~])?|", fullmatch=True)
bodies = st.binary(max_size=300)


@st.composite
def replies(draw) -> tuple[bytes, bool, ClientReply]:
    """A valid reply on the wire, whether it ends by closing, and what it says."""
    status = draw(st.sampled_from([200, 400, 404, 500, 503]))
    headers = draw(st.dictionaries(names, values, max_size=4))
    body = draw(bodies)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    wire = b""
    if framing == "chunked":
        headers[b"transfer-encoding"] = b"chunked"
        rest = body
        while rest:
            size = draw(st.integers(1, len(rest)))
            wire += b"%x\r\n%b\r\n" % (size, rest[:size])
            rest = rest[size:]
        wire += draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n"]))
    else:
        wire = body
        if framing == "length":
            headers[b"content-length"] = b"%d" % len(body)
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 E\r\nlink: a\r\n\r\n"])
    )
    lines = b"".join(b"%b: %b\r\n" % (name.title(), value) for name, value in headers.items())
    head = b"HTTP/1.1 %d Any Words\r\n%b\r\n" % (status, lines)
    return interim + head + wire, framing == "close", ClientReply(status, headers, body)


@given(replies(), st.lists(st.integers(0, 2000)))
def test_a_reply_reads_the_same_however_it_is_sliced(reply, cuts):
    wire, closes, expected = reply
    places = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    pieces = [wire[start:end] for start, end in pairwise(places)]
    assert read(pieces, closes=closes) == expected
    assert read(in_bytes(wire), closes=closes) == expected


@given(replies(), st.data())
def test_a_reply_cut_short_is_no_reply(reply, data):
    wire, closes, expected = reply
    length = data.draw(st.integers(0, len(wire) - 1))
    if closes and length >= len(wire) - len(expected.body):
        return  # ended by closing: any end is its end
    with pytest.raises(BadGateway, match="cut short"):
        read([wire[:length]], closes=True)


@given(replies(), st.integers(0, 2000), st.binary(max_size=4), st.integers(0, 4))
def test_a_damaged_reply_is_a_reply_or_an_error_of_ours(reply, place, damage, removed):
    wire, _, _ = reply
    place %= len(wire)
    with suppress(BadGateway):
        read([wire[:place] + damage + wire[place + removed :]], closes=True)


@given(st.lists(replies(), min_size=2, max_size=4))
def test_a_reader_reads_one_reply_after_another(several):
    reader = ReplyReader(LABEL, 1000)
    for wire, closes, expected in several:
        if not closes:
            reader.begin()
            assert reader.feed(wire) == expected
            assert reader.reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: 1\r\n folded\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: \x00\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n",
        CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nokk\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\nok",
    ],
)
def test_a_reply_against_the_law_is_a_bad_gateway(wire):
    for pieces in ([wire], in_bytes(wire)):
        with pytest.raises(BadGateway, match=f"^{LABEL}: "):
            read(pieces)


@pytest.mark.parametrize(
    "wire",
    [
        OK + b"!",
        OK + OK,
        CHUNKED + b"0\r\n\r\nHTTP",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\nok",
    ],
)
def test_bytes_after_the_end_make_the_reply_unusable(wire):
    with pytest.raises(BadGateway):
        read([wire])


@pytest.mark.parametrize(
    ("wire", "reusable"),
    [
        (OK, True),
        (CHUNKED + b"0\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", False),
    ],
)
def test_only_a_connection_that_stays_open_is_reusable(wire, reusable):
    reader = ReplyReader(LABEL, 1000)
    assert reader.feed(wire) is not None
    assert reader.reusable is reusable


def on_one_connection(
    segments: list[bytes], known: KnownHeads[ReplyHead] | None
) -> list[tuple[object, bool]]:
    """What a reader makes of segments: after each, a reply and whether it leaves the connection usable."""
    reader, found = ReplyReader(LABEL, 1000, known), []
    for segment in segments:
        try:
            reply = reader.feed(segment)
        except BadGateway as error:
            return [*found, (str(error), False)]
        found.append((reply, reader.reusable))
        if reply is not None:
            if not reader.reusable:
                return found
            reader.begin()
    return found


@given(replies(), st.lists(st.one_of(replies(), st.none()), max_size=5), st.data())
def test_a_head_that_came_before_reads_as_it_did_then(first, others, data):
    known = known_heads()
    on_one_connection([first[0]] * 3, known)
    segments = [(other or first)[0] for other in others]
    if segments:
        place = data.draw(st.integers(0, len(segments) - 1))
        wire = segments[place]
        cut = data.draw(st.integers(0, len(wire)))
        segments[place : place + 1] = data.draw(
            st.sampled_from(
                [
                    [wire[:cut], wire[cut:]],
                    [wire[:cut]],
                    [wire + wire[:cut]],
                    [b"HTTP/1.1 100 C\r\n\r\n" + wire],
                ]
            )
        )
    segments = [segment for segment in segments if segment]
    assert on_one_connection(segments, known) == on_one_connection(segments, None)


def test_a_head_is_known_when_it_came_twice_on_a_connection():
    known = known_heads()
    head = OK[: -len(b"ok")]
    on_one_connection([OK], known)
    on_one_connection([OK], known)
    assert known.get(head) is None
    on_one_connection([OK, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", OK], known)
    assert known.get(head) is None
    on_one_connection([OK, OK], known)
    assert on_one_connection([head + b"hi"], known) == [
        (ClientReply(200, {b"content-length": b"2"}, b"hi"), True)
    ]
    assert known.get(head) is not None


@pytest.mark.parametrize(
    "wire",
    [
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
        OK.replace(b"200 OK", b"404 Not Found"),
        OK.replace(b"content-length", b"connection: close\r\ncontent-length"),
        OK.replace(b"1.1", b"1.0"),
        OK.replace(b"\r\n\r\n", b"\r\nx-padding: " + b"a" * 4096 + b"\r\n\r\n"),
    ],
)
def test_other_heads_are_read_each_time(wire):
    known = known_heads()
    for _ in range(2):
        on_one_connection([wire, wire, wire], known)
    assert not known._known


def test_known_heads_are_bounded():
    known = known_heads()
    for number in range(3 * MAX_KNOWN_HEADS):
        wire = OK.replace(b"\r\n\r\n", b"\r\nx-number: %d\r\n\r\n" % number)
        on_one_connection([wire, wire], known)
        assert 0 < len(known._known) <= MAX_KNOWN_HEADS


def test_repeated_headers_are_joined_and_trailers_dropped():
    wire = b"HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\nb:\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\na: 3\r\n\r\n"
    reply = read([wire])
    assert reply is not None
    assert reply.headers == {b"a": b"1, 2", b"b": b"", b"transfer-encoding": b"Chunked"}


@pytest.mark.parametrize("size", [1000, 1001])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not(size, framing):
    body = b"x" * size
    wire = {
        "length": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (size, body),
        "chunked": CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body),
        "close": PLAIN + body,
    }[framing]
    if size == 1000:
        reply = read([wire], closes=True)
        assert reply is not None
        assert reply.body == body
    else:
        for pieces in ([wire], in_bytes(wire)):
            with pytest.raises(BadGateway, match="larger than 1000 bytes"):
                read(pieces, closes=True)


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 50),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"\r\n"),
        (CHUNKED + b"0\r\nx: ", b"y" * 50),
        (CHUNKED + b"1;", b"extension" * 10),
    ],
)
def test_what_never_ends_is_refused_before_it_fills_memory(start, endless):
    pieces = chain([start], repeat(endless, 2 * MAX_HEAD_BYTES // len(endless)))
    with pytest.raises(BadGateway, match=r"larger than|more than"):
        read(pieces)


# ---------------------------------------------------------------------- real sockets


class Peer:
    """The target's end of one connection."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number  # of the connection, from 1
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Head and body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head, await self.reader.readexactly(int(length or 0))

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionResetError  # as asyncio's own loop does; uvloop's would say RuntimeError
        self.writer.write(data)
        await self.writer.drain()

    async def send_in_bytes(self, data: bytes) -> None:
        for piece in in_bytes(data):
            await self.send(piece)
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client has closed."""
        with suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    def reset(self) -> None:
        self.writer.transport.abort()


class Target:
    """A server whose connections follow a script."""

    def __init__(self, script: Callable[[Peer], Awaitable[None]]) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.ended = 0

    @property
    def connections(self) -> int:
        return len(self.peers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(self.connections + 1, reader, writer)
        self.peers.append(peer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.script(peer)
        finally:
            writer.close()
            self.ended += 1


@asynccontextmanager
async def listening(target: Target, path: str | None = None, context: ssl.SSLContext | None = None):
    """Serve on a Unix socket, or on a free TCP port; yields where."""
    if path is not None:
        server = await asyncio.start_unix_server(target.serve, path)
    else:
        server = await asyncio.start_server(target.serve, "127.0.0.1", 0, ssl=context)
    try:
        scheme = "https" if context else "http"
        yield Address.of_socket(path) if path is not None else at(server.sockets[0], scheme)
    finally:
        server.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.001)


@asynccontextmanager
async def pooled(address: Address, **options):
    pool = Pool(address, LABEL, **options)
    try:
        yield pool
    finally:
        pool.close()
        await until(lambda: not pool._connections and pool._timer is None)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine on each kind of loop; what a loop would only have logged fails the test."""

    def go(main):
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        logged: list[str] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: logged.append(str(context)))
            runner.run(asyncio.wait_for(main, 50))
            gc.collect()
        assert logged == []

    return go


@pytest.fixture
def play(run, tmp_path):
    """Let a client meet a target that follows a script, over a Unix socket."""

    def go(script, client, **options):
        async def main():
            target = Target(script)
            async with listening(target, str(tmp_path / "s")) as address:
                async with pooled(address, **options) as pool:
                    await client(pool, target)
                await until(lambda: target.ended == target.connections)

        run(main())

    return go


async def answer_all(peer: Peer) -> None:
    """A good target: each reply is the request's body."""
    while True:
        _, body = await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


def ask(pool: Pool, body: bytes = b"{}", seconds: float = 20.0) -> asyncio.Future[ClientReply]:
    return pool.post(PATH, HEADERS, body, soon(seconds))


def test_a_loop_that_comes_late_does_not_fail_a_connection_on_this_machine(play):
    async def client(pool, target):
        reply = ask(pool, b"late")
        asyncio.get_running_loop().call_soon(time.sleep, 0.05)  # while it connects: longer than that may take
        assert (await reply).body == b"late"

    play(answer_all, client, connect_seconds=0.01)


def test_a_request_arrives_as_given_and_its_reply_comes_back(run):
    seen: list[tuple[bytes, bytes]] = []

    async def script(peer):
        seen.append(await peer.request())
        await peer.send(b"HTTP/1.1 404 Not Found\r\nX-A: b\r\ncontent-length: 4\r\n\r\nnone")
        seen.append(await peer.request())
        await peer.send(OK)
        await peer.gone()

    async def main():
        async with listening(Target(script)) as address, pooled(replace(address, prefix="/at")) as pool:
            reply = await ask(pool, b"[1]")
            assert reply == (404, {b"x-a": b"b", b"content-length": b"4"}, b"none")
            assert (await pool.get(b"/v2", soon())).body == b"ok"
        port = address.port
        lines = b" HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % port
        first = b"POST /at/v2/models/digits/infer" + lines + HEADERS + b"content-length: 3\r\n\r\n"
        assert seen == [(first, b"[1]"), (b"GET /at/v2" + lines + b"\r\n", b"")]

    run(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 8 << 20])
def test_bodies_of_every_kind_and_size_pass_unchanged(play, kind, size):
    body = os.urandom(size)

    async def client(pool, target):
        for _ in range(2):
            assert (await ask(pool, kind(body))).body == body
        assert target.connections == 1

    play(answer_all, client)


def test_replies_in_one_byte_slices_are_right(play):
    async def script(peer):
        while True:
            await peer.request()
            await peer.send_in_bytes(b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n")

    async def client(pool, target):
        for _ in range(3):
            assert (await ask(pool)).body == b"ok"
        assert target.connections == 1

    play(script, client)


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
    ],
)
def test_a_connection_that_will_close_is_not_used_again(play, wire):
    async def script(peer):
        await peer.request()
        await peer.send(wire)
        await peer.gone()

    async def client(pool, target):
        for number in range(1, 4):
            assert (await ask(pool)).body == b"ok"
            assert target.connections == number

    play(script, client)


def test_a_body_without_length_ends_when_the_target_closes(play):
    async def script(peer):
        await peer.request()
        await peer.send(PLAIN + b"a")
        await peer.send(b"b")

    async def client(pool, target):
        for number in range(1, 3):
            assert (await ask(pool)).body == b"ab"
            assert target.connections == number

    play(script, client)


def test_the_connection_used_last_is_used_next(play):
    order: list[int] = []

    async def script(peer):
        while True:
            await peer.request()
            order.append(peer.number)
            await peer.send(OK)

    async def client(pool, target):
        await asyncio.gather(*(ask(pool) for _ in range(4)))
        latest = order[-1]
        for _ in range(10):
            await ask(pool)
        assert order[4:] == [latest] * 10
        assert target.connections == 4

    play(script, client)


def test_idle_connections_are_closed_and_then_nothing_runs(play):
    async def client(pool, target):
        await asyncio.gather(*(ask(pool) for _ in range(3)))
        assert len(pool._idle) == 3
        await until(lambda: target.ended == 3)
        assert not pool._connections
        await until(lambda: pool._timer is None)
        assert (await ask(pool)).status == 200

    play(answer_all, client, idle_seconds=0.2)


# ---------------------------------------------------------------------- retries


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_used_connection_found_closed_is_replaced_once(play, how):
    async def script(peer):
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await peer.request()
            if how == "reset":
                peer.reset()
            return
        await peer.gone()

    async def client(pool, target):
        await ask(pool)
        assert (await ask(pool)).body == b"ok"
        assert target.connections == 2

    play(script, client)


def test_a_request_is_not_sent_a_third_time(play):
    requests: list[int] = []

    async def script(peer):
        await peer.request()
        requests.append(peer.number)
        if peer.number <= 2:
            await peer.send(OK)
            await peer.request()
            requests.append(peer.number)

    async def client(pool, target):
        await asyncio.gather(ask(pool), ask(pool))  # now two connections idle, each about to fail
        with pytest.raises(Unavailable, match="without a reply"):
            await ask(pool)
        assert sorted(requests) in ([1, 1, 2, 3], [1, 2, 2, 3])

    play(script, client)


def test_a_fresh_connection_closed_without_a_reply_is_not_retried(play):
    async def script(peer):
        await peer.request()

    async def client(pool, target):
        with pytest.raises(Unavailable, match="without a reply"):
            await ask(pool)
        assert target.connections == 1

    play(script, client)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("wire", [b"H", OK[:-1], CHUNKED + b"2\r\nok", b"HTTP/1.1 100 C\r\n\r\n"])
def test_a_reply_cut_short_is_a_bad_gateway_and_not_retried(play, how, wire):
    async def script(peer):
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(wire)
        if how == "reset":
            peer.reset()

    async def client(pool, target):
        await ask(pool)
        with pytest.raises(BadGateway, match="cut short"):
            await ask(pool)
        assert target.connections == 1
        assert not pool._connections

    play(script, client)


def test_a_reset_is_no_clean_end_of_a_body_without_length(run):
    async def script(peer):
        await peer.request()
        await peer.send(PLAIN + b"half")
        await peer.gone()

    async def main():
        target = Target(script)
        async with listening(target) as address, pooled(address) as pool:
            reply = ask(pool)
            await until(lambda: any(c.reader.received for c in pool._connections))
            raw = target.peers[0].writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            target.peers[0].reset()
            with pytest.raises(BadGateway, match="cut short"):
                await reply

    run(main())


# ---------------------------------------------------------------------- bad targets


def test_bytes_after_a_reply_close_its_connection(play):
    async def script(peer):
        await peer.request()
        await peer.send(
            OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nbehind" if peer.number == 1 else OK
        )
        await peer.gone()

    async def client(pool, target):
        with pytest.raises(BadGateway, match="after the end"):
            await ask(pool)
        assert (await ask(pool)).body == b"ok"
        assert target.connections == 2

    play(script, client)


def test_bytes_that_nobody_asked_for_close_an_idle_connection(play):
    async def script(peer):
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await first_read.wait()
            await peer.send(b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async def client(pool, target):
        await ask(pool)
        first_read.set()
        await until(lambda: target.ended == 1)
        assert not pool._connections
        assert (await ask(pool)).status == 200

    first_read = asyncio.Event()
    play(script, client)


def test_garbage_and_oversize_are_bad_gateways_and_drop_the_connection(play):
    wires = [b"garbage\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n" + b"x" * 1001]

    async def script(peer):
        await peer.request()
        await peer.send(wires[peer.number - 1])
        await peer.gone()

    async def client(pool, target):
        for ended in (1, 2):
            with pytest.raises(BadGateway):
                await ask(pool)
            await until(lambda ended=ended: target.ended == ended)

    play(script, client, max_reply_bytes=1000)


def test_an_endless_reply_is_given_up_at_its_limit(play):
    async def script(peer):
        await peer.request()
        await peer.send(PLAIN)
        while True:
            await peer.send(b"x" * 65_536)

    async def client(pool, target):
        with pytest.raises(BadGateway, match="larger than 1000000 bytes"):
            await ask(pool)
        await until(lambda: target.ended == 1)

    play(script, client, max_reply_bytes=1_000_000)


def test_a_target_that_is_not_there_is_unavailable_and_its_path_not_shown(run, tmp_path):
    async def main():
        free = socket.create_server(("127.0.0.1", 0))
        closed = at(free)
        free.close()
        dead = tmp_path / "dead"
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(dead))
        missing = str(tmp_path / "missing")
        unknown = Address.of_url("http://name.invalid")
        for address in (
            Address.of_socket(missing),
            Address.of_socket(str(dead)),
            closed,
            unknown,
        ):
            async with pooled(address, connect_seconds=10) as pool:
                with pytest.raises(Unavailable, match=f"^{LABEL}: no connection: ") as caught:
                    await ask(pool)
                assert str(tmp_path) not in str(caught.value)
                assert "127.0.0.1" not in str(caught.value)

    run(main())


def test_a_reply_that_overtakes_its_request_is_given_and_ends_the_connection(play):
    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await finished.wait()

    async def client(pool, target):
        assert (await ask(pool, bytes(32 << 20))).status == 413
        assert not pool._connections
        finished.set()

    finished = asyncio.Event()
    play(script, client)


# ---------------------------------------------------------------------- deadlines and cancellation


def test_a_deadline_ends_the_request_and_its_connection(play):
    async def script(peer):
        _, body = await peer.request()
        if body == b"slow":
            await peer.gone()
        else:
            await peer.send(OK)
            await peer.gone()

    async def client(pool, target):
        for ended in (1, 2):
            with pytest.raises(DeadlineExceeded):
                await ask(pool, b"slow", 0.1)
            await until(lambda ended=ended: target.ended == ended)
        assert (await ask(pool)).body == b"ok"

    play(script, client, max_connections=1)


def test_deadlines_hold_beside_longer_ones_and_while_shorter_ones_come(play):
    async def silent(peer):
        while True:
            await peer.request()

    async def client(pool, target):
        longer, told = ask(pool, b"longer"), ask(pool, b"told", 0.2)
        others = []
        while not told.done():  # each wants to be looked at sooner than the one before
            others.append(ask(pool, b"other", 0.01))
            await asyncio.sleep(0.002)
        ends = await asyncio.gather(told, *others, return_exceptions=True)
        assert {type(end) for end in ends} <= {DeadlineExceeded, Unavailable}
        assert not longer.done()
        longer.cancel()

    play(silent, client)


def test_nothing_runs_before_the_next_deadline(play):
    async def client(pool, target):
        waiting = ask(pool, b"waiting")
        await until(lambda: target.connections == 1)
        assert pool._sweep_at - time.monotonic() > 10
        waiting.cancel()

    async def silent(peer):
        await peer.request()
        await peer.request()

    play(silent, client)


def test_a_deadline_that_has_passed_costs_no_connection(play):
    async def client(pool, target):
        with pytest.raises(DeadlineExceeded):
            await ask(pool, seconds=0)
        assert target.connections == 0

    play(answer_all, client)


def test_a_trickling_reply_ends_at_the_deadline(play):
    async def script(peer):
        await peer.request()
        await peer.send(PLAIN)
        while not peer.reader.at_eof():
            await peer.send(b"x")
            await asyncio.sleep(0.001)

    async def client(pool, target):
        with pytest.raises(DeadlineExceeded):
            await ask(pool, seconds=0.1)
        await until(lambda: target.ended == 1)

    play(script, client)


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_late_bytes_of_an_abandoned_request_reach_no_other(play, how):
    async def script(peer):
        _, body = await peer.request()
        if body == b"late":
            arrived.set()
            await abandoned.wait()
            with suppress(ConnectionError):
                await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
            return
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await answer_all(peer)

    async def client(pool, target):
        late = ask(pool, b"late", 0.2 if how == "deadline" else 20)
        await arrived.wait()
        following = [ask(pool, b"%d" % number) for number in range(4)]
        if how == "cancel":
            late.cancel()
        with suppress(DeadlineExceeded, asyncio.CancelledError):
            await late
        abandoned.set()
        for number, reply in enumerate(following):
            assert (await reply).body == b"%d" % number

    arrived, abandoned = asyncio.Event(), asyncio.Event()
    play(script, client, max_connections=1)


def test_a_cancelled_caller_gives_its_connection_and_slot_back_at_once(play):
    async def script(peer):
        _, body = await peer.request()
        if body == b"slow":
            arrived.set()
            await peer.gone()
        await peer.send(OK)

    async def caller(pool):
        return await ask(pool, b"slow")

    async def client(pool, target):
        task = asyncio.create_task(caller(pool))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not pool._connections
        await until(lambda: target.ended == 1)
        assert (await ask(pool)).body == b"ok"

    arrived = asyncio.Event()
    play(script, client, max_connections=1)


def test_a_caller_cancelled_while_waiting_leaves_the_queue(play):
    async def script(peer):
        while True:
            _, body = await peer.request()
            bodies_seen.append(body)
            await go.wait()
            await peer.send(OK)

    async def client(pool, target):
        first, second, third = (ask(pool, body) for body in (b"1", b"2", b"3"))
        second.cancel()
        assert len(pool._waiting) == 1
        go.set()
        await first
        await third
        assert bodies_seen == [b"1", b"3"]

    bodies_seen: list[bytes] = []
    go = asyncio.Event()
    play(script, client, max_connections=1)


def silent_tls(client, run, **options):
    """A listener that accepts and never shakes hands: a connection that is for ever being made."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = at(listener, "https")
            async with pooled(address, **options) as pool:
                await client(pool)

    run(main())


def test_a_connection_that_cannot_be_made_in_time_is_unavailable(run):
    async def client(pool):
        with pytest.raises(Unavailable, match="no connection: timed out"):
            await ask(pool)

    silent_tls(client, run, connect_seconds=0.05)


def test_a_deadline_holds_while_connecting(run):
    async def client(pool):
        with pytest.raises(DeadlineExceeded):
            await ask(pool, seconds=0.05)

    silent_tls(client, run, connect_seconds=20)


def test_a_caller_cancelled_while_connecting_gives_its_slot_back(run):
    async def client(pool):
        request = ask(pool)
        await asyncio.sleep(0)
        request.cancel()
        assert not pool._connections

    silent_tls(client, run, connect_seconds=20)


# ---------------------------------------------------------------------- bounds


def test_connections_and_queue_are_bounded_and_the_queue_is_in_order(play):
    async def script(peer):
        while True:
            _, body = await peer.request()
            bodies_seen.append(body)
            await go.wait()
            await peer.send(OK)

    async def client(pool, target):
        taken = [ask(pool, b"%d" % number) for number in range(10)]
        refused = ask(pool, b"10")
        assert refused.done()
        with pytest.raises(Unavailable, match="too many requests wait"):
            await refused
        go.set()
        await asyncio.gather(*taken)
        assert target.connections == 2
        assert sorted(bodies_seen[:2]) == [b"0", b"1"]
        assert sorted(bodies_seen) == [b"%d" % number for number in range(10)]

    bodies_seen: list[bytes] = []
    go = asyncio.Event()
    play(script, client, max_connections=2)


def test_a_request_waits_no_longer_than_its_deadline(play):
    async def script(peer):
        await peer.request()
        await go.wait()
        await peer.send(OK)
        await peer.gone()

    async def client(pool, target):
        first = ask(pool)
        with pytest.raises(DeadlineExceeded):
            await ask(pool, seconds=0.01)
        assert not pool._waiting
        go.set()
        assert (await first).body == b"ok"

    go = asyncio.Event()
    play(script, client, max_connections=1)


def test_those_who_wait_are_served_though_every_connection_fails(play):
    async def script(peer):
        await peer.request()
        if peer.number % 2:
            await peer.send(b"garbage")
        else:
            await peer.send(OK)

    async def client(pool, target):
        outcomes = await asyncio.gather(*(ask(pool) for _ in range(10)), return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds.count(BadGateway) == kinds.count(ClientReply) == 5

    play(script, client, max_connections=2)


def test_a_closed_pool_answers_what_it_took_and_takes_no_more(play):
    async def script(peer):
        await peer.request()
        await go.wait()
        await peer.send(OK)
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async def client(pool, target):
        first, second = ask(pool), ask(pool)
        pool.close()
        with pytest.raises(Unavailable, match="no longer a target"):
            await ask(pool)
        go.set()
        assert (await first).body == (await second).body == b"ok"
        await until(lambda: target.ended == 1)
        assert not pool._connections

    go = asyncio.Event()
    play(script, client, max_connections=1)


# ---------------------------------------------------------------------- TLS


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and its self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"], False
    )
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, encipher_only=False, decipher_only=False, **usage
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + built.public_bytes(serialization.Encoding.PEM))
    return str(file)


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_targets_are_spoken_to_only_when_trusted(run, certificate, monkeypatch, trusted):
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", certificate)

    async def main():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        async with (
            listening(Target(answer_all), context=context) as address,
            pooled(address, connect_seconds=10) as pool,
        ):
            if trusted:
                for body in (b"a", bytes(1 << 20), b"b"):
                    assert (await ask(pool, body)).body == body
                assert len(pool._connections) == 1
            else:
                with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                    await ask(pool)

    run(main())


# ---------------------------------------------------------------------- other processes

ECHO = """
async def app(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def echo_server(tmp_path):
    """A uvicorn that closes each connection as soon as it idles: every reuse is a race with the close."""
    (tmp_path / "echo_app.py").write_text(ECHO)
    path = str(tmp_path / "echo.sock")
    options = ["--uds", path, "--http", "httptools", "--lifespan", "off", "--log-level", "error"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "echo_app:app", "--timeout-keep-alive", "0", *options], cwd=tmp_path
    )
    try:
        deadline = soon()
        while not accepts(path):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield path, process
    finally:
        process.kill()
        process.wait()


def accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def test_no_post_is_lost_or_mixed_up_when_idle_connections_are_closed_at_the_boundary(echo_server):
    async def main():
        async with pooled(Address.of_socket(echo_server[0]), connect_seconds=10) as pool:

            async def caller(name: int) -> None:
                for number in range(625):
                    body = b"%d/%d" % (name, number)
                    assert (await ask(pool, body)).body == body

            await asyncio.gather(*(caller(name) for name in range(32)))  # 20,000 in all

    uvloop.run(asyncio.wait_for(main(), 50))


def test_a_stopped_or_killed_process_fails_every_request_cleanly(echo_server):
    path, process = echo_server

    async def main():
        async with pooled(Address.of_socket(path), connect_seconds=0.2) as pool:
            await asyncio.gather(*(ask(pool) for _ in range(8)))
            process.send_signal(signal.SIGSTOP)
            held = await asyncio.gather(*(ask(pool, seconds=0.1) for _ in range(40)), return_exceptions=True)
            assert {type(outcome) for outcome in held} <= {DeadlineExceeded, Unavailable}
            assert not pool._connections
            waiting = [ask(pool) for _ in range(40)]
            await asyncio.sleep(0)
            process.kill()
            lost = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(outcome, ServingError) for outcome in lost)
            with pytest.raises(Unavailable):
                await ask(pool)

    uvloop.run(asyncio.wait_for(main(), 50))
