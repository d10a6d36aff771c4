"""W3C Trace Context: what is valid is understood and passed on, what is not is as none."""

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.settings import ServingSettings
from serving.telemetry.request_log import Observer, observer
from serving.telemetry.tracing import CLOSE_SECONDS, tracer, wanted
from serving.wire.trace_context import TraceContext, new_trace, trace_context, traced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01".encode()


def read(text: bytes) -> TraceContext | None:
    return trace_context({b"traceparent": text})


@pytest.mark.parametrize(
    "text", [VALID, b" " + VALID + b"\t", VALID.replace(b"00-", b"cc-", 1), b"cc" + VALID[2:] + b"-new"]
)
def test_a_valid_one_is_understood_also_of_a_future_version(text):
    assert read(text) == TraceContext(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense",
        VALID[:-1],
        VALID + b"-more",
        VALID + b"0",
        b"ff" + VALID[2:],
        VALID.upper(),
        VALID.replace(b"-", b"_"),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{SPAN}-0g".encode(),
        b"cc" + VALID[2:] + b"new",
        VALID + b"\n" + VALID,
    ],
)
def test_what_is_not_valid_is_none(text):
    assert read(text) is None
    headers = {b"traceparent": text, b"tracestate": b"a=1"}
    moved = traced(headers, new_trace())
    assert b"tracestate" not in moved
    assert trace_context(moved) is not None


def test_without_a_header_there_is_no_trace():
    assert trace_context({}) is None


@given(st.binary(max_size=80))
def test_nothing_breaks_the_reading(text):
    found = read(text)
    assert found is None or read(found.header) == found


@given(st.integers(0, 255))
def test_what_is_written_is_read_back(flags):
    made = new_trace()
    context = TraceContext(made.trace_id, made.span_id, flags)
    assert read(context.header) == context


def test_moving_on_keeps_the_state_of_the_same_trace_and_changes_no_shared_headers():
    headers = {b"traceparent": VALID, b"tracestate": b"a=1", b"accept": b"*/*"}
    before = dict(headers)
    moved = traced(headers, TraceContext(TRACE, "b7ad6b7169203331", 1))
    assert headers == before
    assert moved == {**before, b"traceparent": f"00-{TRACE}-b7ad6b7169203331-01".encode()}
    assert b"tracestate" not in traced(headers, new_trace())


def test_as_many_requests_are_logged_as_the_sample_says_and_in_every_process_the_same():
    traces = [new_trace() for _ in range(4000)]
    logged = [trace for trace in traces if Observer("a", 0.1, None, first=True).logs(trace)]
    assert 300 < len(logged) < 500
    assert logged == [trace for trace in traces if Observer("b", 0.1, None, first=False).logs(trace)]
    assert all(Observer("a", 1.0, None, first=True).logs(trace) for trace in traces)
    assert not any(Observer("a", 0.0, None, first=True).logs(trace) for trace in traces)


@pytest.fixture
def no_otel(monkeypatch):
    for name in (
        "SDK_DISABLED",
        "TRACES_EXPORTER",
        "EXPORTER_OTLP_ENDPOINT",
        "EXPORTER_OTLP_TRACES_ENDPOINT",
    ):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    return monkeypatch


def test_nothing_is_observed_unless_someone_asks(no_otel):
    assert observer(ServingSettings(), "worker 0", first=True) is None
    assert observer(ServingSettings(request_log_sample=0.5), "worker 0", first=True).tracer is None


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "zipkin"}, False),
    ],
)
def test_the_standard_variables_decide_about_traces(environment, answer):
    assert wanted(environment) == answer


def test_without_the_extra_there_are_no_traces_and_the_service_starts(no_otel):
    no_otel.setenv("OTEL_TRACES_EXPORTER", "otlp")
    no_otel.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracer("worker 0") is None


def test_a_collector_that_is_not_there_holds_up_no_end(no_otel):
    no_otel.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    made = tracer("worker 0")
    made.end(made.begin("infer", "server", {}), http__response__status_code=200)
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < CLOSE_SECONDS + 1.0
