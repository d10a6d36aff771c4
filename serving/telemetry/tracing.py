"""OpenTelemetry traces, where the environment asks for them: spans, sent by OTLP over HTTP from a thread.

The standard `OTEL_*` variables configure it: it is on with `OTEL_TRACES_EXPORTER=otlp` or an
`OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT`, and off with `OTEL_SDK_DISABLED=true` or `OTEL_TRACES_EXPORTER=none`.
It takes the extra `otel` of the package. Spans wait in a bounded queue; what does not fit is dropped.

Of the packages nothing is imported until it is asked for.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import structlog

from serving.errors import ServingError
from serving.wire.handler import status_of, what_ended
from serving.wire.message import Call, Reply
from serving.wire.trace_context import TRACEPARENT, TRACESTATE, TraceContext, trace_context, traced

log = structlog.get_logger()

CLOSE_SECONDS = 2.0
"""What the last spans may take when the process ends."""

Kind = Literal["server", "client", "consumer"]


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces that we can send."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    if exporter not in {"", "otlp"}:
        log.warning("no traces: OTEL_TRACES_EXPORTER can be otlp or none", found=exporter)
        return False
    if not exporter and not any(environment.get(name) for name in endpoints):
        return False
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environment.get(name, "http/protobuf") not in {"", "http/protobuf"}:
            log.warning("traces are sent as http/protobuf, whatever this says", variable=name)
    return True


def tracer(process: str) -> "Tracer | None":
    """The tracer of this process; None when none is wanted or the extra is not installed.

    Args:
        process: `worker 0` or the like; in every span as `service.instance.id`.
    """
    if not wanted():
        return None
    try:
        return Tracer(process)
    except ImportError as error:
        log.warning("no traces: the extra otel is not installed", missing=error.name)
        return None


def share_of_roots(environment: Mapping[str, str] = os.environ) -> float:
    """Of the traces that begin here, the share that the sampler of the environment takes, 0 to 1."""
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").lower().removeprefix("parentbased_")
    if sampler == "always_off":
        return 0.0
    if sampler != "traceidratio":
        return 1.0
    try:
        share = float(environment.get("OTEL_TRACES_SAMPLER_ARG", ""))
    except ValueError:
        return 1.0  # as the SDK has it
    return share if 0.0 <= share <= 1.0 else 1.0


class Tracer:
    """Makes spans. What it knows of other processes stands in the headers of calls.

    Raises:
        ImportError: the extra `otel` is not installed.
    """

    def __init__(self, process: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "understudy"}
        resource = Resource.create({**named, "service.instance.id": f"{process}/{os.getpid()}"})
        self.samples_below = round(share_of_roots() * 2**64)
        """Of the traces that begin here, those whose id has lower half bits below this are sampled."""
        sampler = os.environ.get("OTEL_TRACES_SAMPLER", "").lower()
        self._by_parent = sampler not in {"always_on", "always_off", "traceidratio"}

        class Ids(RandomIdGenerator):
            """Random ids, but the trace ids that were drawn already."""

            trace_id: int | None = None

            def generate_trace_id(self) -> int:
                drawn, self.trace_id = self.trace_id, None
                return super().generate_trace_id() if drawn is None else drawn

        self._ids = Ids()
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("understudy")
        self._propagator = TraceContextTextMapPropagator()
        self._kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "consumer": SpanKind.CONSUMER}
        self._error = StatusCode.ERROR

    def samples(self, context: TraceContext, *, new: bool) -> bool:
        """Whether a request of this trace has spans, as the sampler would say, which takes longer.

        Args:
            context: of the request.
            new: whether the trace begins here.
        """
        if self._by_parent and not new:
            return bool(context.flags & 1)
        return context.low_bits < self.samples_below

    def begin(
        self,
        name: str,
        kind: Kind,
        headers: Mapping[bytes, bytes],
        trace_id: str | None = None,
        **attributes: str | int,
    ) -> Any:
        """A span that begins now, below the one that the headers name.

        Args:
            name: of few values.
            kind: of OpenTelemetry.
            headers: of the call; a `traceparent` that is not valid begins a new trace.
            trace_id: of the trace, if one begins; a random one when None.
            attributes: of the span, `__` standing for a dot.
        """
        known = trace_context(headers)
        carrier = {} if known is None else {"traceparent": known.header.decode()}
        if known is not None and TRACESTATE in headers:
            carrier["tracestate"] = headers[TRACESTATE].decode("latin-1")
        if known is None and trace_id is not None:
            self._ids.trace_id = int(trace_id, 16)
        parent = self._propagator.extract(carrier)
        return self._tracer.start_span(
            name,
            parent,
            self._kinds[kind],
            {key.replace("__", "."): value for key, value in attributes.items()},
        )

    def end(self, span: Any, *, failed: bool = False, **attributes: str | int) -> None:
        """End a span; attributes as in `begin`."""
        for key, value in attributes.items():
            span.set_attribute(key.replace("__", "."), value)
        if failed:
            span.set_status(self._error)
        span.end()

    def steps(self, headers: Mapping[bytes, bytes], names: Sequence[str], seconds: Sequence[float]) -> None:
        """Spans of what has just been done, one after the other, below the one that the headers name.

        Args:
            headers: of the call; without a valid `traceparent` that is sampled nothing is made.
            names: of the steps.
            seconds: that each took; one of 0 has no span.
        """
        known = trace_context(headers) if TRACEPARENT in headers else None
        if known is None or not self.samples(known, new=False):
            return
        parent = self._propagator.extract({"traceparent": known.header.decode()})
        at = time.time_ns() - round(sum(seconds) * 1e9)
        for name, taken in zip(names, seconds, strict=True):
            if taken:
                span = self._tracer.start_span(
                    "step", parent, attributes={"understudy.step": name}, start_time=at
                )
                at += round(taken * 1e9)
                span.end(at)

    async def call(self, target: str, call: Call, exchange: Callable[[Call], Awaitable[Reply]]) -> Reply:
        """Make a call to a target within a span of its own, below which the target's spans will be."""
        span = self.begin("call", "client", call.headers, understudy__target=target)
        inner = Call(traced(call.headers, place(span)), call.body, call.arrived, wire=call.wire)
        status = 500
        try:
            reply = await exchange(inner)
            status = reply.status
        except asyncio.CancelledError as left:
            status = status_of(what_ended(call, left))
            raise
        except ServingError as error:
            status = error.status
            raise
        finally:
            self.end(span, failed=status >= 500, http__response__status_code=status)
        return reply

    def close(self) -> None:
        """Send what waits, within `CLOSE_SECONDS`; blocks."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def place(span: Any) -> TraceContext:
    """Where a span stands, for headers and log lines."""
    context = span.get_span_context()
    return TraceContext(f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags))
