"""Which traces are sampled: as the environment says, and as OpenTelemetry's own sampler would."""

import contextlib
from random import getrandbits

import pytest

from serving.telemetry.request_log import Observer
from serving.telemetry.tracing import share_of_roots, tracer
from serving.wire.trace_context import TRACEPARENT, TraceContext, new_trace


@pytest.mark.parametrize(
    ("sampler", "argument", "share"),
    [
        (None, None, 1.0),
        ("always_on", None, 1.0),
        ("parentbased_always_on", "0.1", 1.0),
        ("always_off", None, 0.0),
        ("ParentBased_Always_Off", None, 0.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "0", 0.0),
        ("traceidratio", None, 1.0),
        ("traceidratio", "half", 1.0),
        ("traceidratio", "1.5", 1.0),
        ("traceidratio", "-0.1", 1.0),
        ("traceidratio", "nan", 1.0),
        ("unheard_of", "0.1", 1.0),
    ],
)
def test_the_environment_says_what_share_of_traces_that_begin_here_is_sampled(sampler, argument, share):
    given = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert share_of_roots({name: text for name, text in given.items() if text is not None}) == share


@pytest.fixture
def sampling(monkeypatch):
    """A tracer under a sampler; its collector is not there."""
    with contextlib.ExitStack() as stack:

        def made(sampler, argument):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
            monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
            monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
            found = tracer("worker 0")
            stack.callback(found.close)
            return found

        yield made


def test_a_trace_that_begins_here_has_the_id_that_was_drawn_and_is_sampled_as_the_sdk_says(sampling):
    found = sampling("parentbased_traceidratio", "0.25")
    sampled = 0
    for _ in range(400):
        context = new_trace(getrandbits(64))
        span = found.begin("infer", "server", {}, trace_id=context.trace_id)
        assert f"{span.get_span_context().trace_id:032x}" == context.trace_id
        assert span.is_recording() == found.samples(context, new=True)
        sampled += span.is_recording()
    assert 50 < sampled < 150


@pytest.mark.parametrize(
    ("sampler", "by_parent"), [("parentbased_traceidratio", True), ("traceidratio", False)]
)
@pytest.mark.parametrize("flags", [0, 1])
def test_a_trace_that_began_elsewhere_is_sampled_as_the_sdk_says(sampling, sampler, by_parent, flags):
    found = sampling(sampler, "0.5")
    said = set()
    for _ in range(100):
        made = new_trace(getrandbits(64))
        context = TraceContext(made.trace_id, made.span_id, flags)
        span = found.begin("infer", "server", {TRACEPARENT: context.header})
        assert span.is_recording() == found.samples(context, new=False)
        said.add(span.is_recording())
    assert said == ({bool(flags)} if by_parent else {True, False})


def test_as_many_requests_begin_a_trace_as_are_sampled_or_logged_and_only_at_the_first_process(sampling):
    for share, logged, wanted in (
        ("0.25", 0.0, 0.25),
        ("0.0", 0.5, 0.5),
        ("0.25", 0.5, 0.5),
        ("0.0", 0.0, 0.0),
    ):
        found = sampling("parentbased_traceidratio", share)
        begun = [Observer("a", logged, found, first=True).begun() for _ in range(2000)]
        contexts = [context for context in begun if context is not None]
        assert abs(len(contexts) / 2000 - wanted) < 0.07
        assert len({context.trace_id for context in contexts}) == len(contexts)
        observer = Observer("a", logged, found, first=True)
        assert all(observer.logs(each) or found.samples(each, new=True) for each in contexts)
        assert Observer("a", logged, found, first=False).begun() is None
