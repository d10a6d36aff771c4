"""A door whose places are all taken: who is turned away, and that health is answered."""

import asyncio

import pytest

from harness.door import FAST, HEALTH, with_door, within
from serving.http.connection_limit import SPARE_PLACES, ConnectionLimits
from serving.telemetry.cells import Metrics, read

GET = b"%b %b HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" % FAST
PLACES = 5


@pytest.fixture
def counted(tmp_path):
    metrics = Metrics(tmp_path, "test")
    yield metrics, lambda: read(tmp_path)["understudy_rejected"].series["public", "connections"][0]
    metrics.close()


async def fill(door, number):
    """One client holds so many connections, and says nothing."""
    held = [await door.connect() for _ in range(number)]
    await within(lambda: len(door.connections) == number, "connected")
    return held


def test_one_client_that_holds_all_connections_leaves_health_answered(counted):
    metrics, refused = counted

    async def work(door):
        held = await fill(door, PLACES)
        for method, path in ((b"GET", HEALTH), (b"HEAD", HEALTH), (b"GET", HEALTH + b"?a=1")):
            client = await door.connect()
            await client.send(GET % (method, path) + GET % (method, path))
            status, headers, _ = await client.answer(bodiless=method == b"HEAD")
            assert (status, headers["connection"]) == (200, "close")
            assert await client.rest() == b"", "one answer a connection"
        assert refused() == 0.0
        for wire in (POST, GET % (b"GET", b"/v2"), GET % (b"GET", HEALTH + b"/x"), b"x" * 9000):
            client = await door.connect()
            await client.send(wire)
            status, headers, _ = await client.answer()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert "date" in headers
        assert refused() == 4.0
        held[0].writer.close()
        await within(lambda: len(door.connections) == PLACES - 1, "left")
        client = await door.connect()
        await client.send(POST)
        assert (await client.answer())[0] == 200

    with_door(work, places=ConnectionLimits("public", PLACES, 0, metrics))


def test_spare_places_held_in_silence_are_given_to_who_comes(counted):
    metrics, refused = counted

    async def work(door):
        await fill(door, PLACES)
        silent = [await door.connect() for _ in range(3 * SPARE_PLACES)]
        client = await door.connect()
        await client.send(GET % (b"GET", HEALTH))
        assert (await client.answer())[0] == 200
        for one in silent:
            assert (await asyncio.wait_for(one.answer(), 5))[0] == 503
        assert refused() == 3 * SPARE_PLACES
        await within(lambda: len(door.connections) == PLACES, "nobody else is left")

    with_door(work, places=ConnectionLimits("public", PLACES, 0, metrics))


def test_a_limit_of_one_client_leaves_health_answered_too(counted):
    metrics, _ = counted

    async def work(door):
        await fill(door, 2)
        for wire, expected in ((GET % (b"GET", HEALTH), 200), (POST, 503)):
            client = await door.connect()
            for at in range(len(wire)):
                await client.send(wire[at : at + 1])
            assert (await client.answer())[0] == expected

    with_door(work, places=ConnectionLimits("public", PLACES, 2, metrics))
