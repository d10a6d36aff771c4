"""The public door over raw sockets: what a correct client may do, and what a wrong or hostile one gets."""

import contextlib
import gzip
import json
import socket
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from graphs import FLOAT, INT64, graph, node, put, unary, value
from onnx import TensorProto, helper

from harness.system import Process, eventually, free_port

ECHO = b"/v2/models/echo/infer"
SLOW = b"/v2/models/slow/infer"


def counting():
    """Counts to n, one step after the other: how long it runs is the client's choice."""
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"]),
            node("Add", ["v", "one"], ["v_out"]),
        ],
        "body",
        [value("i", INT64, []), value("go", TensorProto.BOOL, []), value("v", FLOAT, [])],
        [value("go_on", TensorProto.BOOL, []), value("v_out", FLOAT, [])],
    )
    return graph(
        [node("Squeeze", ["n"], ["trips"]), node("Loop", ["trips", "", "zero"], ["y"], body=body)],
        [value("n", INT64, [1])],
        [value("y", FLOAT, [])],
        [("zero", np.array(0, "f4")), ("one", np.array(1, "f4"))],
    )


class Raw:
    """A connection that sends exactly what it is told to, and reads whole answers."""

    def __init__(self, port, timeout=8.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def until(self, mark):
        while mark not in self.buffer:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def answer(self):
        first, *lines = self.until(b"\r\n\r\n").split(b"\r\n")
        protocol, status, _ = first.split(b" ", 2)
        assert protocol == b"HTTP/1.1"
        headers = {
            name.lower().decode(): text.decode() for name, text in (li.split(b": ", 1) for li in lines)
        }
        size = int(headers.get("content-length", 0))
        while len(self.buffer) < size:
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError(self.buffer)
            self.buffer += data
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return SimpleNamespace(status=int(status), headers=headers, body=body)

    def ended(self):
        """Whether the server closes, with nothing more to say."""
        return self.buffer == b"" and self.socket.recv(1) == b""


def document(values=(1.5, -2.0), id_=None):
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": list(values)}
    message = {"inputs": [tensor]} | ({} if id_ is None else {"id": id_})
    return json.dumps(message).encode()


def count_to(n):
    return json.dumps({"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [n]}]}).encode()


def post(body, path=ECHO, headers=(), *, length=True, version=b"1.1"):
    lines = [b"POST %b HTTP/%b" % (path, version), b"Host: h", *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path, headers=()):
    return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"Host: h", *headers]) + b"\r\n\r\n"


def outcome(answer):
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["outputs"][0]["data"]


@contextlib.contextmanager
def started(folder: Path, **environment):
    models = folder / "models"
    put(models, "echo", 1, unary(shape=("rows", "columns")), "execution: inline\n")
    put(models, "slow", 1, counting(), "execution: pooled\nqueue: 1\ntimeout: 5m\n")
    port = free_port()
    arguments = ["serve", "--models", str(models), "--host", "127.0.0.1", "--port", str(port)]
    settings = {"UNDERSTUDY_STATE_DIR": str(folder / "state"), **environment}
    process = Process(arguments, folder, {name.upper(): text for name, text in settings.items()})
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: httpx.get(f"{url}/v2/health/ready", trust_env=False).status_code == 200, "ready")
        yield SimpleNamespace(port=port, url=url, pid=process.popen.pid)
    finally:
        code = process.end()
        print(process.log.read_text()[-4000:])
    assert code == 0
    assert "Traceback" not in process.log.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with started(tmp_path_factory.mktemp("patient"), UNDERSTUDY_GRACE_SECONDS="5") as system:
        yield system


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Small limits."""
    limits = {
        "UNDERSTUDY_MAX_BODY_BYTES": "65536",
        "UNDERSTUDY_RECEIVE_SECONDS": "1",
        "UNDERSTUDY_IDLE_SECONDS": "2",
    }
    with started(tmp_path_factory.mktemp("strict"), **limits) as system:
        yield system


@pytest.fixture
def raw(server):
    with Raw(server.port) as connection:
        yield connection


@pytest.fixture
def strict_raw(strict):
    with Raw(strict.port) as connection:
        yield connection


# ---------------------------------------------------------------------- connections


def test_a_connection_is_kept_and_serves_one_request_after_the_other(raw):
    for number in range(50):
        raw.send(post(document([number, 0.5], id_=str(number))))
        answer = raw.answer()
        assert outcome(answer) == [number, 0.5]
        assert json.loads(answer.body)["id"] == str(number)
        assert answer.headers["content-type"] == "application/json"
        assert "connection" not in answer.headers


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_connection_close_is_honoured(raw, path):
    raw.send(post(document(), path, [b"Connection: close"]))
    answer = raw.answer()
    assert outcome(answer) == [1.5, -2.0]
    assert answer.headers["connection"] == "close"
    assert raw.ended()


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_http_1_0_is_answered_and_closed(raw, path):
    raw.send(post(document(), path, version=b"1.0"))
    assert outcome(raw.answer()) == [1.5, -2.0]
    assert raw.ended()


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_http_1_0_is_kept_where_it_asks_for_it_and_told_so(raw, path):
    for _ in range(3):
        raw.send(post(document(), path, [b"Connection: keep-alive"], version=b"1.0"))
        answer = raw.answer()
        assert outcome(answer) == [1.5, -2.0]
        assert answer.headers["connection"] == "keep-alive"
    raw.send(post(document(), path, [b"Expect: 100-continue"], version=b"1.0"))
    assert outcome(raw.answer()) == [1.5, -2.0], "no interim response, which it could not read"
    assert raw.ended()


@pytest.mark.parametrize(
    "request_",
    [post(document()), post(b"{"), get(b"/v2"), get(b"/nowhere"), get(b"/v2").replace(b"Host: h", b"x: y")],
)
def test_every_answer_has_the_date(raw, request_):
    for _ in range(3 if b"Host" in request_ else 1):  # the third has a remembered head
        raw.send(request_)
        date = parsedate_to_datetime(raw.answer().headers["date"])
        assert abs((datetime.now(UTC) - date).total_seconds()) < 5


def test_a_head_request_has_the_answer_of_get_without_its_body(raw):
    raw.send(get(b"/v2/models/echo"))
    given = raw.answer()
    raw.send(get(b"/v2/models/echo").replace(b"GET", b"HEAD") + post(document()))
    head = raw.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: %d" % len(given.body) in head
    assert outcome(raw.answer()) == [1.5, -2.0]


def test_nothing_that_follows_a_last_request_is_answered(raw):
    raw.send(post(document([1]), headers=[b"Connection: close"]) + post(document([2])))
    assert outcome(raw.answer()) == [1]
    assert raw.ended()


def test_answers_leave_in_the_order_of_their_requests(raw):
    ids = []
    wire = b""
    for number in range(120):
        kind = number % 4
        if kind == 0:
            wire += post(document([number]))
            ids.append([float(number)])
        elif kind == 1:
            wire += get(b"/v2/models/echo")
            ids.append("echo")
        elif kind == 2:
            wire += post(count_to(2000), SLOW)
            ids.append([2000.0])
        else:
            wire += post(document([number]), ECHO + b"?x=1")
            ids.append([float(number)])
    raw.send(wire)
    got = []
    for _ in ids:
        message = json.loads(raw.answer().body)
        got.append(message["outputs"][0]["data"] if "model_name" in message else message["name"])
    assert got == ids


def test_garbage_behind_a_request_under_way_is_refused_after_its_answer(raw):
    raw.send(post(count_to(100_000), SLOW) + b"\0garbage\r\n\r\n")
    assert outcome(raw.answer()) == [100_000]
    assert raw.answer().status == 400
    assert raw.ended()


def test_many_pipelined_requests_behind_a_slow_one_are_answered_one_by_one(raw):
    raw.send(post(count_to(20_000), SLOW) + get(b"/v2/models/echo") * 400)
    assert outcome(raw.answer()) == [20_000]
    assert {raw.answer().status for _ in range(400)} == {200}
    raw.send(post(document()))
    assert outcome(raw.answer()) == [1.5, -2.0]


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_a_client_that_expects_100_continue_gets_it(raw, path):
    body = document()
    raw.send(post(b"", path, [b"Expect: 100-continue", b"Content-Length: %d" % len(body)], length=False))
    assert raw.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
    raw.send(body)
    assert outcome(raw.answer()) == [1.5, -2.0]


def test_an_offer_to_speak_http_2_is_declined_and_the_request_answered(raw):
    """Java's client makes it with its first request."""
    offer = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAA"]
    for request in (post(document(), headers=offer), post(document(), ECHO + b"?x=1", offer)):
        raw.send(request + post(document([3])))
        assert outcome(raw.answer()) == [1.5, -2.0]
        assert outcome(raw.answer()) == [3]
    raw.send(get(b"/v2", offer) + get(b"/v2"))
    assert [raw.answer().status, raw.answer().status] == [200, 200]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.2", b"h2c, websocket", b""])
