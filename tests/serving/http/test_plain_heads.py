"""Remembered heads: what is remembered, and that nobody can tell from the answers."""

import asyncio

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from harness.search import examples
from serving.errors import InvalidInput
from serving.http.connection import protocol_of
from serving.http.endpoint import Limits
from serving.http.plain_heads import MAX_HEADS, MAX_REMEMBERED_BYTES, PlainHeads, problem_of, read_head
from serving.wire.handler import Single
from serving.wire.message import Reply

PATH = b"/v2/models/echo/infer"
LIMIT = 64


def head(length=3, *lines, path=PATH, method=b"POST", version=b"1.1"):
    lines = (b"Host: h", b"Content-Length: %d" % length, *lines)
    return b"\r\n".join((b"%b %b HTTP/%b" % (method, path, version), *lines)) + b"\r\n\r\n"


# ---------------------------------------------------------------------- what is remembered


def test_a_plain_head_says_its_path_its_headers_and_how_much_follows():
    found = read_head(head(12, b"X-User-Id: a", b"x-user-id: b", b"Accept-Encoding: gzip, deflate"))
    assert found.path == PATH
    assert found.body_bytes == 12
    assert found.headers == {
        b"host": b"h", b"content-length": b"12", b"x-user-id": b"b", b"accept-encoding": b"gzip, deflate",
    }  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        head(0),
        head(3) + b"a",
        head(3)[:-1],
        head(3) + head(3),
        b"\r\n\r\n",
        b"",
        head(3, method=b"GET"),
        head(3, version=b"1.0"),
        head(3, b"Connection: keep-alive", version=b"1.0"),
        head(3, b"Connection: close"),
        head(3, b"Expect: 100-continue"),
        head(3, b"Connection: upgrade", b"Upgrade: h2c"),
        head(3, b"Upgrade: h2c"),
        head(3, b"X-Request-Id: a"),
        head(3, b"Content-Encoding: gzip"),
        head(3, b"Accept-Encoding: gzip"),
        head(3, b"Transfer-Encoding: chunked"),
        head(3, b"Content-Length: 3"),
        head(3).replace(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        head(3).replace(b": 3", b": +3"),
        head(3).replace(b"\r\n", b"\n"),
    ],
)
def test_any_other_head_is_left_to_the_parser(raw):
    assert read_head(raw) is None


def test_memory_is_bounded_in_number_and_size_and_by_the_limit_of_bodies():
    heads = PlainHeads(LIMIT)
    heads.learn(head(LIMIT + 1))
    heads.learn(head(3, b"x: " + b"a" * MAX_REMEMBERED_BYTES))
    assert heads.get(head(LIMIT + 1)) is None
    assert heads.get(head(3, b"x: " + b"a" * MAX_REMEMBERED_BYTES)) is None
    for number in range(2 * MAX_HEADS):
        heads.learn(head(3, b"x: %d" % number))
    known = [number for number in range(2 * MAX_HEADS) if heads.get(head(3, b"x: %d" % number)) is not None]
    assert len(known) <= MAX_HEADS
    assert known[-1] == 2 * MAX_HEADS - 1


# ---------------------------------------------------------------------- that nobody can tell


class Wire(asyncio.Transport):
    """Keeps what was written; delivers nothing once it is closing, as an event loop's does not."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.closing = False
        self.protocol = None

    def write(self, data):
        self.written += data

    def writelines(self, lines):
        self.written += b"".join(lines)

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.closing = True

    def close(self):
        self.closing = True

    abort = close

    def is_closing(self):
        return self.closing

    def get_protocol(self):
        return self.protocol

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_extra_info(self, _, default=None):
        return default

    def pause_reading(self):
        pass

    resume_reading = pause_reading


def echo(call):
    """Answers with all that it was asked; a body of `!` is refused."""
    if call.body[:1] == b"!":
        raise InvalidInput("no")
    return Reply(200, repr((sorted(call.headers.items()), bytes(call.body))).encode())


class Endpoint:
    limits = Limits(body_bytes=LIMIT)
    draining = False
    gate = None
    paths = {PATH: Single(echo)}  # noqa: RUF012


def door(*, remembers=True):
    protocol = protocol_of(Endpoint())
    if not remembers:
        protocol.heads = PlainHeads(0)
    return protocol


def connect(protocol):
    connection = protocol(CONFIG, ServerState(), {})
    wire = Wire()
    wire.protocol = connection
    connection.connection_made(wire)
    return connection, wire


async def no_application(scope, receive, send):
    raise AssertionError


CONFIG = uvicorn.Config(no_application, ws="none", log_config=None, access_log=False)


def deliver(protocol, segments):
    """What one connection answers, and whether it ends."""

    async def go():
        connection, wire = connect(protocol)
        for segment in segments:
            if wire.closing:
                break
            connection.data_received(segment)
        return wire.written, wire.closing

    return asyncio.run(go())


def request(body, *lines):
    return head(len(body), *lines) + body


chunked = head(3).replace(b"Content-Length: 3", b"Transfer-Encoding: chunked")
messages = st.one_of(
    st.sampled_from([b"abc", b"xyz", b"!", b"\r\n\r\n", b"POST /"]).map(request),
    st.binary(min_size=1, max_size=6).map(request),
    st.sampled_from(
        [
            request(b"abc", b"Connection: close"),
            request(b"abc", b"Expect: 100-continue"),
            request(b"a" * (LIMIT + 1)),
            chunked + b"3\r\nabc\r\n0\r\n\r\n",
            chunked + b"3\r\nabc\r\n0\r\nContent-Length: 7\r\n\r\n",
            b"\r\n" + request(b"abc"),
            b"\r\n",
            b"\r\n\r\n",
            request(b"abc", b"Content-Length: 3"),
            request(b"abc", b"Transfer-Encoding: chunked"),
            head(0),
            b"garbage\r\n\r\n",
        ]
    ),
)


@st.composite
def connections(draw):
    """Several connections' segments: messages, most of them whole, some cut or joined anywhere."""
    pool = draw(st.lists(messages, min_size=1, max_size=3))
    result = []
    for _ in range(draw(st.integers(1, 3))):
        segments = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=8))
        if draw(st.booleans()):
            stream = b"".join(segments)
            cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
            segments = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        result.append([segment for segment in segments if segment])
    return result


