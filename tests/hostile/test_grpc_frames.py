"""HTTP/2 by hand against the gRPC door: lies are ended, floods fill no memory, neighbours are answered.

The frames are gRPC's own to read (its C core): these tests say that what we ask of it holds.
"""

import contextlib
import struct
from collections import Counter

import grpc
import pytest

from harness.grpc_asking import INFER, OWN, PLAIN, STREAM, answer, workers
from harness.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    call,
    frame,
    headers,
    message,
)

BOTH = END_HEADERS | END_STREAM
CALL = call(INFER.encode())
OPENED = frame(HEADERS, END_HEADERS, 1, CALL)
CANCEL = struct.pack(">I", 8)
CLOSED = None
"""Instead of a frame that ends a stream: the connection is closed."""


def whole(data, stream=1):
    return frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, END_STREAM, stream, data)


LIES = {
    "a message shorter than its length": (whole(message(PLAIN, length=10)), HEADERS),
    "a message longer than the most": (OPENED + frame(DATA, 0, 1, message(b"", length=2**32 - 1)), HEADERS),
    "a compressed message without a coding": (whole(message(PLAIN, flag=1)), HEADERS),
    "a flag of no meaning": (whole(message(PLAIN, flag=7)), HEADERS),
    "two messages where one is due": (whole(message(PLAIN) * 2), HEADERS),
    "a GET": (
        frame(HEADERS, BOTH, 1, headers((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"))),
        RST_STREAM,
    ),
    "a header block cut short": (frame(HEADERS, END_HEADERS, 1, CALL, length=5), HEADERS),
    "an index beyond the table": (frame(HEADERS, END_HEADERS, 1, b"\xff" * 100), HEADERS),
    "a length of 2^70 in a header": (frame(HEADERS, END_HEADERS, 1, b"\x00\x7f" + b"\xff" * 20), HEADERS),
    "a frame of 16 MiB": (frame(DATA, 0, 1, length=2**24 - 1), CLOSED),
    "settings of three bytes": (frame(SETTINGS, 0, 0, b"abc"), CLOSED),
    "a window that grows by nothing": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), CLOSED),
}  # fmt: skip
HELLOS = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "noise": b"\xff" * 100,
    "a cut preface": PREFACE[:-1] + b"x",
}


@pytest.fixture
def neighbour(up):
    """Another client, with a connection of its own, is answered as before, by the same process."""
    before = workers(up).keys()
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc_port}", OWN) as channel:
        yield lambda: answer(channel, PLAIN)
        assert answer(channel, PLAIN) == ("OK", "")
    assert workers(up).keys() == before


def ended(each):
    """Whether it is the frame with which stream 1 ends: of an answer its trailers, or a reset."""
    return each.stream == 1 and (
        each.kind == RST_STREAM or (each.kind == HEADERS and each.flags & END_STREAM)
    )


@pytest.mark.parametrize("kind", LIES)
@pytest.mark.usefixtures("neighbour")
def test_a_frame_that_lies_ends_its_stream_or_its_connection(kind, up):
    sent, right = LIES[kind]
    with contextlib.closing(Connection(up.grpc_port)) as connection:
        connection.send(sent)
        end = connection.until(ended)
    assert (end.kind if end else CLOSED) == right


@pytest.mark.parametrize("hello", HELLOS)
@pytest.mark.usefixtures("neighbour")
def test_what_does_not_speak_http2_is_closed(hello, up):
    with contextlib.closing(Connection(up.grpc_port, greeted=False)) as connection:
        connection.send(HELLOS[hello])
        assert connection.until(lambda each: each.kind == HEADERS) is None


def streams(sent):
    """A flood that opens so many streams with each round."""

    def at(round_):
        return b"".join(sent(1 + 2 * number) for number in range(round_ * 200, round_ * 200 + 200))

    return at


def behind(first, then):
    return lambda round_: then if round_ else first + then


FLOODS = {
    "pings": lambda _: frame(PING, 0, 0, bytes(8)) * 1000,
    "answers to pings": lambda _: frame(PING, 1, 0, bytes(8)) * 1000,
    "settings": lambda _: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535) * 100) * 100,
    "windows": lambda _: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 1000,
    "priorities": lambda _: frame(PRIORITY, 0, 2**20 + 1, bytes(5)) * 1000,
    "promises": lambda _: frame(PUSH, END_HEADERS, 1, bytes(4)) * 1000,
    "empty data": behind(OPENED, frame(DATA, 0, 1) * 1000),
    "headers without end": behind(
        frame(HEADERS, 0, 1, CALL), frame(CONTINUATION, 0, 1, headers((b"x", b"a" * 100)) * 10) * 50
    ),
    "empty headers without end": behind(frame(HEADERS, 0, 1, CALL), frame(CONTINUATION, 0, 1) * 1000),
    "calls ended at once": streams(
        lambda stream: frame(HEADERS, END_HEADERS, stream, CALL) + frame(RST_STREAM, 0, stream, CANCEL)
    ),
    "calls ended behind their message": streams(
        lambda stream: whole(message(PLAIN), stream) + frame(RST_STREAM, 0, stream, CANCEL)
    ),
    "calls whose answers nobody reads": streams(lambda stream: whole(message(PLAIN), stream)),
    "calls without a message": streams(lambda stream: frame(HEADERS, BOTH, stream, CALL)),
    "calls of no method": streams(lambda stream: frame(HEADERS, BOTH, stream, call(b"/a/b"))),
}  # fmt: skip
ROUNDS = 20


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_fills_no_memory_and_neighbours_are_answered(kind, up, neighbour):
    made = FLOODS[kind]
    [(pid, before)] = workers(up).items()
    found = Counter()
    with contextlib.closing(Connection(up.grpc_port)) as connection:
        connection.socket.settimeout(0.2)
        for round_ in range(ROUNDS):
            with contextlib.suppress(TimeoutError):  # it reads no more for now
                if not connection.send(made(round_)):
                    break
            if round_ % 10 == 0:
                found[neighbour()] += 1
    assert found.keys() == {("OK", "")}
    assert workers(up)[pid] < before + (50 << 20)


def test_a_client_that_pings_without_end_is_told_to_go_away(up):
    with contextlib.closing(Connection(up.grpc_port)) as connection:
        connection.send(frame(PING, 0, 0, bytes(8)) * 10)
        told = connection.until(lambda each: each.kind == GOAWAY)
    assert told is not None
    assert told.payload.endswith(b"too_many_pings")


@pytest.mark.usefixtures("neighbour")
def test_clients_that_are_gone_in_the_middle_leave_their_places(up):
    """As many halves of calls as would fill all places many times over, were they kept."""
    half = OPENED + frame(DATA, 0, 1, message(PLAIN, length=1_000_000))
    stream = frame(HEADERS, END_HEADERS, 3, call(STREAM.encode())) + frame(DATA, 0, 3, message(PLAIN))
    for _ in range(300):
        with contextlib.closing(Connection(up.grpc_port)) as connection:
            connection.send(half + stream)
