"""Log lines and spans of inference requests, where someone asked for them.

Law: a request is not observed unless the settings or the environment ask for it, and then by handlers put
in front of the others: the short path without them knows nothing of this. Which requests are logged follows
from their trace, so all processes that a request passes through log the same ones. Nothing here waits: a
log line that cannot be written and a span that finds the queue full are dropped.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import structlog

from serving.clock import clock
from serving.message import Call, Handler, Reply
from serving.settings import ServingSettings
from serving.trace_context import TraceContext, new_trace, trace_context, traced
from serving.tracing import CLIENT_LEFT, Tracer, place, tracer

log = structlog.get_logger()

_TARGET = b"x-understudy-target: "
_MAX_ID = 128


class Observer:
    """What watches the requests of one process.

    Args:
        process: in every line.
        sample: the share of requests that are logged, 0 to 1.
        tracer: makes spans; None for no traces.
    """

    def __init__(self, process: str, sample: float, tracer: Tracer | None) -> None:
        self.process = process
        self._below = round(sample * 2**64)
        self.tracer = tracer

    def watched(self, paths: Mapping[bytes, Handler]) -> dict[bytes, Handler]:
        """Handlers that are watched, by the path of their endpoint."""
        return {path: _Watched(self, path, handler) for path, handler in paths.items()}

    def logs(self, context: TraceContext) -> bool:
        """Whether the requests of this trace are logged: as many as the sample says, since ids are random."""
        return int(context.trace_id[16:], 16) < self._below

    async def close(self) -> None:
        """Send what waits to be sent."""
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)


def observer(settings: ServingSettings, process: str) -> Observer | None:
    """The observer that the settings and the environment ask for; None when they do not.

    Args:
        settings: of the process.
        process: what it is called.
    """
    found = tracer(process)
    if settings.request_log_sample == 0 and found is None:
        return None
    return Observer(process, settings.request_log_sample, found)


class _Watched:
    """One endpoint's handler, watched."""

    def __init__(self, observer: Observer, path: bytes, handler: Handler) -> None:
        self._observer = observer
        self._handler = handler
        self._path = path.decode()
        self._model = self._path.split("/")[3]

    def __call__(self, call: Call) -> "Reply | Awaitable[Reply]":
        tracer = self._observer.tracer
        span = None
        if tracer is None:
            context = trace_context(call.headers) or new_trace()
        else:
            attributes = {"url__path": self._path, "understudy__model": self._model}
            span = tracer.begin("infer", "server", call.headers, **attributes)
            context = place(span)
        call.headers = traced(call.headers, context)
        try:
            outcome = self._handler(call)
        except Exception as error:
            self._ended(call, context, span, getattr(error, "status", 500), None)
            raise
        if type(outcome) is Reply:
            self._ended(call, context, span, outcome.status, outcome)
            return outcome
        return self._later(call, context, span, outcome)  # type: ignore[arg-type]

    async def _later(self, call: Call, context: TraceContext, span: Any, outcome: Awaitable[Reply]) -> Reply:
        try:
            reply = await outcome
        except asyncio.CancelledError:
            self._ended(call, context, span, CLIENT_LEFT, None)
            raise
        except Exception as error:
            self._ended(call, context, span, getattr(error, "status", 500), None)
            raise
        self._ended(call, context, span, reply.status, reply)
        return reply

    def _ended(self, call: Call, context: TraceContext, span: Any, status: int, reply: Reply | None) -> None:
        target = _target(reply)
        if span is not None and self._observer.tracer is not None:
            named = {} if target is None else {"understudy__target": target}
            self._observer.tracer.end(span, failed=status >= 500, http__response__status_code=status, **named)
        if not self._observer.logs(context):
            return
        line: dict[str, Any] = {
            "process": self._observer.process,
            "model": self._model,
            "path": self._path,
            "status": status,
            "seconds": round(clock() - call.arrived, 6),
            "bytes_in": len(call.body),
            "bytes_out": 0 if reply is None else len(reply.body),
            "trace_id": context.trace_id,
            "span_id": context.span_id,
        }
        if target is not None:
            line["target"] = target
        request_id = call.headers.get(b"x-request-id")
        if request_id is not None:
            line["request_id"] = request_id[:_MAX_ID].decode("latin-1")
        log.info("request", **line)


def _target(reply: Reply | None) -> str | None:
    """Who answered, as the answer's headers say."""
    if reply is None or not reply.headers.startswith(_TARGET):
        return None
    return reply.headers[len(_TARGET) :].partition(b"\r\n")[0].decode()