@pytest.mark.parametrize(
    ("connection", "version", "kept"),
    [
        (b"upgrade", b"1.1", True),
        (b"close, upgrade", b"1.1", False),
        (b"Upgrade, Close", b"1.1", False),
        (b"upgrade", b"1.0", False),
        (b"keep-alive, upgrade", b"1.1", True),
    ],
)
def test_a_request_that_offers_another_protocol_is_answered_as_if_it_did_not(
    server, connection, version, kept, protocol
):
    offer = [b"Connection: " + connection, b"Upgrade: " + protocol]
    for request in (
        post(document(), ECHO, offer, version=version),
        post(document(), ECHO + b"?x=1", offer, version=version),
        get(b"/v2", offer).replace(b"HTTP/1.1", b"HTTP/" + version),
    ):
        with Raw(server.port) as raw:
            for cut in (len(request), 60):
                raw.send(request[:cut])
                raw.send(request[cut:])
                assert raw.answer().status == 200
                if not kept:
                    assert raw.ended()
                    break


# ---------------------------------------------------------------------- bodies


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_a_request_in_slices_of_one_byte_is_one_request(raw, path):
    request = post(document(), path)
    for at in range(len(request)):
        raw.send(request[at : at + 1])
    assert outcome(raw.answer()) == [1.5, -2.0]
    raw.send(request)
    assert outcome(raw.answer()) == [1.5, -2.0]


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunked_bodies_are_put_together(raw, path, size):
    body = document()
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: t\r\n\r\n"
    raw.send(
        post(b"", path, [b"Transfer-Encoding: chunked"], length=False) + wire + post(document([7]), path)
    )
    assert outcome(raw.answer()) == [1.5, -2.0]
    assert outcome(raw.answer()) == [7]


