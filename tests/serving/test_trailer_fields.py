"""What follows the head without being a body: trailers, chunk extensions, empty lines."""

import asyncio
import contextlib

import orjson
import pytest

from harness.door import ASGI, FAST, LATER, with_door
from router.hop.client import ReplyReader
from serving.errors import BadGateway, Unauthenticated

HEAD = b"POST %b HTTP/1.1\r\nHost: h\r\nx-understudy-target: stable\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"5\r\nhello\r\n"
PATHS = pytest.mark.parametrize("path", [FAST, LATER, ASGI])
MEBIBYTES = 3 << 20


@PATHS
def test_trailers_are_never_merged_into_the_headers(path):
    """RFC 9110, 6.5.1: what comes behind the body must not decide about it."""
    trailers = b"x-understudy-target: canary\r\nX-Real-IP: 1.2.3.4\r\n"

    async def work(door):
        door.release.set()
        client = await door.connect()
        for wire in (HEAD % path + BODY + b"0\r\n" + trailers + b"\r\n", HEAD % path + BODY + b"0\r\n\r\n"):
            await client.send(wire)
            status, _, body = await client.answer()
            assert status == 200
            told = orjson.loads(body)
            assert told["bytes"] == 5
            assert told["headers"] == {
                "host": "h", "x-understudy-target": "stable", "transfer-encoding": "chunked",
            }  # fmt: skip

    with_door(work)


class Refuses:
    """A gate that lets in nobody."""

    def refusal(self, _headers, _address):
        return Unauthenticated("no")


ENDLESS = {
    "trailers": (HEAD, BODY + b"0\r\n", b"a:1\r\n"),
    "one trailer's name": (HEAD, BODY + b"0\r\n", b"a"),
    "one trailer's value": (HEAD, BODY + b"0\r\na: ", b"b"),
    "a chunk's extensions": (HEAD, BODY + b"5", b";a=b"),
    "a chunk's size": (HEAD, BODY, b"0"),
    "header lines": (b"POST %b HTTP/1.1\r\nHost: h\r\n", b"", b"a:1\r\n"),
    "a start line": (b"POST %b", b"", b"a"),
    "a method": (b"", b"", b"P"),
    "empty lines": (b"", b"", b"\r\n"),
}


@PATHS
@pytest.mark.parametrize("kind", ENDLESS)
def test_what_never_ends_is_ended(kind, path):
    head, begin, endless = ENDLESS[kind]

    async def work(door):
        client = await door.connect()
        await client.send((head % path if b"%b" in head else head) + begin)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < MEBIBYTES and not client.reader.at_eof():
                await client.send(endless * 2000)
                sent += len(endless) * 2000
                await asyncio.sleep(0)
        answer = await client.rest()
        assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")), answer
        assert answer.count(b"HTTP/1.1") == 1

    with_door(work)


@PATHS
@pytest.mark.parametrize("slice_", [1, 1000, 1 << 20])
def test_the_limit_of_the_head_is_that_of_trailers(path, slice_):
    async def work(door):
        door.release.set()
        for size, status in ((60_000, 200), (66_000, 431)):
            client = await door.connect()
            wire = HEAD % path + BODY + b"0\r\n" + b"abcd: efgh\r\n" * (size // 12) + b"\r\n"
            if slice_ == 1:  # the last bytes of all, one by one
                await client.send(wire[:-300])
                pieces = [wire[at : at + 1] for at in range(len(wire) - 300, len(wire))]
            else:
                pieces = [wire[at : at + slice_] for at in range(0, len(wire), slice_)]
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    await client.send(piece)
            assert (await client.answer())[0] == status

    with_door(work)


def test_trailers_behind_a_request_that_was_refused_are_bounded_too():
    async def work(door):
        door.gate = Refuses()
        client = await door.connect()
        await client.send(HEAD % FAST + BODY + b"0\r\n")
        assert (await client.answer())[0] == 401
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < MEBIBYTES:
                await client.send(b"a:1\r\n" * 2000)
                sent += 10_000
                await asyncio.sleep(0)
        assert await client.rest() == b"", "an answer was given; this connection is over"
        await asyncio.sleep(0)
        assert not door.connections

    with_door(work)


@PATHS
def test_a_body_in_the_smallest_chunks_has_no_limit_of_trailers(path):
    async def work(door):
        door.release.set()
        client = await door.connect()
        await client.send(HEAD % path + b"00000001;a=b\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
        status, _, body = await client.answer()
        assert status == 200
        assert orjson.loads(body)["bytes"] == 50_000

    with_door(work)


# ---------------------------------------------------------------------- replies of targets

REPLY = b"HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"


def read(pieces):
    reader = ReplyReader("t", 1 << 30)
    return [reader.feed(piece) for piece in pieces][-1]


@pytest.mark.parametrize(("begin", "endless"), [(b"0\r\n", b"a:1\r\n"), (b"0\r\na", b"a"), (b"5", b";a=b")])
def test_what_a_target_never_ends_is_ended(begin, endless):
    with pytest.raises(BadGateway, match="more than 65536 bytes of trailers"):
        read([REPLY + BODY + begin] + [endless * 2000] * 200)


def test_trailers_of_a_target_are_dropped_and_small_chunks_allowed():
    pieces = [REPLY, *[b"1;a=b\r\nx\r\n" * 1000] * 50, b"0\r\nx-a: 2\r\nx-b: 3\r\n\r\n"]
    reply = read(pieces)
    assert reply.body == b"x" * 50_000
    assert reply.headers == {b"x-a": b"1", b"transfer-encoding": b"chunked"}
