"""The framing law of requests, without a socket."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search import examples
from serving.http.request_reader import MAX_HEAD_BYTES, RequestReader

POST = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n"
GET = b"GET /healthz?x=1 HTTP/1.1\r\nhost: h\r\nX-Twice: a\r\nx-twice: b\r\n\r\n"
SIZED = POST + b"Content-Length: 3\r\n\r\nabc"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n2;a=b\r\nab\r\n1\r\nc\r\n0\r\nTrailer: x\r\n\r\n"
LAST = POST + b"connection: close\r\ncontent-length: 3\r\n\r\nabc"
OLD = b"GET / HTTP/1.0\r\n\r\n"
OLD_KEPT = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
EXPECTS = POST + b"expect: 100-continue\r\ncontent-length: 1\r\n\r\n!"
OFFERS = POST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nhi"
TUNNEL = b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n"


class Heard:
    """Writes down what it is told: whole requests, and the fault that ended all."""

    def __init__(self):
        self.requests = []
        self.problem = None
        self.reader = RequestReader(self)
        self.takes = True

    def begun(self):
        self._body = b""

    def head(self, head):
        self._head = head
        return self.takes

    def piece(self, piece):
        assert piece
        self._body += piece

    def ended(self):
        self.requests.append((self._head, self._body))

    def fault(self, problem):
        assert self.problem is None, "a stream has one fault"
        self.problem = problem

    @property
    def all(self):
        said = [([getattr(head, name) for name in head.__slots__], body) for head, body in self.requests]
        return said, self.problem, self.reader.over


def heard(*segments):
    listener = Heard()
    for segment in segments:
        listener.reader.feed(segment)
    return listener


STREAMS = st.lists(
    st.one_of(
        st.sampled_from(
            [SIZED, CHUNKED, GET, LAST, OLD, OLD_KEPT, EXPECTS, OFFERS, TUNNEL, b"\r\n", b"\r\n\r\n"]
        ),
        st.sampled_from(
            [b"garbage\r\n\r\n", POST + b"\r\n", POST + b"host: h\r\n\r\n", SIZED[:-1], b"\x00", b"GET"]
        ),
        st.binary(max_size=20),
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=examples(300))
@given(STREAMS, st.data())
def test_what_is_heard_does_not_depend_on_how_a_stream_was_cut(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert heard(*pieces).all == heard(stream).all
    assert heard(*(stream[at : at + 1] for at in range(len(stream)))).all == heard(stream).all


def test_a_request_is_heard_whole():
    [(head, body)] = heard(SIZED).requests
    assert (head.method, head.target, head.version) == (b"POST", b"/v2/models/m/infer", "1.1")
    assert head.headers == [(b"host", b"h"), (b"content-length", b"3")]
    assert (head.keep_alive, head.expects, body) == (True, False, b"abc")
    assert heard(SIZED).all[1:] == (None, False)


def test_of_a_repeated_field_the_last_is_its_value():
    [(head, _)] = heard(GET).requests
    assert head.fields[b"x-twice"] == b"b"
    assert [value for name, value in head.headers if name == b"x-twice"] == [b"a", b"b"]


def test_trailers_and_chunk_extensions_are_dropped():
    [(head, body)] = heard(CHUNKED).requests
    assert body == b"abc"
    assert b"trailer" not in head.fields


@pytest.mark.parametrize(("wire", "keep_alive"), [(OLD, False), (OLD_KEPT, None), (LAST, False), (GET, True)])
def test_whether_the_connection_stays_open(wire, keep_alive):
    [(head, _)] = heard(wire).requests
    assert head.keep_alive is keep_alive


def test_behind_a_last_request_nothing_is_read():
    assert heard(LAST, b"anything " * 10_000, SIZED).all == heard(LAST).all


def test_an_offer_is_declined_and_the_request_read_without_it():
    (offered, body), (follows, _) = heard(OFFERS + GET).requests
    assert body == b"hi"
    assert b"upgrade" not in offered.fields
    assert follows.target == b"/healthz?x=1"
    assert heard(TUNNEL).problem == (400, "tunnels are not supported", b"")


def test_only_a_client_of_http_1_1_expects():
    assert heard(EXPECTS).requests[0][0].expects
    old = EXPECTS.replace(b"HTTP/1.1", b"HTTP/1.0")
    assert not heard(old).requests[0][0].expects


def test_a_hearer_that_has_enough_hears_no_more():
    listener = Heard()
    listener.takes = False
    listener.reader.feed(SIZED + GET)
    listener.reader.feed(b"garbage")
    assert (listener.requests, listener.problem, listener.reader.over) == ([], None, True)


def field(size):
    return b"x-long: %b\r\n" % (b"a" * size)


ENDLESS = {
    "a target": b"GET /" + b"a" * MAX_HEAD_BYTES,
    "a field": POST + field(MAX_HEAD_BYTES),
    "fields": POST + field(1000) * 70,
    "trailers": POST + b"transfer-encoding: chunked\r\n\r\n0\r\n" + field(1000) * 70,
    "a chunk's extension": POST + b"transfer-encoding: chunked\r\n\r\n1;" + b"a" * 2 * MAX_HEAD_BYTES,
    "blank lines": b"\r\n" * MAX_HEAD_BYTES,
}


@pytest.mark.parametrize("wire", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("size", [1000, 10**9])
def test_what_does_not_end_is_refused(wire, size):
    listener = Heard()
    for at in range(0, len(wire), size):
        listener.reader.feed(wire[at : at + size])
    assert listener.problem is not None
    assert listener.problem[0] == 431
    assert listener.requests == []


def test_a_body_of_any_size_is_not_kept_here():
    body = b"x" * (1 << 20)
    [(_, got)] = heard(POST + b"content-length: %d\r\n\r\n" % len(body), body).requests
    assert got == body
