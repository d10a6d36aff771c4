"""One trace through worker, sandboxes and another server, and the request log beside it."""

import fcntl
import json
import os
import secrets

import pytest

from harness.collector import KINDS, Collector
from harness.receivers import hooking
from harness.rows import DIGITS, body
from harness.system import eventually, running, serving

ROLLOUTS = """
digits:
  stable: digits/1
  canary: {{model: digits/2, weight: 0, mirror: 100}}
elsewhere:
  stable: {{model: digits/1, url: 'http://127.0.0.1:{port}'}}
"""
ELSEWHERE = "/v2/models/elsewhere/infer"


@pytest.fixture(scope="module")
def collector():
    with hooking() as hook:
        yield Collector(hook)


@pytest.fixture(scope="module")
def up(tmp_path_factory, collector):
    folder = tmp_path_factory.mktemp("traces")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.hook.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        with (
            serving(folder) as server,
            running(
                folder,
                ROLLOUTS.format(port=server.port),
                options=("--request-log-sample", "1", "--log-format", "json"),
            ) as system,
        ):
            yield system


def ask(up, path=DIGITS, **headers):
    """Ask within a new trace; its id, and that of the span of the client."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{span}-01", **{k.replace("_", "-"): v for k, v in headers.items()}}
    answer = up.client.post(path, content=body(0), headers=headers)
    assert answer.status_code == 200, answer.text
    return trace, span


def lines(up, trace):
    """The request log's lines of a trace."""
    found = [json.loads(line) for line in up.process.log.read_text().splitlines() if trace in line]
    return [line for line in found if line["event"] == "request"]


def test_the_answer_of_a_canary_is_one_trace_through_worker_and_sandbox(up, collector):
    trace, span = ask(up, x_understudy_target="canary", x_request_id="r-1")
    eventually(lambda: len(collector.spans(trace)) == 3, "all spans arrived")
    (inner,) = [
        id_ for id_, (of, _) in collector.spans(trace).items() if "sandbox" in of["service.instance.id"]
    ]
    path, parent = [], inner
    while parent in collector.spans(trace):
        of, each = collector.spans(trace)[parent]
        path.append((of["service.instance.id"].rpartition("/")[0], each.name, KINDS[each.kind]))
        parent = each.parent_span_id.hex()
    assert path == [
        ("sandbox of digits/2", "infer", "server"),
        ("worker 0", "call", "client"),
        ("worker 0", "infer", "server"),
    ]
    assert parent == span
    attributes = {each.key: each.value for each in collector.spans(trace)[inner][1].attributes}
    assert attributes["http.response.status_code"].int_value == 200
    logged = eventually(lambda: len(lines(up, trace)) == 2 and lines(up, trace), "both log it")
    assert {line["process"] for line in logged} == {"worker 0", "sandbox of digits/2"}
    assert [line["target"] for line in logged if line["process"] == "worker 0"] == ["digits/2"]
    assert {line["request_id"] for line in logged} == {"r-1"}
    assert all(line["status"] == 200 and line["seconds"] > 0 and line["bytes_in"] for line in logged)


def test_a_mirrored_request_is_compared_within_the_trace_of_the_one_that_was_answered(up, collector):
    trace, span = ask(up)
    eventually(lambda: len(collector.spans(trace)) == 2, "all spans arrived")
    path, parent = collector.path(trace, "compare", "consumer")
    assert path == [("sandbox of digits/2", "compare", "consumer"), ("worker 0", "infer", "server")]
    assert parent == span


def test_another_server_of_the_protocol_gets_the_trace(up, collector):
    trace, span = ask(up, ELSEWHERE, tracestate="vendor=1")
    eventually(lambda: len(collector.spans(trace)) == 3, "all spans arrived")
    path, parent = collector.path(trace, "call", "client")
    assert path == [("worker 0", "call", "client"), ("worker 0", "infer", "server")]
    assert parent == span
    there = [(of, s) for of, s in collector.spans(trace).values() if "serve" in of["service.instance.id"]]
    [(_, served)] = there
    assert served.parent_span_id.hex() in collector.spans(trace)
    assert served.trace_state == "vendor=1"


def test_a_trace_that_is_not_sampled_makes_no_span_and_one_that_is_not_valid_a_new_trace(up, collector):
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"}
    assert up.client.post(DIGITS, content=body(0), headers=headers).status_code == 200
    broken = up.client.post(
        DIGITS, content=body(0), headers={"traceparent": "00-broken", "x-request-id": "b-1"}
    )
    assert broken.status_code == 200
    [line] = eventually(
        lambda: [json.loads(t) for t in up.process.log.read_text().splitlines() if '"b-1"' in t], ""
    )
    assert len(line["trace_id"]) == 32
    eventually(lambda: collector.spans(line["trace_id"]), "the later one arrived")
    assert not collector.spans(trace)
    assert lines(up, trace)


def test_a_request_that_fails_is_logged_and_its_span_says_so(up, collector):
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    assert up.client.post(DIGITS, content=b"{}", headers=headers).status_code == 400
    eventually(lambda: collector.spans(trace), "the span arrived")
    [(_, span)] = collector.spans(trace).values()
    assert span.status.code == 0  # the client's fault is no error of the server
    [line] = lines(up, trace)
    assert line["status"] == 400


def test_a_log_of_all_requests_that_nobody_reads_stops_no_request(tmp_path):
    pipe = tmp_path / "serve.log"  # where the harness sends what the process writes
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with serving(tmp_path, options=("--request-log-sample", "1")) as server:
            for number in range(200):
                path = "/v2/models/digits/versions/1/infer"
                assert server.client.post(path, content=body(number)).status_code == 200
            text = server.client.get("/metrics").text
            [line] = [
                line for line in text.splitlines() if line.startswith("understudy_log_lines_dropped_total")
            ]
            assert 100 < float(line.rpartition(" ")[2]) <= 220
    finally:
        os.close(reader)