def deflated(body):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
@pytest.mark.parametrize(
    ("coding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"Deflate", deflated)]
)
def test_compressed_bodies_are_inflated(raw, path, coding, compress):
    for values in ([0.5], [float(number) for number in range(60_000)]):
        raw.send(post(compress(document(values)), path, [b"Content-Encoding: " + coding]))
        assert outcome(raw.answer()) == values


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_what_is_not_the_coding_it_says_is_refused(raw, path):
    good = gzip.compress(document())
    for body in (document(), good[:-4], good + b"more", b""):
        raw.send(post(body, path, [b"Content-Encoding: gzip"]))
        answer = raw.answer()
        assert answer.status == 400
        assert "gzip" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_an_unknown_coding_is_not_offered(raw, path):
    for coding in (b"br", b"gzip, gzip"):
        raw.send(post(document(), path, [b"Content-Encoding: " + coding]))
        answer = raw.answer()
        assert answer.status == 501
        assert "known: gzip, deflate" in json.loads(answer.body)["error"]


def bomb(blocks):
    """A gzip of 16 MiB of zeros a block, made without compressing more than one of them."""
    compressor = zlib.compressobj(wbits=-15)
    block = compressor.compress(bytes(1 << 24)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * blocks + b"\x03\0" + bytes(8)


def peak_bytes(pid):
    [line] = [li for li in Path(f"/proc/{pid}/status").read_text().splitlines() if li.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_a_bomb_is_refused_without_being_inflated(server, raw, path):
    body = bomb(640)
    assert len(body) > 9e6
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # forget the peak so far
    before = peak_bytes(server.pid)
    raw.send(post(body, path, [b"Content-Encoding: gzip"]))
    answer = raw.answer()
    assert answer.status == 413
    assert "inflates to more than" in json.loads(answer.body)["error"]
    assert peak_bytes(server.pid) - before < 250e6


# ---------------------------------------------------------------------- limits


def chunked(body):
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
@pytest.mark.parametrize("size", [65537, 3_000_000])
def test_a_body_over_the_limit_is_refused(strict_raw, path, size):
    raw = strict_raw
    raw.send(post(b"x" * size, path))
    answer = raw.answer()
    assert answer.status == 413
    assert json.loads(answer.body) == {"error": "the body is larger than 65536 bytes"}


def test_a_chunked_body_over_the_limit_is_refused_and_the_next_request_answered(strict_raw):
    raw = strict_raw
    raw.send(post(b"", headers=[b"Transfer-Encoding: chunked"], length=False) + chunked(b"x" * 200_000))
    assert raw.answer().status == 413
    raw.send(post(document()))
    assert outcome(raw.answer()) == [1.5, -2.0]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v2/models/echo/infer HTTP/1.1\r\n"
        + b"".join(b"x-%d: %b\r\n" % (n, b"v" * 90) for n in range(999)),
        b"POST /v2/models/echo/infer HTTP/1.1\r\nx: " + b"v" * 300_000,
        b"GET /" + b"p" * 70_000,
    ],
    ids=["many", "large", "path"],
)
@pytest.mark.parametrize("slice_", [1 << 20, 1000])
def test_a_head_over_the_limit_is_refused(raw, head, slice_):
    wire = head + b"\r\n\r\n" if slice_ > len(head) else head
    with contextlib.suppress(ConnectionError):
        for at in range(0, len(wire), slice_):
            raw.send(wire[at : at + slice_])
    answer = raw.answer()
    assert answer.status == 431
    assert json.loads(answer.body) == {"error": "request head too large"}
    assert answer.headers["connection"] == "close"
    assert raw.ended()


def test_a_large_body_with_the_next_head_behind_it_is_no_large_head(raw):
    values = [0.5] * 60_000
    second = post(document([9]))
    raw.send(post(document(values)) + second[:20])
    assert outcome(raw.answer()) == values
    raw.send(second[20:])
    assert outcome(raw.answer()) == [9]


@pytest.mark.parametrize(
    "beginning",
    [b"P", post(document())[:30], post(document())[:-5], post(document(), ECHO + b"?x=1")[:-5]],
    ids=["method", "head", "body", "asgi body"],
)
@pytest.mark.parametrize("kept", [False, True])
def test_a_request_that_trickles_is_ended(strict_raw, beginning, kept):
    raw = strict_raw
    if kept:
        raw.send(post(document()))
        assert outcome(raw.answer()) == [1.5, -2.0]
    raw.send(beginning)
    answer = raw.answer()
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert raw.ended()


def test_a_beginning_behind_a_whole_request_has_its_time_too(strict_raw):
    raw = strict_raw
    raw.send(post(document()) + b"POST /v2")
    assert outcome(raw.answer()) == [1.5, -2.0]
    assert raw.answer().status == 408
    assert raw.ended()


def test_an_idle_connection_is_closed_without_a_word(strict_raw):
    strict_raw.send(post(document()))
    assert strict_raw.answer().status == 200
    assert strict_raw.ended()


def test_a_model_that_takes_longer_than_a_request_may_is_waited_for(strict_raw):
    raw = strict_raw
    raw.send(post(count_to(1_500_000), SLOW) + post(document())[:-1])
    assert outcome(raw.answer()) == [1_500_000]


# ---------------------------------------------------------------------- slow and leaving clients


@pytest.mark.parametrize("path", [ECHO, b"/v2/models/echo/infer?fast=0"])
def test_a_slow_reader_gets_large_answers_whole(server, path):
    array = np.arange(1_500_000, dtype="<f4")
    head = {
        "inputs": [
            {
                "name": "x",
                "shape": [1, array.size],
                "datatype": "FP32",
                "parameters": {"binary_data_size": array.nbytes},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    request = post(text + array.tobytes(), path, [b"Inference-Header-Content-Length: %d" % len(text)])
    with Raw(server.port) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for _ in range(2):
            raw.send(request)
            answer = raw.answer()
            assert answer.body[int(answer.headers["inference-header-content-length"]) :] == array.tobytes()


def test_a_client_that_leaves_gives_its_place_back(server):
    """`slow` runs one request and lets one wait: a third is refused until the second's client has left."""
    with Raw(server.port) as first, Raw(server.port) as third:
        first.send(post(count_to(1_000_000), SLOW))
        eventually(lambda: _refused_or_waits(server, third), "one runs, one waits, one is refused")
        eventually(lambda: _ask(third).status == 200, "the place is free")
        assert outcome(first.answer()) == [1_000_000]


def _refused_or_waits(server, third):
    with Raw(server.port) as second:
        second.send(post(document()))
        second.answer()  # now the connection is taken, and what comes first on the wire is read first
        second.send(post(count_to(1), SLOW))
        return _ask(third).status == 503


def _ask(connection):
    connection.send(post(count_to(1), SLOW))
    answer = connection.answer()
    if answer.status == 503:
        assert answer.headers["retry-after"] == "1"
        assert "is full (1 waiting)" in json.loads(answer.body)["error"]
    return answer


# ---------------------------------------------------------------------- the same behind both paths


@pytest.mark.parametrize(
    "path",
    [
        b"/v2/models/echo/infer",
        b"/v2/models/echo/versions/1/infer",
        b"/v2/models/echo/infer?a=b",
        b"/v2/models/%65cho/infer",
        b"/v2/models/echo/versions/1/infer?",
    ],
)
def test_every_spelling_of_a_path_ends_in_the_same_handler(raw, path):
    raw.send(post(document(id_="é"), path))
    answer = raw.answer()
    assert outcome(answer) == [1.5, -2.0]
    assert json.loads(answer.body)["id"] == "é"


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (post(b"{"), 400, "the body is not valid JSON"),
        (post(b""), 400, "the body is not valid JSON"),
        (post(b"{", ECHO + b"?x"), 400, "the body is not valid JSON"),
        (post(document(), b"/v2/models/nobody/infer"), 404, "unknown model 'nobody'"),
        (post(document(), b"/v2/models/echo/versions/7/infer"), 404, "version 7 is not loaded"),
        (post(document(), b"/v2/models/echo"), 405, "Method Not Allowed"),
        (get(ECHO), 405, "Method Not Allowed"),
        (get(b"/nowhere"), 404, "Not Found"),
        (post(document(), headers=[b"Inference-Header-Content-Length: 9999"]), 400, "not a length within"),
        (post(b"[]", b"/v2/repository/index"), 400, "not a JSON object"),
    ],
)
def test_every_failure_is_json_with_its_reason_and_keeps_the_connection(raw, request_, status, words):
    for _ in range(2):
        raw.send(request_)
        answer = raw.answer()
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert words in json.loads(answer.body)["error"]


# ---------------------------------------------------------------------- smuggling

BODY = document()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
START = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        START + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY,
        START + LENGTH + LENGTH + b"\r\n" + BODY,
        START + b"Content-Length: %d, %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY,
        START + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY,
        START + b"Content-Length: -1\r\n\r\n" + BODY,
        START + b"Content-Length: 0x10\r\n\r\n" + BODY,
        START + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
        START + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        START + b"Content-Length : %d\r\n\r\n" % len(BODY) + BODY,
        START + LENGTH + b"x: a\r\n folded\r\n\r\n" + BODY,
        START + LENGTH + b"x: a\nContent-Length: 3\r\n\r\n" + BODY,
        (START + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
        START + LENGTH + b"x: a\rb\r\n\r\n" + BODY,
        START + LENGTH + b"x: a\0b\r\n\r\n" + BODY,
        START + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
        b"POST /v2/models/echo/infer HTTP/9.1\r\n" + LENGTH + b"\r\n" + BODY,
        b"post /v2/models/echo/infer HTTP/1.1\r\n" + LENGTH + b"\r\n" + BODY,
        b"POST /v2/models/\xff/infer HTTP/1.1\r\n" + LENGTH + b"\r\n" + BODY,
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(raw, request_):
    raw.send(request_ + get(b"/v2"))
    answer = raw.answer()
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert raw.ended()


def test_a_body_in_an_unknown_coding_is_refused_as_not_implemented(raw):
    raw.send(START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + get(b"/v2"))
    assert raw.answer().status == 501
    assert raw.ended()