@settings(max_examples=examples(150))
@given(connections())
def test_any_stream_cut_anywhere_is_answered_as_without_a_memory(streams):
    remembering, forgetful = door(), door(remembers=False)
    for segments in streams:
        assert deliver(remembering, segments) == deliver(forgetful, segments)


def test_a_head_that_came_twice_is_not_parsed_again():
    parsed = []

    async def go():
        connection, wire = connect(door())
        read = connection._read
        connection._read = lambda data: (parsed.append(data), read(data))
        for body in (b"abc", b"xyz", b"abc", b"123", b"other"):
            connection.data_received(request(body))
        return wire.written

    assert asyncio.run(go()).count(b"HTTP/1.1 200 OK") == 5
    assert parsed == [request(b"abc"), request(b"xyz"), request(b"other")]


def test_a_head_that_never_comes_twice_is_not_kept():
    protocol = door()
    deliver(protocol, [request(b"abc", b"x-request-id: %d" % number) for number in range(20)])
    assert all(protocol.heads.get(head(3, b"x-request-id: %d" % number)) is None for number in range(20))


def test_paths_are_looked_up_for_every_request():
    protocol = door()
    protocol.endpoint.paths = {PATH: Single(echo)}
    segments = [request(b"abc")] * 3
    before, _ = deliver(protocol, segments)
    protocol.endpoint.paths = {PATH: Single(lambda _: Reply(200, b"new"))}
    after, _ = deliver(protocol, segments)
    assert before.count(b"abc") == 3
    assert after.count(b"\r\n\r\nnew") == 3


def test_a_draining_door_closes_with_its_next_answer():
    protocol = door()
    deliver(protocol, [request(b"abc")] * 3)
    protocol.endpoint.draining = True
    written, closing = deliver(protocol, [request(b"abc")] * 3)
    assert closing
    assert written.count(b"HTTP/1.1 200 OK") == written.count(b"connection: close") == 1


# ---------------------------------------------------------------------- what a head may not say

BAD_HOSTS = [
    b"", b" ", b"a b", b"a@b", b"user@h", b"h:x", b"h:1:2", b"http://h", b"h/", b"[::1", b"::1", b"[::1]x",
    b"\xff", b"h:-1", b"h\\", b"h?", b"h#",
]  # fmt: skip
GOOD_HOSTS = [b"h", b"h:80", b"h:", b"[::1]", b"[::1]:8000", b"127.0.0.1:1", b"a_b.example", b"xn--a", b" h "]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_host_that_is_none_is_refused(host):
    for version in ("1.1", "1.0"):
        problem = problem_of([(b"host", host)], {b"host": host}, version)
        assert problem is not None
        assert problem[0] == 400
    assert read_head(head(3).replace(b"Host: h", b"Host: " + host)) is None


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_a_host_that_is_one_is_taken(host):
    assert problem_of([(b"host", host)], {b"host": host}, "1.1") is None


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_only_http_1_0_may_leave_the_host_out(version):
    assert (problem_of([], {}, version) is None) == (version == "1.0")


@pytest.mark.parametrize(
    "name", [b"Host", b"Authorization", b"X-API-Key", b"Content-Type", b"X-Understudy-Target"]
)
def test_what_decides_is_said_once(name):
    twice = head(3, name + b": h", name + b": i")
    written, closing = deliver(door(), [twice + b"abc"])
    assert written.startswith(b"HTTP/1.1 400 ")
    assert b"%b is given twice" % name.lower() in written
    assert closing
    assert read_head(twice) is None
