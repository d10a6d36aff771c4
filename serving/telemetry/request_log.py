"""Log lines and spans of inference requests, where someone asked for them.

Law: a request is not observed unless the settings or the environment ask for it, and then by a layer in front
of the handler: the short path without it knows nothing of this. Which requests are logged follows from their
trace, so all processes that a request passes through log the same ones. One that comes with no trace is
given one by the first process, if it is to be logged or sampled; else it passes as it came, and our processes
behind leave it alone too. Nothing here waits: a log line that cannot be written and a span that finds the
queue full are dropped.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import getrandbits
from typing import Any

import structlog

from serving.clock import clock
from serving.settings import ServingSettings
from serving.telemetry.tracing import Tracer, place, tracer
from serving.wire.handler import Handler, Layer, status_of
from serving.wire.message import Call, Reply
from serving.wire.request_id import request_id
from serving.wire.trace_context import TRACEPARENT, TraceContext, new_trace, trace_context, traced

log = structlog.get_logger()

_TARGET = b"x-understudy-target: "


class Observer:
    """What watches the requests of one process.

    Args:
        process: in every line.
        sample: the share of requests that are logged, 0 to 1.
        tracer: makes spans; None for no traces.
        first: whether requests come from clients, so that one without a trace may begin one.
    """

    def __init__(self, process: str, sample: float, tracer: Tracer | None, *, first: bool) -> None:
        self.process = process
        self._below = round(sample * 2**64)
        self._begins_below = max(self._below, tracer.samples_below if tracer is not None else 0)
        self._first = first
        self.tracer = tracer

    def watched(self, paths: Mapping[bytes, Handler]) -> dict[bytes, Handler]:
        """Handlers that are watched, by the path of their endpoint."""
        return {path: Watched(self, path, handler) for path, handler in paths.items()}

    def logs(self, context: TraceContext) -> bool:
        """Whether the requests of this trace are logged: as many as the sample says, since ids are random."""
        return context.low_bits < self._below

    def begun(self) -> TraceContext | None:
        """A trace for a request that has none, where it is to be logged or sampled."""
        drawn = getrandbits(64)
        return new_trace(drawn) if self._first and drawn < self._begins_below else None

    async def close(self) -> None:
        """Send what waits to be sent."""
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)


def observer(settings: ServingSettings, process: str, *, first: bool) -> Observer | None:
    """The observer that the settings and the environment ask for; None when they do not.

    Args:
        settings: of the process.
        process: what it is called.
        first: whether its requests come from clients.
    """
    found = tracer(process)
    if settings.request_log_sample == 0 and found is None:
        return None
    return Observer(process, settings.request_log_sample, found, first=first)


@dataclass(frozen=True, slots=True)
class _Watch:
    """A call that is watched: its place, its span if it has one, whether it is logged."""

    context: TraceContext
    span: Any
    logged: bool


class Watched(Layer[_Watch]):
    """One endpoint's handler, watched."""

    def __init__(self, observer: Observer, path: bytes, inner: Handler) -> None:
        super().__init__(inner)
        self._observer = observer
        self._path = path.decode()
        self._model = self._path.split("/")[3]

    def began(self, call: Call) -> _Watch | None:
        """As `Layer`."""
        headers = call.headers
        known = trace_context(headers) if TRACEPARENT in headers else None
        context = known or self._observer.begun()
        if context is None:
            return None
        logged, span = self._observer.logs(context), None
        tracer = self._observer.tracer
        if tracer is not None and tracer.samples(context, new=known is None):
            attributes = {"url__path": self._path, "understudy__model": self._model}
            span = tracer.begin("infer", "server", headers, trace_id=context.trace_id, **attributes)
            context = place(span)
        elif not logged:
            return None
        call.headers = traced(call.headers, context)
        return _Watch(context, span, logged)

    def ended(self, call: Call, token: _Watch, outcome: Reply | BaseException) -> None:
        """As `Layer`."""
        status = status_of(outcome)
        reply = outcome if isinstance(outcome, Reply) else None
        target = _target(reply)
        if token.span is not None and self._observer.tracer is not None:
            named = {} if target is None else {"understudy__target": target}
            self._observer.tracer.end(
                token.span, failed=status >= 500, http__response__status_code=status, **named
            )
        if not token.logged:
            return
        line: dict[str, Any] = {
            "process": self._observer.process,
            "model": self._model,
            "path": self._path,
            "status": status,
            "seconds": round(clock() - call.arrived, 6),
            "bytes_in": len(call.body),
            "bytes_out": 0 if reply is None else len(reply.body),
            "trace_id": token.context.trace_id,
            "span_id": token.context.span_id,
        }
        if target is not None:
            line["target"] = target
        if id_ := request_id(call.headers):
            line["request_id"] = id_.decode("ascii")
        log.info("request", **line)


def _target(reply: Reply | None) -> str | None:
    """Who answered, as the answer's headers say."""
    if reply is None or not reply.headers.startswith(_TARGET):
        return None
    return reply.headers[len(_TARGET) :].partition(b"\r\n")[0].decode()
