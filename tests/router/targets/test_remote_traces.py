"""What a target is told of the trace of a request that is not sampled."""

import asyncio

import pytest

from harness.receivers import hooking
from router.hop.client import Address
from router.metrics import EJECTIONS
from router.targets.targets import RemoteTarget
from serving.clock import clock
from serving.errors import ServingError
from serving.telemetry.cells import Metrics
from serving.telemetry.tracing import tracer
from serving.wire.message import Call
from serving.wire.trace_context import TRACEPARENT, new_trace, trace_context


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The `traceparent` of what a target is sent, by the headers of a call and whether it is ours."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    metrics = Metrics(tmp_path, "worker")
    made = tracer("worker 0")

    def ask(headers, *, trusted, traced=True):
        async def main(url):
            ejections = metrics.counter(EJECTIONS, "m/1")
            target = RemoteTarget("m/1", "m/1", Address.of_url(url), ejections, trusted=trusted)
            target.tracer = made if traced else None
            with pytest.raises(ServingError):  # what the receiver says is no answer
                await target.one(Call(headers, b"{}", clock()))
            await target.close()

        with hooking() as hook:
            hook.statuses = [503]
            asyncio.run(main(hook.url))
        [posted] = hook.posted + hook.refused
        return posted.headers.get("traceparent")

    yield ask
    made.close()
    metrics.close()


def test_another_server_is_told_that_a_request_without_a_trace_is_not_sampled(told):
    first, second = (told({}, trusted=False) for _ in range(2))
    for text in (first, second):
        assert trace_context({TRACEPARENT: text.encode()}).flags == 0
    assert first != second


def test_a_trace_that_is_not_sampled_goes_on_as_it_came(told):
    header = new_trace().header
    for trusted in (True, False):
        assert told({TRACEPARENT: header}, trusted=trusted) == header.decode()


def test_what_is_no_trace_is_not_sent_on(told):
    sent = told({TRACEPARENT: b"00-broken"}, trusted=False)
    assert trace_context({TRACEPARENT: sent.encode()}).flags == 0


def test_a_sandbox_of_ours_and_a_router_without_traces_add_nothing(told):
    assert told({}, trusted=True) is None
    assert told({}, trusted=False, traced=False) is None
