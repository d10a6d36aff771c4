"""The budget of memory for bodies: what is taken is given back, and nobody takes it all."""

import asyncio
import contextlib
import gzip
import zlib

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.door import ASGI, FAST, LATER, with_door, within
from serving.admission.bodies import Bodies
from serving.errors import InvalidInput, TooLarge, Unsupported
from serving.http.codings import inflated
from serving.http.endpoint import Limits

PATHS = pytest.mark.parametrize("path", [FAST, LATER, ASGI])
MIB = 1 << 20

takings = st.lists(
    st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(1, 60), st.booleans()), max_size=60
)


@given(takings)
def test_what_is_held_is_what_was_taken_and_not_given_back(asked):
    bodies, taken = Bodies(100, 30), []
    for client, size, gives in asked:
        if gives and taken:
            bodies.give(*taken.pop(0))
        refused, full = bodies.refused, bodies.held + size > 100
        fits = bodies.fits(client, size)
        assert bodies.take(client, size) is fits
        assert bodies.refused == refused + 2 * full
        assert bodies.share == bodies.held / 100
        if fits:
            taken.append((client, size))
        shares = {name: sum(size for who, size in taken if who == name) for name in "abc"}
        assert bodies.held == sum(size for _, size in taken) <= 100
        assert all(share <= 50 for share in shares.values())
    for client, size in taken:
        bodies.give(client, size)
    assert bodies.held == 0
    assert bodies.fits("a", 50)


def test_a_budget_below_one_body_is_none():
    with pytest.raises(ValueError, match="not enough"):
        Bodies(99, 100)


def limits(total=4 * MIB, body=2 * MIB):
    return Limits(body_bytes=body, receive_seconds=5.0, bodies=Bodies(total, body))


def post(path, length, *lines):
    return b"\r\n".join((b"POST %b HTTP/1.1" % path, b"Host: h", b"Content-Length: %d" % length, *lines)) + (
        b"\r\n\r\n"
    )


CHUNKED = b"POST %b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@PATHS
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_under_way_share_one_budget_and_give_it_back(path, chunked):
    async def work(door):
        door.release.set()
        bodies, parts = door.limits.bodies, []
        head = CHUNKED % path + b"%x\r\n" % MIB if chunked else post(path, MIB)
        for number in range(2):  # half of the budget: one client's share
            client = await door.connect()
            await client.send(head + b"x" * (MIB - 1000))
            await within(lambda n=number: bodies.held == (n + 1) * (MIB - 1000), "taken")
            parts.append(client)
        refused = await door.connect()
        with contextlib.suppress(ConnectionError):
            await refused.send(head if not chunked else head + b"x" * (MIB - 1000))
        status, headers, body = await refused.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert "no memory" in orjson.loads(body)["error"]
        small = await door.connect()
        await small.send(post(path, 5) + b"hello")
        assert (await small.answer())[0] == 200
        await parts[0].send(b"x" * 1000 + (b"\r\n0\r\n\r\n" if chunked else b""))
        status, _, body = await parts[0].answer()
        assert (status, orjson.loads(body)["bytes"]) == (200, MIB)
        parts[1].writer.transport.abort()
        await within(lambda: bodies.held == 0, "given back")

    with_door(work, limits())


@PATHS
@pytest.mark.parametrize("length", [2 * MIB + 1, 99_999_999_999, 10**18])
def test_a_length_over_the_limit_is_refused_before_the_body(path, length):
    async def work(door):
        client = await door.connect()
        await client.send(post(path, length, b"Expect: 100-continue"))
        status, headers, body = await client.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert orjson.loads(body) == {"error": f"the body is larger than {2 * MIB} bytes"}
        assert await client.rest() == b""
        assert door.limits.bodies.held == 0

    with_door(work, limits())


def test_what_a_body_inflates_to_is_in_the_budget():
    async def work(door):
        bodies = door.limits.bodies
        bomb = gzip.compress(bytes(2 * MIB - 5), mtime=0)
        wire = post(LATER, len(bomb), b"Content-Encoding: gzip") + bomb
        first = await door.connect()
        await first.send(wire)
        await within(lambda: bodies.held == 2 * MIB - 5, "inflated, and waiting")
        second = await door.connect()
        await second.send(wire)
        status, headers, _ = await second.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        door.release.set()
        status, _, body = await first.answer()
        assert (status, orjson.loads(body)["bytes"]) == (200, 2 * MIB - 5)
        await within(lambda: bodies.held == 0, "given back")

    with_door(work, limits())


@pytest.mark.parametrize(
    ("coding", "coded"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"identity", bytes)]
)
def test_a_body_that_an_application_has_inflated_is_in_the_budget_for_so_long(coding, coded):
    bounds, text = Limits(MIB, bodies=Bodies(2 * MIB, MIB)), b"an outcome\n" * 1000
    headers = {b"content-encoding": coding}

    async def work():
        async with inflated(headers, coded(text), bounds, "a") as plain:
            assert plain == text
            assert bounds.bodies.held == (0 if coding == b"identity" else len(text))
        assert bounds.bodies.held == 0

    asyncio.run(work())


@pytest.mark.parametrize(
    ("coding", "body", "error"),
    [
        (b"gzip", gzip.compress(bytes(MIB + 1)), TooLarge),
        (b"gzip", b"none", InvalidInput),
        (b"br", b"none", Unsupported),
    ],
)
def test_of_a_body_that_cannot_be_inflated_nothing_stays_in_the_budget(coding, body, error):
    bounds = Limits(MIB, bodies=Bodies(2 * MIB, MIB))

    async def work():
        with pytest.raises(error):
            async with inflated({b"content-encoding": coding}, body, bounds, "a"):
                pass

    asyncio.run(work())
    assert bounds.bodies.held == 0


ends = st.sampled_from(["whole", "abort", "half", "garbage", "too large"])


@settings(max_examples=6, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([FAST, LATER, ASGI]), st.booleans(), st.integers(1, 900_000), ends, st.booleans()
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_becomes_of_requests_nothing_stays_held(asked):
    async def one(door, path, chunked, size, end, pipelined):
        client = await door.connect()
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's, of a closed transport
            if pipelined:
                await client.send(post(LATER, 3) + b"abc")
            await client.send(CHUNKED % path + b"%x\r\n" % size if chunked else post(path, size))
            await client.send(b"x" * (size // 2))
            if end == "whole":
                await client.send(b"x" * (size - size // 2) + (b"\r\n0\r\n\r\n" if chunked else b""))
            elif end == "garbage":
                await client.send(b"x" * (size - size // 2) + b"\0\0")
            elif end == "too large":
                await client.send(b"x" * (size - size // 2) + b"\r\n200000\r\n" + b"x" * (1 << 21))
            elif end == "half":
                client.writer.write_eof()
            else:
                client.writer.transport.abort()
            if end in {"whole", "garbage"}:
                client.writer.write_eof()
        await client.rest()

    async def work(door):
        door.release.set()
        await asyncio.gather(*(one(door, *request) for request in asked))
        await within(lambda: door.limits.bodies.held == 0, "given back")

    with_door(work, limits())
