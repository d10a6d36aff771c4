"""The id of a request comes back with its answer, whoever gives it; real sockets."""

import asyncio

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from serving.errors import InvalidInput, Unauthenticated, Unavailable
from serving.http.connection import protocol_of
from serving.http.endpoint import Limits
from serving.wire.handler import Single
from serving.wire.message import Reply
from serving.wire.request_id import MAX_BYTES, REQUEST_ID, request_id

LIMIT = 2048
STAMP = b"x-stamp: 7\r\n"


def fails(call):
    call.error_headers = STAMP
    raise Unavailable("later")


async def fails_later(call):
    await asyncio.sleep(0)
    call.error_headers = STAMP
    raise InvalidInput("no")


class FailsTogether:
    """Tells all calls of a run the same failure."""

    joins = True
    one = staticmethod(fails)

    def many(self, calls):
        failure = InvalidInput("no")
        for number, call in enumerate(calls):
            call.error_headers = b"x-stamp: %d\r\n" % number
        return [failure] * len(calls)


class Gate:
    def refusal(self, fields, _):
        return Unauthenticated("who are you?") if b"authorization" in fields else None


class Endpoint:
    def __init__(self, gate=None):
        self.limits = Limits(LIMIT)
        self.draining = False
        self.gate = gate
        self.paths = {
            b"/echo": Single(lambda call: Reply(200, call.body)),
            b"/fails": Single(fails),
            b"/later": Single(fails_later),
            b"/together": FailsTogether(),
        }


async def application(scope, receive, send):
    """Answers all else with its path."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": scope["path"][:4].encode()})


def post(path, *lines, body=b"abc", length=None):
    size = len(body) if length is None else length
    head = [f"POST {path} HTTP/1.1", "host: h", f"content-length: {size}", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def answered(*requests):
    """The status and headers of each answer to what is sent at once."""

    async def main():
        protocol = protocol_of(Endpoint(Gate()))
        config = uvicorn.Config(application, lifespan="off", log_config=None)
        server = await asyncio.get_running_loop().create_server(
            lambda: protocol(config, ServerState(), {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"".join(requests))
        writer.write_eof()
        said = await reader.read()
        writer.close()
        server.close()
        return said

    found = []
    for answer in asyncio.run(main()).split(b"HTTP/1.1 ")[1:]:
        first, *lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
        found.append((int(first[:3]), dict(line.split(b": ", 1) for line in lines)))
    return found


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post("/echo", "X-Request-ID: a-1"), 200),
        (post("/echo", "x-request-id: a-1", "connection: close"), 200),
        (post("/fails", "x-request-id: a-1"), 503),
        (post("/later", "x-request-id: a-1"), 400),
        (post("/elsewhere", "x-request-id: a-1"), 404),
        (post("/elsewhere", "x-request-id: a-1", "connection: close"), 404),
        (post("/echo", "x-request-id: a-1", "authorization: x"), 401),
        (post("/echo", "x-request-id: a-1", length=LIMIT + 1), 413),
        (post("/echo", "x-request-id: a-1", length=9), 400),
        (post("/echo#", "x-request-id: a-1"), 400),
    ],
)
def test_every_answer_has_the_id_of_its_request(request_, status):
    [(found, headers)] = answered(request_)
    assert (found, headers[REQUEST_ID]) == (status, b"a-1")


def test_each_of_several_requests_has_its_own_or_none():
    names = ["x-request-id: a", "x-other: b", "x-request-id: c", "x-request-id: d"]
    paths = ["/echo", "/echo", "/elsewhere", "/echo"]
    found = answered(*(post(path, name) for path, name in zip(paths, names, strict=True)))
    assert [headers.get(REQUEST_ID) for _, headers in found] == [b"a", None, b"c", b"d"]


@pytest.mark.parametrize(
    "text", ["", "x" * (MAX_BYTES + 1), "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "a\tb"]
)
@pytest.mark.parametrize(("path", "status"), [("/echo", 200), ("/elsewhere", 404)])
def test_an_id_that_is_none_is_left_out_and_its_request_answered(path, status, text):
    [(found, headers)] = answered(post(path, f"x-request-id: {text}"))
    assert found == status
    assert REQUEST_ID not in headers


@given(st.binary(max_size=200))
def test_an_id_is_taken_as_it_came_or_not_at_all(text):
    taken = request_id({REQUEST_ID: text})
    good = 0 < len(text) <= MAX_BYTES and all(0x20 <= byte <= 0x7E for byte in text)
    assert taken == (text if good else b"")


def test_failures_carry_the_lines_of_their_call():
    for path in ("/fails", "/later"):
        [(_, headers)] = answered(post(path))
        assert headers[b"x-stamp"] == b"7"


def test_calls_of_one_turn_that_fail_together_carry_lines_of_their_own():
    """The first is answered at once, the others together; the second time their heads are known."""

    async def main():
        protocol, made, said = protocol_of(Endpoint()), [], []
        config = uvicorn.Config(application, lifespan="off", log_config=None)

        there = asyncio.Event()

        def connect():
            made.append(protocol(config, ServerState(), {}))
            if len(made) == 4:
                there.set()
            return made[-1]

        server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
        streams = [await asyncio.open_connection(*server.sockets[0].getsockname()) for _ in range(4)]
        await there.wait()
        for _ in range(3):
            for connection in made:
                connection.data_received(post("/together"))
            said.append([await reader.readuntil(b"}") for reader, _ in streams])
        for _, writer in streams:
            writer.close()
        server.close()
        return said

    for answers in asyncio.run(main()):
        found = [answer.partition(b"x-stamp: ")[2][:1] for answer in answers]
        assert found == [b"7", b"0", b"1", b"2"]
