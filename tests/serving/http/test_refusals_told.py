"""What a door refuses of a handler's requests is told to that handler, once, whichever way they come."""

import asyncio
import gzip
from types import SimpleNamespace

import httpx
import pytest

from harness.door import FAST, with_door
from serving.admission.bodies import Bodies
from serving.errors import Unauthenticated
from serving.http.app import create_app
from serving.http.endpoint import Limits
from serving.http.gated_app import GatedApp
from serving.wire.handler import Unconcerned, status_of
from serving.wire.message import Reply

LIMIT = 4096
CHUNK = b"1000\r\n" + b"x" * 4096 + b"\r\n"


class Hears(Unconcerned):
    """A handler that remembers what it was asked and what was refused."""

    joins = False

    def __init__(self):
        self.asked = 0
        self.refusals = []

    def one(self, _call):
        self.asked += 1
        return Reply(200, b"{}")

    def refused(self, call, failure):
        self.refusals.append((status_of(failure), call.headers[b"x-request-id"], call.body))


class Gate:
    """Lets nobody in who brings a key."""

    def refusal(self, headers, _address):
        return Unauthenticated("no") if b"x-api-key" in headers else None


def post(*lines, body=b"abc", length=None):
    size = len(body) if length is None else length
    head = [b"POST %b HTTP/1.1" % FAST, b"host: h", b"x-request-id: 1"]
    if size >= 0:
        head.append(b"content-length: %d" % size)
    return b"\r\n".join([*head, *lines]) + b"\r\n\r\n" + body


CHUNKED = post(b"transfer-encoding: chunked", body=CHUNK * 2, length=-1)
INFLATES = post(b"content-encoding: gzip", body=gzip.compress(b"x" * 2 * LIMIT))


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (post(b"x-api-key: k"), 401),
        (post(length=LIMIT + 1), 413),
        (CHUNKED, 413),
        (INFLATES, 413),
        (post(b"content-encoding: br"), 501),
        (post(length=9), 400),
    ],
    ids=["no key", "announced too large", "too large", "inflates too large", "unknown coding", "cut short"],
)
def test_a_handler_hears_what_was_refused_of_it_as_its_client_does(wire, status):
    hears = Hears()

    async def work(door):
        door.gate, door.paths[FAST] = Gate(), hears
        answer = await door.ask(wire)
        assert answer.startswith(b"HTTP/1.1 %d" % status)

    with_door(work, Limits(LIMIT))
    assert hears.refusals == [(status, b"1", b"")]
    assert hears.asked == 0


def test_a_client_that_is_too_slow_is_told_so_and_so_is_the_handler():
    hears = Hears()

    async def work(door):
        door.paths[FAST] = hears
        client = await door.connect()
        await client.send(post(length=9))
        assert (await client.answer())[0] == 408

    with_door(work, Limits(LIMIT, receive_seconds=0.1))
    assert hears.refusals == [(408, b"1", b"")]


def test_where_there_is_no_memory_for_a_body_its_handler_hears_it():
    hears, bodies = Hears(), Bodies(LIMIT, LIMIT)
    assert bodies.take("", LIMIT)

    async def work(door):
        door.paths[FAST] = hears
        client = await door.connect()
        await client.send(post(length=100))
        assert (await client.answer())[0] == 503

    with_door(work, Limits(LIMIT, bodies=bodies))
    assert hears.refusals == [(503, b"1", b"")]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [({"x-api-key": "k"}, b"", 401), ({}, b"x" * (LIMIT + 1), 413)],
    ids=["no key", "too large"],
)
def test_a_handler_hears_what_is_refused_of_it_behind_the_short_path(headers, body, status):
    hears = Hears()
    path = FAST.decode()
    service = SimpleNamespace(version="0", limits=Limits(LIMIT), gate=Gate(), paths={FAST: hears})

    async def pieces():
        yield body

    async def main():
        transport = httpx.ASGITransport(GatedApp(create_app(service), service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            sent = {"x-request-id": "1", **headers}
            found = await client.post(path, headers=sent, content=pieces())
            assert (await client.get(path, headers=sent)).status_code in {401, 405}, "of no call"
            return found

    answer = asyncio.run(main())
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert hears.refusals == [(status, b"1", b"")]
