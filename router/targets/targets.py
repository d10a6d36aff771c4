"""Where a request can be answered: a model in this process, or one behind a socket or URL.

Law: `refusal(now)` is asked before a request is given to a target, and never waits. A remote target is
used only while its probe finds it ready and compatible, and is ejected for a while after consecutive
failures; then a single request tries whether it is back. One that was not ready and is again may be another
process: what failed before says nothing of it, but its next failure ejects it at once.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import orjson
import structlog

from router.hop.client import Address, ClientReply, Pool
from router.hop.quick_check import is_plainly_good
from router.targets.compatibility import incompatibility, signature_of
from serving.admission.concurrency import FLOOR
from serving.admission.shedding import floor_of
from serving.clock import clock
from serving.errors import HTTP_STATUS, BadGateway, DeadlineExceeded, Kind, ServingError, Unavailable
from serving.http.app import infer_path
from serving.models.served_model import DEFAULT_TIMEOUT_SECONDS, ServedModel
from serving.telemetry.cells import Counter
from serving.telemetry.tracing import Tracer
from serving.wire.handler import Handler, Unconcerned, each
from serving.wire.message import COMPUTE_HEADER, JSON_LENGTH_HEADER, SHARED_HEADER, Call, Outcome, Reply
from serving.wire.protocol import decode_response
from serving.wire.tensors import Signature
from serving.wire.trace_context import TRACEPARENT, TRACESTATE, new_trace, trace_context

log = structlog.get_logger()

Refusal = Literal["", "not_ready", "ejected", "busy"]

EJECT_AFTER = 5
FIRST_EJECTION_SECONDS = 1.0
LONGEST_EJECTION_SECONDS = 30.0

_FORWARDED: tuple[bytes, ...] = (b"content-type", b"x-request-id")
_FORWARDED_TRACED = (*_FORWARDED, TRACEPARENT, TRACESTATE)


class Target(Handler, Protocol):
    """One place that can answer within `Call.timeout_seconds`, which whoever routes the call sets.

    Of its errors, 4xx are the client's fault and 5xx the target's.

    Attributes:
        key: `name/version`, with `@url` behind it when it is elsewhere.
        model: `name/version` there.
    """

    key: str
    model: str

    @property
    def place(self) -> Literal["local", "remote"]:
        """Whether the model is in this process."""

    @property
    def floor(self) -> int | None:
        """The requests that it is always given, however slow it is; None where it answers at once."""

    @property
    def signature(self) -> Signature | None:
        """What it takes and gives; None until known."""

    def refusal(self, now: float) -> Refusal:
        """Why it cannot be given a request now; empty when it can. `now` is `time.perf_counter()`."""

    def gave_up_on(self) -> None:
        """A client went away whom it had kept waiting for too long."""


class LocalTarget(Unconcerned):
    """A model loaded in this process; its own queue and deadline hold."""

    place: Literal["local"] = "local"

    def __init__(self, served: ServedModel) -> None:
        self.key = self.model = served.key
        self.served = served
        self.floor = floor_of(served) if served.execution == "pooled" else None
        self.joins = served.joins
        self.one = served.one
        self.many = served.many

    @property
    def signature(self) -> Signature | None:
        """As `Target`."""
        return self.served.signature

    def refusal(self, now: float) -> Refusal:  # noqa: ARG002  (a loaded model is always ready)
        """As `Target`: never."""
        return ""

    def gave_up_on(self) -> None:
        """As `Target`: a loaded model is never taken out of the path."""


class RemoteTarget(Unconcerned):
    """A model behind a Unix socket (a sandbox of ours) or a URL (any OIP v2 server).

    Args:
        key: how it is called in metrics and logs; clients are told `model` only, never a URL of ours.
        model: `name/version` there.
        trusted: a sandbox of ours, whose answers need no check.
        ejections: counts the times it is ejected.
    """

    place: Literal["remote"] = "remote"
    floor = FLOOR
    joins = False

    def __init__(self, key: str, model: str, address: Address, ejections: Counter, *, trusted: bool) -> None:
        self.key = key
        self.model = model
        self.problem = "not probed yet"
        self._pool = Pool(address, label=model)
        self._trusted = trusted
        self._ejections = ejections
        self._signature: Signature | None = None
        self._outputs: frozenset[str] = frozenset()  # of the signature
        self._last_headers: Mapping[bytes, bytes] = {}
        self._last_lines = b""  # what is forwarded of them
        name, _, version = model.partition("/")
        self._paths = [infer_path(name, version), infer_path(name, None)]
        self._path = self._paths[0]
        self._failures = 0
        self._ejected_until = 0.0
        self._back_at = 0.0  # when its probe last found it ready after it had not been
        self.tracer: Tracer | None = None
        """Makes a span of each call; None for none."""
        self.reference: Callable[[], Signature | None] = lambda: None
        """The signature that this target has to stand in for; one that it cannot makes it not ready."""
        self._probing = asyncio.create_task(self._probe(), name=f"probe {key}")

    @property
    def signature(self) -> Signature | None:
        """As `Target`."""
        return self._signature

    async def close(self) -> None:
        """Stop probing; requests under way finish, new ones are refused."""
        self._probing.cancel()
        self._pool.close()

    @property
    def failing(self) -> bool:
        """Whether it is ejected, or was and has not answered since."""
        return self._failures >= EJECT_AFTER

    def refusal(self, now: float) -> Refusal:
        """As `Target`."""
        if self.problem:
            return "not_ready"
        return "ejected" if self._failures >= EJECT_AFTER and now < self._ejected_until else ""

    # ------------------------------------------------------------------ inference

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `Target`."""
        return each(self.one, calls)

    async def one(self, call: Call) -> Reply:
        """As `Target`."""
        trying, began = self._failures >= EJECT_AFTER, clock()
        deadline = began + (call.timeout_seconds or DEFAULT_TIMEOUT_SECONDS)
        if trying:
            self._ejected_until = deadline  # this one tries; the others wait for it
        try:
            if self.tracer is None or not self._sampled(call.headers):
                reply = await self._exchange(call, deadline)
            else:
                reply = await self.tracer.call(self.key, call, lambda inner: self._exchange(inner, deadline))
        except ServingError as error:
            if error.status >= 500 and began >= self._back_at and (trying or self._failures < EJECT_AFTER):
                self._failed()  # what was under way when it was ejected, or went away, says nothing new
            raise
        self._failures = 0
        return reply

    def gave_up_on(self) -> None:
        """A client went away whom it had kept waiting for too long: a failure, as far as it is told."""
        self._failed()

    async def _exchange(self, call: Call, deadline: float) -> Reply:
        json_length = call.json_length
        lines = self._forwarded(call.headers)
        if self.tracer is not None and not self._trusted and trace_context(call.headers) is None:
            lines += b"%b: %b\r\n" % (TRACEPARENT, new_trace().header)  # or it would sample for itself
        if json_length is not None:
            lines += b"%b: %d\r\n" % (JSON_LENGTH_HEADER, json_length)
        return self._read(await self._pool.post(self._path, lines, call.body, deadline))

    def _sampled(self, headers: Mapping[bytes, bytes]) -> bool:
        known = trace_context(headers) if TRACEPARENT in headers else None
        return known is not None and self.tracer is not None and self.tracer.samples(known, new=False)

    def _forwarded(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The lines to send on. Calls with equal heads share their headers, so the last ones are kept."""
        if headers is not self._last_headers:
            names = _FORWARDED
            if TRACEPARENT in headers and trace_context(headers) is not None:
                names = _FORWARDED_TRACED
            lines = b"".join(b"%b: %b\r\n" % (name, headers[name]) for name in names if name in headers)
            self._last_headers, self._last_lines = headers, lines
        return self._last_lines

    def _read(self, answer: ClientReply) -> Reply:
        length = answer.headers.get(JSON_LENGTH_HEADER)
        nanoseconds = answer.headers.get(COMPUTE_HEADER)
        try:
            json_length = None if length is None else int(length)
            seconds = 0.0 if nanoseconds is None else int(nanoseconds) / 1e9
        except ValueError:
            raise BadGateway(f"target {self.model} answered with a header that is no number") from None
        if answer.status != 200:
            raise _as_error(self.model, answer.status, answer.body)
        shared = None if nanoseconds is None else SHARED_HEADER in answer.headers
        reply = Reply(200, answer.body, json_length, b"", seconds, shared)
        if not self._trusted and (json_length is not None or not is_plainly_good(reply.body, self._outputs)):
            self._check(reply)
        return reply

    def _check(self, reply: Reply) -> None:
        """A foreign server's answer is used only if it can be read and is of the known signature."""
        try:
            outputs = decode_response(reply.body, reply.json_length).outputs
        except ServingError as error:
            raise BadGateway(f"target {self.model} gave an answer that cannot be used: {error}") from None
        if self._signature is None:
            return
        for name in outputs:
            if name not in self._outputs:
                raise BadGateway(f"target {self.model} gave an output {name!r} that is not in its metadata")

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= EJECT_AFTER:
            doublings = min(self._failures - EJECT_AFTER, 5)
            self._ejected_until = clock() + min(
                FIRST_EJECTION_SECONDS * 2**doublings, LONGEST_EJECTION_SECONDS
            )
            if self._failures == EJECT_AFTER:
                self._ejections.add()
                log.warning("target ejected", target=self.key, failures=self._failures)

    # ------------------------------------------------------------------ readiness

    async def _probe(self) -> None:
        """Ask for metadata until it is ready, then once a second whether it still is."""
        while True:
            try:
                await self._probe_once()
                problem = ""
            except ServingError as error:
                problem = str(error)
            except (ValueError, KeyError, TypeError):
                problem = "its metadata cannot be read"
            if problem != self.problem:
                log.info(
                    "target ready" if not problem else "target not ready", target=self.key, problem=problem
                )
                if not problem:
                    self._came_back()
            self.problem = problem
            await asyncio.sleep(1.0 if not problem else 0.05 if self._trusted else 0.5)

    def _came_back(self) -> None:
        """It may be another process, of which no failure is known, and which nobody may ever ask."""
        self._back_at = clock()
        self._failures = min(self._failures, EJECT_AFTER - 1)

    async def _probe_once(self) -> None:
        base = self._path.removesuffix(b"/infer")
        ready = await self._pool.get(base + b"/ready", clock() + 2.0)
        if ready.status == 404 and self._signature is None:
            self._path = self._paths[1 - self._paths.index(self._path)]  # a server without versions
        if ready.status != 200:
            raise Unavailable(f"answers {ready.status} when asked whether it is ready")
        if self._signature is None:
            metadata = await self._pool.get(base, clock() + 2.0)
            if metadata.status != 200:
                raise Unavailable(f"answers {metadata.status} when asked for its metadata")
            signature = signature_of(orjson.loads(metadata.body))
            self._outputs = frozenset(spec.name for spec in signature.outputs)
            self._signature = signature
        reference = self.reference()
        if reference is not None and (reason := incompatibility(reference, self._signature)):
            raise Unavailable(f"it cannot stand in for stable: {reason}")


_CLIENTS_FAULTS: dict[int, Kind] = {
    HTTP_STATUS[kind]: kind
    for kind in ("invalid", "not_found", "client_too_slow", "too_large", "unprocessable", "too_many")
}
"""What a client is told as the target said it, by HTTP's numbers."""


def _as_error(key: str, status: int, body: bytes) -> ServingError:
    """The target's own error, with its text where it is the client's fault."""
    if 400 <= status < 500:
        try:
            text = str(orjson.loads(body)["error"])[:500]
        except (ValueError, KeyError, TypeError):
            text = f"refused by the model server with status {status}"
        error = ServingError(text)
        error.kind = _CLIENTS_FAULTS.get(status, "invalid")
        return error
    if status in {503, 429}:
        return Unavailable(f"target {key} is unavailable")
    if status == 504:
        return DeadlineExceeded(f"target {key} did not answer in time")
    return BadGateway(f"target {key} answered with status {status}")
