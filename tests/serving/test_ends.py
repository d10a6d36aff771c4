"""Clients that close their sending side, and many requests at once: whoever asked is answered."""

import asyncio
import re
import socket
import struct

import orjson
import pytest

from harness.door import ASGI, FAST, LATER, with_door, within

POST = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n%b\r\nhello"
GET = b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n"
GZIP = b"Accept-Encoding: gzip\r\n"


def statuses(wire):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ", wire)]


@pytest.mark.parametrize(
    "requests",
    [
        [POST % (FAST, b"")],
        [POST % (LATER, b"")],
        [POST % (ASGI, b"")],
        [POST % (FAST, GZIP)],
        [POST % (LATER, GZIP)],
        [GET % b"/later"],
        [POST % (LATER, b""), POST % (FAST, b""), GET % b"/later", POST % (ASGI, b"")],
        [GET % b"/later"] * 300,
        [POST % (FAST, b"")] * 200,
    ],
    ids=range(9),
)
def test_a_client_that_closes_its_sending_side_is_answered(requests):
    async def work(door):
        client = await door.connect()
        await client.send(b"".join(requests))
        client.writer.write_eof()
        await asyncio.sleep(0.02)
        door.release.set()
        answer = await client.rest()
        assert statuses(answer) == [200] * len(requests)
        await within(lambda: not door.connections, "and then it is closed")

    with_door(work)


def test_a_request_whose_end_never_comes_is_refused_after_those_before_it():
    async def work(door):
        for path in (FAST, LATER, ASGI):
            for before in ([], [POST % (LATER, b"")], [GET % b"/later"]):
                door.release.clear()
                client = await door.connect()
                await client.send(b"".join(before) + (POST % (path, b""))[:-1])
                client.writer.write_eof()
                await asyncio.sleep(0.01)
                door.release.set()
                answer = await client.rest()
                assert statuses(answer) == [200] * len(before) + [400]

    with_door(work)


@pytest.mark.parametrize("path", [LATER, b"/later"])
def test_a_client_that_left_is_found_out(path):
    """It looks as if it had closed its sending side only, until something is sent to it."""

    async def work(door):
        client = await door.connect()
        await client.send(POST % (path, b""))
        await within(lambda: len(door.connections) == 1, "it came")
        client.writer.close()
        await within(lambda: not door.connections, "it left", 10)
        assert not door.release.is_set()

    with_door(work)


def test_a_client_that_waits_long_is_told_that_it_is_not_forgotten():
    async def work(door):
        client = await door.connect()
        await client.send(POST % (LATER, b""))
        client.writer.write_eof()
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        door.release.set()
        answer = await client.rest()
        assert statuses(answer)[-1] == 200

    with_door(work)


@pytest.mark.parametrize("first", [b"", POST % (LATER, b""), GET % b"/later"])
@pytest.mark.parametrize("slice_", [777, 1 << 20])
def test_thousands_of_pipelined_requests_are_answered_in_order_with_few_waiting(first, slice_):
    """3,000 and a little: what is read of them before they can be answered is bounded."""

    async def work(door):
        client = await door.connect()
        wire = first + b"".join(
            (b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
            if number % 3
            else POST % (FAST, b"x-n: %d\r\n" % number)
            for number in range(3000)
        )
        asyncio.get_running_loop().call_later(0.05, door.release.set)
        most = 0

        async def send():
            for at in range(0, len(wire), slice_):
                await client.send(wire[at : at + slice_])

        sending = asyncio.create_task(send())
        if first:
            assert (await client.answer())[0] == 200
        for number in range(3000):
            status, _, body = await client.answer()
            told = orjson.loads(body)
            assert status == 200
            seen = told["target"] if number % 3 else told["headers"]["x-n"]
            assert seen == (f"/{number}" if number % 3 else str(number))
            [connection] = door.connections
            most = max(most, len(connection._pipeline))
        await sending
        assert most < 300

    with_door(work)


def test_a_client_that_resets_takes_its_request_with_it():
    async def work(door):
        client = await door.connect()
        await client.send(POST % (LATER, b""))
        await within(lambda: door.connections, "it came")
        raw = client.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await within(lambda: not door.connections, "it left")

    with_door(work)
