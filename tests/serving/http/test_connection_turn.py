"""What may happen to a connection between a request and the end of its turn; real loops and sockets."""

import asyncio
import itertools
import socket

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from serving.http.connection import protocol_of
from serving.http.endpoint import Limits
from serving.wire.message import Call, Reply

PATH = b"/v2/models/m/infer"


class Doubles:
    """Answers with the body twice, and says how many were asked at once."""

    joins = True

    def __init__(self):
        self.asked = []

    def one(self, call: Call):
        self.asked.append(1)
        return Reply(200, call.body * 2)

    def many(self, calls):
        self.asked.append(len(calls))
        return [Reply(200, call.body * 2) for call in calls]


class Endpoint:
    def __init__(self):
        self.limits = Limits()
        self.draining = False
        self.gate = None
        self.doubles = Doubles()
        self.paths = {PATH: self.doubles}


async def application(scope, receive, send):
    """Nothing comes here."""
    raise AssertionError(scope)


NUMBERS = itertools.count()


def request(text):
    return b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b" % (PATH, len(text), text)


def with_a_head_of_its_own(text):
    """One that no cache of heads can know."""
    head = b"POST %b HTTP/1.1\r\nhost: h\r\nx-request-id: %d\r\ncontent-length: %d\r\n\r\n%b"
    return head % (PATH, next(NUMBERS), len(text), text)


KINDS = pytest.mark.parametrize("request_", [request, with_a_head_of_its_own])


@pytest.fixture
def connected():
    """Run work with an endpoint and three connections: the server's protocol and the client's socket of each.

    The head of a request with four bytes is known.
    """

    def run(work):
        async def main():
            loop = asyncio.get_running_loop()
            endpoint = Endpoint()
            config = uvicorn.Config(application, http=protocol_of(endpoint), lifespan="off", log_config=None)
            config.load()
            state, protocols = ServerState(), []

            def protocol():
                protocols.append(config.http_protocol_class(config=config, server_state=state, app_state={}))
                return protocols[-1]

            server = await loop.create_server(protocol, "127.0.0.1", 0)
            clients = []
            for _ in range(3):
                client = socket.create_connection(server.sockets[0].getsockname(), 10)
                client.setblocking(False)
                clients.append(client)
            try:
                for client in clients * 2:
                    await loop.sock_sendall(client, request(b"warm"))
                    await answer(client)
                endpoint.doubles.asked.clear()
                await work(endpoint, list(zip(protocols, clients, strict=True)))
            finally:
                for client in clients:
                    client.close()
                server.close()
                await server.wait_closed()

        uvloop.run(main())

    return run


async def answer(client):
    """The body of one answer; empty when the connection ended instead."""
    loop = asyncio.get_running_loop()
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = await asyncio.wait_for(loop.sock_recv(client, 1), 10)
        if not piece:
            return b""
        data += piece
    length = int(data.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await asyncio.wait_for(loop.sock_recv(client, length), 10)


@KINDS
def test_more_data_on_a_connection_waits_for_what_its_client_is_owed(connected, request_):
    async def work(endpoint, connections):
        [(first, one), (second, two), (third, three)] = connections
        first.data_received(request_(b"0000"))
        third.data_received(request_(b"9999"))
        for text in (b"1111", b"2222"):
            second.data_received(request_(text))
        assert endpoint.doubles.asked == [1, 2], "the second one of the connection ended the turn"
        assert await answer(one) == b"00000000"
        assert await answer(three) == b"99999999"
        assert [await answer(two), await answer(two)] == [b"11111111", b"22222222"]

    connected(work)


@KINDS
def test_data_that_is_no_whole_request_waits_too(connected, request_):
    async def work(endpoint, connections):
        [(first, one), (second, two), _] = connections
        first.data_received(request_(b"0000"))
        second.data_received(request_(b"1111"))
        whole = request_(b"a longer one")
        second.data_received(whole[:9])
        assert endpoint.doubles.asked == [1, 1]
        second.data_received(whole[9:])
        assert await answer(one) == b"00000000"
        assert [await answer(two), await answer(two)] == [b"11111111", b"a longer one" * 2]

    connected(work)


@KINDS
@pytest.mark.parametrize("end", ["eof_received", "shutdown"])
def test_an_end_of_the_connection_comes_after_the_answer(connected, end, request_):
    async def work(endpoint, connections):
        [(first, one), (second, two), _] = connections
        first.data_received(request_(b"0000"))
        second.data_received(request_(b"1111"))
        if end == "eof_received":
            two.shutdown(socket.SHUT_WR)
        getattr(second, end)()
        assert endpoint.doubles.asked == [1, 1]
        assert await answer(two) == b"11111111"
        assert await answer(two) == b""
        assert await answer(one) == b"00000000"

    connected(work)


@KINDS
def test_a_client_that_left_is_answered_by_nobody_and_costs_the_others_nothing(connected, request_):
    async def work(endpoint, connections):
        [(first, one), (second, _), (third, three)] = connections
        for protocol, text in ((first, b"0000"), (second, b"1111"), (third, b"2222")):
            protocol.data_received(request_(text))
        second.transport.abort()
        assert await answer(one) == b"00000000"
        assert await answer(three) == b"22222222"
        assert endpoint.doubles.asked == [1, 2]

    connected(work)


@KINDS
def test_while_draining_every_answer_of_the_turn_is_the_last_of_its_connection(connected, request_):
    async def work(endpoint, connections):
        for protocol, _ in connections:
            protocol.data_received(request_(b"0000"))
        endpoint.draining = True
        [_, (_, two), (_, three)] = connections
        for client in (two, three):
            assert await answer(client) == b"00000000"
            assert await answer(client) == b""

    connected(work)


def test_requests_in_one_segment_are_answered_in_their_order(connected):
    async def work(endpoint, connections):
        [(first, one), (second, two), _] = connections
        first.data_received(request(b"0000"))
        second.data_received(b"".join(with_a_head_of_its_own(b"%04d" % number) for number in range(5)))
        assert [await answer(two) for _ in range(5)] == [b"%04d" % number * 2 for number in range(5)]
        assert await answer(one) == b"00000000"

    connected(work)


@pytest.mark.parametrize("garbage", [b"\0garbage\r\n\r\n", b"GET /%zz HTTP/9\r\n\r\n"])
def test_garbage_behind_a_request_is_refused_after_its_answer(connected, garbage):
    async def work(endpoint, connections):
        [(first, one), (second, two), _] = connections
        first.data_received(request(b"0000"))
        second.data_received(with_a_head_of_its_own(b"1111") + garbage)
        assert await answer(two) == b"11111111"
        assert b"error" in await answer(two)
        assert await answer(one) == b"00000000"

    connected(work)
