"""Raw sockets through the router to a target that writes down every byte.

What can be read in two ways is refused and never reaches the target; what is plain reaches it once, as sent.
"""

import contextlib
import socket

import orjson
import pytest

from harness.raw import connect
from harness.rows import body
from harness.secrets_told import told
from harness.system import eventually

PATH = b"/v2/models/behind/infer"
START = b"POST " + PATH + b" HTTP/1.1\r\nHost: h\r\n"
BODY = body(0)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
PLAIN = START + LENGTH + b"\r\n" + BODY
SMUGGLED = b"POST " + PATH + b" HTTP/1.1\r\nHost: evil\r\nX-Smuggled: 1\r\nContent-Length: 2\r\n\r\n{}"


def chunked(data, size=100, end=b"0\r\n\r\n"):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


CHUNKS = START + b"Transfer-Encoding: chunked\r\n\r\n"
AMBIGUOUS = {
    "two lengths": START + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY + SMUGGLED,
    "two equal lengths": START + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": START + b"Content-Length: 2, %d\r\n\r\n" % len(BODY) + BODY,
    "length with a sign": START + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY,
    "length with letters": START + b"Content-Length: 0x10\r\n\r\n" + BODY,
    "negative length": START + b"Content-Length: -1\r\n\r\n" + BODY,
    "length over 2^64": START + b"Content-Length: 18446744073709551617\r\n\r\n" + BODY,
    "length then coding": START + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "coding then length": START + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n" + SMUGGLED,
    "coding with a blank": START + b"Transfer-Encoding : chunked\r\n\r\n" + chunked(BODY),
    "coding in a tab": START + b"Transfer-Encoding:\tchunked, identity\r\n\r\n" + chunked(BODY),
    "coding misspelt": START + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked(BODY),
    "coding not last": START + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + chunked(BODY),
    "coding under a folded name": START + LENGTH + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n" + BODY,
    "obsolete folding": START + LENGTH + b"X: a\r\n\tb\r\n\r\n" + BODY,
    "bare line feeds": (START + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "a bare line feed in a value": START + LENGTH + b"X: a\nContent-Length: 3\r\n\r\n" + BODY,
    "a bare return in a value": START + LENGTH + b"X: a\rContent-Length: 3\r\n\r\n" + BODY,
    "a NUL in a value": START + LENGTH + b"X: a\0b\r\n\r\n" + BODY,
    "a NUL in a name": START + LENGTH + b"X\0: a\r\n\r\n" + BODY,
    "a blank before the colon": START + b"Content-Length : %d\r\n\r\n" % len(BODY) + BODY,
    "no name": START + LENGTH + b": x\r\n\r\n" + BODY,
    "chunk size with a sign": CHUNKS + b"-5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "chunk size over 2^64": CHUNKS + b"10000000000000001\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "chunk longer than it says": CHUNKS + b"5\r\nhelloo\r\n0\r\n\r\n" + SMUGGLED,
    "chunk ends in a bare line feed": CHUNKS + b"5\nhello\n0\n\n" + SMUGGLED,
    "chunk size with 0x": CHUNKS + b"0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "another version": b"POST " + PATH + b" HTTP/9.1\r\n" + LENGTH + b"\r\n" + BODY,
    "a lower-case method": b"post " + PATH + b" HTTP/1.1\r\nHost: h\r\n" + LENGTH + b"\r\n" + BODY,
    "a blank in the path": b"POST " + PATH + b" x HTTP/1.1\r\nHost: h\r\n" + LENGTH + b"\r\n" + BODY,
    "a proxy's tunnel": b"CONNECT evil:80 HTTP/1.1\r\nHost: h\r\n\r\n" + SMUGGLED,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "nothing like HTTP": b"SSH-2.0-OpenSSH_9.0\r\n",
}
REFUSED = {
    "a head of 100 kB": START
    + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 90) for n in range(1000))
    + LENGTH
    + b"\r\n",
    "a header of 100 kB": START + b"X: " + b"a" * 100_000 + b"\r\n" + LENGTH + b"\r\n" + BODY,
    "a path of 100 kB": b"POST /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n" + LENGTH + b"\r\n" + BODY,
}


