"""What a client does when servers do not: on real sockets, against a server that plays a script."""

import asyncio
import socket
import threading
import time

import numpy as np
import orjson
import pytest

import understudy_client as us

METADATA = {
    "name": "m",
    "versions": ["1"],
    "platform": "p",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}
ANSWER = {"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1.5]}]}
TAKEN = {"accepted": 1, "left_out": {}, "examples": []}
OUTCOME = us.Outcome("n", 1, receipt="r")


def reply(status: str, content=None, *lines: str) -> bytes:
    body = orjson.dumps(content)
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: application/json", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


OK, INFERRED, TOLD = reply("200 OK", METADATA), reply("200 OK", ANSWER), reply("200 OK", TAKEN)
BUSY = reply("503 Service Unavailable", {"error": "the spool is full"}, "retry-after: 0")


class Scripted:
    """Answers the requests that come, one after the other, as it is told; b"" closes the connection instead.

    Attributes:
        seen: the first line of each request.
    """

    def __init__(self, *answers: bytes, hold: bool = False) -> None:
        self.seen: list[str] = []
        self.connections = 0
        self._answers = list(answers)
        self._hold = hold
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, connection.makefile("rb") as reader:
                self._answer(connection, reader)

    def _answer(self, connection, reader) -> None:
        while line := reader.readline():
            self.seen.append(line.decode().split(" HTTP")[0])
            length = 0
            while (header := reader.readline()) not in {b"\r\n", b""}:
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            reader.read(length)
            answer = self._answers.pop(0) if self._answers else b""
            if not answer:
                if self._hold:
                    self._ended.wait()
                return
            connection.sendall(answer)
            if answer.endswith(b"..."):  # cut short
                return


def connected(server, **options) -> us.Client:
    return us.Client(server.url, trust_env=False, **{"timeout": 20.0, **options})


def test_connections_are_used_again():
    with Scripted(OK, INFERRED, INFERRED, TOLD) as server, connected(server) as client:
        assert client.infer("m", [1.0])["y"].tolist() == [1.5]
        assert client.infer("m", [1.0]).target is None
        client.outcome(OUTCOME)
        assert server.connections == 1
    assert server.seen == ["GET /v2/models/m", *["POST /v2/models/m/infer"] * 2, "POST /v1/outcomes"]


def test_a_server_that_is_busy_is_asked_again_and_its_words_are_the_error_in_the_end():
    with Scripted(OK, BUSY, BUSY, INFERRED) as server, connected(server) as client:
        assert client.infer("m", [1.0])["y"].tolist() == [1.5]
    with Scripted(BUSY, BUSY, BUSY) as server, connected(server) as client:
        with pytest.raises(us.Unavailable, match="the spool is full") as busy:
            client.outcome(OUTCOME)
        assert busy.value.retry_after == 0
        assert len(server.seen) == 3


def test_a_503_that_does_not_say_when_is_not_sent_again():
    once = reply("503 Service Unavailable", {"error": "no"})
    with Scripted(OK, once) as server, connected(server) as client:
        with pytest.raises(us.Unavailable, match=r"^no$"):
            client.infer("m", [1.0])
        assert len(server.seen) == 2


@pytest.mark.parametrize("lost", [b"", INFERRED[:20] + b"...", INFERRED[:-9] + b"..."])
def test_an_inference_request_whose_answer_is_lost_is_not_sent_again(lost):
    with Scripted(OK, lost, INFERRED) as server, connected(server) as client:
        with pytest.raises(us.ConnectionLost):
            client.infer("m", [1.0])
        assert len(server.seen) == 2


@pytest.mark.parametrize("lost", [b"", TOLD[:20] + b"...", TOLD[:-9] + b"..."])
def test_outcomes_whose_answer_is_lost_are_told_again(lost):
    with Scripted(lost, TOLD) as server, connected(server) as client:
        assert client.outcomes([OUTCOME]).accepted == 1
        assert server.seen == ["POST /v1/outcomes"] * 2


def test_when_a_later_batch_fails_the_error_says_what_became_of_those_before():
    many = [OUTCOME] * 10_001
    first = reply("200 OK", {"accepted": 9_999, "left_out": {"late": 1}, "examples": []})
    failed = reply("400 Bad Request", {"error": "outcome 1: no"})
    with Scripted(first, failed) as server, connected(server) as client:
        with pytest.raises(us.InvalidRequest, match="outcome 1: no") as error:
            client.outcomes(many)
        assert error.value.taken == us.OutcomesTaken(9_999, {"late": 1})


def test_without_a_server_the_error_says_that_nothing_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with us.Client(f"http://127.0.0.1:{port}", trust_env=False) as client:
        for work in (lambda: client.infer("m", [1.0]), lambda: client.outcome(OUTCOME), client.ready):
            with pytest.raises(us.ConnectionFailed, match=f"no connection to http://127.0.0.1:{port}"):
                work()


def test_time_limits_hold_for_all_attempts_together():
    with Scripted(OK, hold=True) as server, connected(server) as client:
        began = time.monotonic()
        with pytest.raises(us.TimedOut, match=r"within 0\.3 s"):
            client.infer("m", [1.0], timeout=0.3)
        assert time.monotonic() - began < 10
        assert len(server.seen) == 2
    late = reply("503 Service Unavailable", {"error": "later"}, "retry-after: 60")
    with (
        Scripted(OK, late) as server,
        connected(server) as client,
        pytest.raises(us.Unavailable, match="later"),  # at once, since the time would be over
    ):
        client.infer("m", [1.0])
    with pytest.raises(us.InvalidData, match="more than 0"):
        us.Client(trust_env=False).infer("m", [1.0], timeout=0)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (reply("200 OK", "no"), us.InvalidAnswer, "without 'outputs'"),
        (reply("200 OK", {"outputs": []}, "inference-header-content-length: 99"), us.InvalidAnswer, "99"),
        (reply("200 OK", None, "content-encoding: gzip"), us.InvalidAnswer, "not coded as it says"),
        (reply("302 Found", None, "location: http://elsewhere/"), us.StatusError, "status 302"),
        (reply("500 Internal Server Error", {"error": "boom"}), us.ModelFailed, "^boom$"),
        (reply("502 Bad Gateway", {"error": 7}), us.BadGateway, "status 502"),
        (b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig", us.InvalidRequest, "status 413: big"),
        (b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", us.Unauthenticated, "without a word"),
        (b"SSH-2.0-server\r\n...", us.ConnectionLost, "ended before the answer was whole"),
    ],
)
def test_whatever_a_server_says_is_an_answer_or_an_error_of_its_kind(answer, kind, words):
    with Scripted(OK, answer) as server, connected(server) as client:
        with pytest.raises(kind, match=words):
            client.infer("m", [1.0])
        assert len(server.seen) == 2


def test_a_server_that_keeps_to_json_is_understood():
    nested = {"model_name": "m", "outputs": [{**ANSWER["outputs"][0], "shape": [1, 2], "data": [[1, None]]}]}
    with Scripted(OK, reply("200 OK", nested)) as server, connected(server) as client:
        found = client.infer("m", [1.0], binary=False)["y"]
        assert found.shape == (1, 2)
        assert np.isnan(found[0, 1])


def test_the_async_client_has_the_same_faults():
    async def work(server, **options):
        async with us.AsyncClient(server.url, trust_env=False, **{"timeout": 20.0, **options}) as client:
            return await client.infer("m", [1.0])

    with Scripted(OK, BUSY, INFERRED) as server:
        assert asyncio.run(work(server))["y"].tolist() == [1.5]
    with Scripted(OK, b"", INFERRED) as server, pytest.raises(us.ConnectionLost):
        asyncio.run(work(server))
    with Scripted(OK, hold=True) as server, pytest.raises(us.TimedOut, match=r"within 0\.3 s"):
        asyncio.run(work(server, timeout=0.3))
    with pytest.raises(us.ConnectionFailed):
        asyncio.run(work(server))


def test_keys_are_sent_and_never_shown():
    client = us.Client("http://localhost:1", api_key="5ecret", headers={"x-a": "5ecret"})
    assert "5ecret" not in repr(client)
    with pytest.raises(us.InvalidData) as refused:
        us.Client(api_key="5ecret\n")
    assert "5ecret" not in str(refused.value)