def until_closed(connection):
    """Everything up to the end."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            found += piece
    return found


def answers(connection, number):
    """So many answers with content-lengths."""
    reader, found = connection.makefile("rb"), []
    for _ in range(number):
        status = int(reader.readline().split()[1])
        headers = {}
        while (line := reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        found.append((status, reader.read(int(headers["content-length"]))))
    return found


def asked_plainly(up, recorder):
    """A plain request is answered, and arrives as one."""
    before = len(recorder.received)
    with connect(up.port) as connection:
        connection.sendall(PLAIN)
        [(status, _)] = answers(connection, 1)
    assert status == 200
    assert [received.body for received in recorder.received[before:]] == [BODY]


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_and_reaches_no_target(kind, up, recorder):
    before = len(recorder.received)
    with connect(up.port) as connection:
        connection.sendall(AMBIGUOUS[kind])
        answer = until_closed(connection)  # it is closed, or this times out
    status = 501 if kind == "coding misspelt" else 400
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1, "what came behind it is not answered"
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert orjson.loads(text)["error"]
    assert not told(text.decode())
    assert len(recorder.received) == before
    asked_plainly(up, recorder)
    assert not recorder.broken


@pytest.mark.parametrize("kind", REFUSED)
def test_a_head_beyond_its_bounds_is_refused(kind, up, recorder):
    before = len(recorder.received)
    with connect(up.port) as connection:
        connection.sendall(REFUSED[kind])
        answer = until_closed(connection)
    assert int(answer.split()[1]) in {400, 414, 431}, answer[:200]
    assert len(recorder.received) == before


def test_pipelined_requests_each_arrive_once_in_order_and_are_answered_in_order(up, recorder):
    before = len(recorder.received)
    bodies = [body(number) for number in range(20)]
    with connect(up.port) as connection:
        connection.sendall(
            b"".join(START + b"Content-Length: %d\r\n\r\n" % len(text) + text for text in bodies)
        )
        found = answers(connection, len(bodies))
    assert [status for status, _ in found] == [200] * 20
    assert [received.body for received in recorder.received[before:]] == bodies


def test_a_chunked_body_in_chunks_of_one_byte_arrives_with_a_length(up, recorder):
    before = len(recorder.received)
    with connect(up.port) as connection:
        connection.sendall(CHUNKS + chunked(BODY, 1, b"0\r\nX-Trailer: Content-Length\r\n\r\n"))
        [(status, _)] = answers(connection, 1)
    assert status == 200
    [received] = recorder.received[before:]
    assert received.body == BODY
    assert "x-trailer" not in dict(received.headers)
    assert not recorder.broken


def test_headers_of_a_hop_and_of_the_client_do_not_travel_on(up, recorder):
    before = len(recorder.received)
    extra = b"Connection: keep-alive, X-Secret\r\nX-Secret: s\r\nCookie: c\r\n"
    extra += b"Authorization: Bearer t\r\nTE: trailers\r\n"
    with connect(up.port) as connection:
        connection.sendall(START + extra + LENGTH + b"\r\n" + BODY)
        [(status, _)] = answers(connection, 1)
    assert status == 200
    [received] = recorder.received[before:]
    assert not {"x-secret", "cookie", "authorization", "te"} & dict(received.headers).keys()


def test_a_request_without_a_version_is_the_last_of_its_connection(up, recorder):
    before = len(recorder.received)
    with connect(up.port) as connection:
        connection.sendall(b"POST " + PATH + b"\r\n" + LENGTH + b"\r\n" + BODY + SMUGGLED)
        answer = until_closed(connection)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert [received.body for received in recorder.received[before:]] in ([], [BODY])


BEGINNINGS = [START[:20], START, START + LENGTH + b"\r\n" + BODY[:10], CHUNKS + b"1\r\nx\r\n"]


def trickle(connection, beginning):
    """Send a little more; what was answered, once it is ended."""
    with contextlib.suppress(BlockingIOError, ConnectionError):
        connection.send(b"1\r\nx\r\n" if beginning.startswith(CHUNKS) else b"X")
    try:
        return connection.recv(1000)[:12]
    except BlockingIOError:
        return None
    except ConnectionError:
        return b"reset"


def test_a_client_that_sends_a_byte_now_and_then_is_ended_at_an_absolute_deadline(up, recorder):
    before = len(recorder.received)
    with contextlib.ExitStack() as stack:
        open_ = [(stack.enter_context(connect(up.port)), beginning) for beginning in BEGINNINGS]
        for connection, beginning in open_:
            connection.sendall(beginning)
            connection.setblocking(False)
        for connection, beginning in open_:
            end = eventually(lambda: trickle(connection, beginning), "ended")  # noqa: B023
            assert end in {b"HTTP/1.1 408", b"reset"}
    assert len(recorder.received) == before


MEDIA = [
    "application/x-python-pickle",
    "application/python-pickle",
    "text/yaml",
    "multipart/form-data",
    "\xff",
    "",
]


@pytest.mark.parametrize("media", MEDIA)
def test_a_body_is_read_as_the_protocol_says_whatever_it_claims_to_be(media, up):
    import pickle

    kind = b"Content-Type: " + media.encode("latin-1") + b"\r\n"
    for content, statuses in ((BODY, {200, 415}), (pickle.dumps({"inputs": []}), {400, 415})):
        with connect(up.port) as connection:
            length = b"Content-Length: %d\r\n\r\n" % len(content)
            connection.sendall(START.replace(b"behind", b"digits") + kind + length + content)
            [(status, text)] = answers(connection, 1)
        assert status in statuses, text
        assert not told(text.decode())


PATHS = [
    "/v2/models/../../etc/passwd", "/v2/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd/infer",
    "/v2/models/digits%00/infer",
    "/v2/models//etc/passwd/infer", "/v2/models/digits%2f1/infer", "/v2/models/dіgits/infer",
    "/v2/models/digits/versions/../1/infer", "/v2/models/digits/versions/%31%00/infer",
    "/v2/models/digits/versions/1e0/infer", "/v2/models/digits/versions/٣/infer", "/v2/models/.digits/infer",
    "//v2/models/digits/infer/..", "/v2/models/digits\\..\\iris/infer", "/v2/models/%ff%fe/infer",
    "/v2/models/" + "a" * 5000 + "/infer", "/v2/models/digits/versions/" + "9" * 5000 + "/infer",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_name_that_is_none_is_not_found_and_tells_nothing(path, up):
    with connect(up.port) as connection:
        line = b"POST " + path.encode() + b" HTTP/1.1\r\nHost: h\r\n"
        connection.sendall(line + LENGTH + b"\r\n" + BODY)
        connection.shutdown(socket.SHUT_WR)
        answer = until_closed(connection)
    assert int(answer.split()[1]) in {400, 404}, answer[:300]
    assert not told(answer.partition(b"\r\n\r\n")[2].decode(), path)
