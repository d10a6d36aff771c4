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
from router.rollout.values import AS_USUAL, Server
from router.targets.access import Access
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
from serving.wire.plain_json import as_json
from serving.wire.protocol import decode_response
from serving.wire.tensors import Signature
from serving.wire.trace_context import TRACEPARENT, TRACESTATE, new_trace, trace_context

log = structlog.get_logger()

Refusal = Literal["", "not_ready", "ejected", "busy"]

FIRST_EJECTION_SECONDS = 1.0
PROBED_SECONDS = 2.0
"""How long one waits at most for the first question whether a target is ready."""

_FORWARDED: tuple[bytes, ...] = (b"x-request-id",)
_JSON = b"content-type: application/json\r\n"
"""Whatever the client says: some servers are particular, and curl's `-d` says that it is a form."""
_OCTETS = b"content-type: application/octet-stream\r\n"
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

    def refusal(self, now: float) -> Refusal:  # noqa: ARG002  (it is ready or not)
        """As `Target`: only while what of it runs in another process is not there."""
        return "not_ready" if self.served.problem else ""

    def gave_up_on(self) -> None:
        """As `Target`: a loaded model is never taken out of the path."""


class RemoteTarget(Unconcerned):
    """A model behind a Unix socket (a sandbox of ours) or a URL (any OIP v2 server).

    Args:
        key: how it is called in metrics and logs; clients are told `model` only, never a URL of ours.
        model: `name/version` there.
        trusted: a sandbox of ours, whose answers need no check.
        ejections: counts the times it is ejected.
        server: how the URL's server is asked.
        access: what it is shown; None for nothing.
    """

    place: Literal["remote"] = "remote"
    floor = FLOOR
    joins = False

    def __init__(
        self,
        key: str,
        model: str,
        address: Address,
        ejections: Counter,
        *,
        trusted: bool,
        server: Server = AS_USUAL,
        access: Access | None = None,
    ) -> None:
        self.key = key
        self.model = model
        self.problem = "not probed yet"
        self.probed = asyncio.Event()
        """Whether it was asked once whether it is ready."""
        self._pool = Pool(
            address,
            label=model,
            max_connections=server.connections,
            idle_seconds=server.keep_alive_seconds,
            connect_seconds=server.connect_seconds,
            server_name=server.tls.name or None,
        )
        self._server = server
        self._access = access
        self._lines = b""  # what its server is shown
        self._takes_binary = trusted
        self._trusted = trusted
        self._ejections = ejections
        self._signature: Signature | None = None
        self._outputs: frozenset[str] = frozenset()  # of the signature
        self._last_headers: Mapping[bytes, bytes] = {}
        self._last_lines = b""  # what is forwarded of them
        self._paths = _paths(model, server)
        self._path = self._paths[0]
        self._missed = 0  # questions in a row whether it is ready
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
        return self._failures >= self._server.eject.after

    def refusal(self, now: float) -> Refusal:
        """As `Target`."""
        if self.problem:
            return "not_ready"
        return "ejected" if self._failures >= self._server.eject.after and now < self._ejected_until else ""

    # ------------------------------------------------------------------ inference

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `Target`."""
        return each(self.one, calls)

    async def one(self, call: Call) -> Reply:
        """As `Target`."""
        trying, began = self.failing, clock()
        seconds = call.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
        if self._server.timeout_seconds is not None:
            seconds = min(seconds, self._server.timeout_seconds)
        deadline = began + seconds
        if trying:
            self._ejected_until = deadline  # this one tries; the others wait for it
        try:
            if self.tracer is None or not self._sampled(call.headers):
                reply = await self._exchange(call, deadline)
            else:
                reply = await self.tracer.call(self.key, call, lambda inner: self._exchange(inner, deadline))
        except ServingError as error:
            if error.status >= 500 and began >= self._back_at and (trying or not self.failing):
                self._failed()  # what was under way when it was ejected, or went away, says nothing new
            raise
        self._failures = 0
        return reply

    def gave_up_on(self) -> None:
        """A client went away whom it had kept waiting for too long: a failure, as far as it is told."""
        self._failed()

    async def _exchange(self, call: Call, deadline: float) -> Reply:
        json_length, body = call.json_length, call.body
        if json_length is not None and not self._takes_binary:
            body, json_length = as_json(body, json_length), None
        kind = _JSON if json_length is None else _OCTETS
        lines = self._lines + kind + self._forwarded(call.headers)
        if self.tracer is not None and not self._trusted and trace_context(call.headers) is None:
            lines += b"%b: %b\r\n" % (TRACEPARENT, new_trace().header)  # or it would sample for itself
        if json_length is not None:
            lines += b"%b: %d\r\n" % (JSON_LENGTH_HEADER, json_length)
        return self._read(await self._pool.post(self._path, lines, body, deadline))

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
            if not self._trusted and answer.status in _OUR_FAULTS:
                raise BadGateway(f"target {self.model} refuses what it is shown: status {answer.status}")
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
        for name in outputs if self._outputs else ():
            if name not in self._outputs:
                raise BadGateway(f"target {self.model} gave an output {name!r} that is not in its metadata")

    def _failed(self) -> None:
        self._failures += 1
        eject = self._server.eject
        if self._failures >= eject.after:
            doublings = min(self._failures - eject.after, 12)
            self._ejected_until = clock() + min(FIRST_EJECTION_SECONDS * 2**doublings, eject.longest_seconds)
            if self._failures == eject.after:
                self._ejections.add()
                log.warning("target ejected", target=self.key, failures=self._failures)

    # ------------------------------------------------------------------ readiness

    async def _probe(self) -> None:
        """Ask for metadata until it is ready, then at intervals whether it still is."""
        health = self._server.health
        soon = 0.05 if self._trusted else min(0.5, health.interval_seconds)
        while True:
            problem = await self._problem_now()
            self._missed = self._missed + 1 if problem else 0
            if problem and not self.problem and self._missed < health.failures:
                problem = ""
            if problem != self.problem:
                log.info(
                    "target ready" if not problem else "target not ready", target=self.key, problem=problem
                )
                if not problem:
                    self._came_back()
            self.problem = problem
            self.probed.set()
            await asyncio.sleep(soon if problem else health.interval_seconds)

    async def _problem_now(self) -> str:
        try:
            await self._probe_once()
        except ServingError as error:
            return str(error)
        except (ValueError, KeyError, TypeError):
            return "its metadata cannot be read"
        return ""

    def _came_back(self) -> None:
        """It may be another process, of which no failure is known, and which nobody may ever ask."""
        self._back_at = clock()
        self._failures = min(self._failures, self._server.eject.after - 1)

    async def _probe_once(self) -> None:
        if self._access is not None:
            held = self._access.look()
            self._lines = held.lines
            self._pool.tls = held.tls or self._pool.tls
        base = self._path.removesuffix(b"/infer")
        ready = await self._ask(base + b"/ready")
        if ready.status in _NO_SUCH_PATH and self._signature is None:
            self._path = self._paths[self._paths.index(self._path) - 1]  # a server without versions
        if ready.status != 200:
            raise Unavailable(f"answers {ready.status} when asked whether it is ready")
        if self._signature is None or self.problem:  # else it is as it was
            await self._learn(base)
        assert self._signature is not None
        reference = self.reference()
        if reference is not None and (reason := incompatibility(reference, self._signature)):
            raise Unavailable(f"it cannot stand in for stable: {reason}")

    async def _learn(self, base: bytes) -> None:
        """What the model takes and gives, and whether its server understands binary tensors."""
        metadata = await self._ask(base)
        if metadata.status != 200:
            raise Unavailable(f"answers {metadata.status} when asked for its metadata")
        signature = signature_of(orjson.loads(metadata.body))
        if not self._trusted:
            self._takes_binary = _names_binary(await self._ask(b"/v2"))
        self._outputs = frozenset(spec.name for spec in signature.outputs)
        self._signature = signature

    async def _ask(self, path: bytes) -> ClientReply:
        return await self._pool.get(path, clock() + self._server.health.timeout_seconds, self._lines)


def _names_binary(reply: ClientReply) -> bool:
    """Whether a server's metadata names Triton's extension for binary tensors."""
    try:
        return reply.status == 200 and "binary_tensor_data" in orjson.loads(reply.body)["extensions"]
    except (ValueError, KeyError, TypeError):
        return False


_NO_SUCH_PATH = frozenset({400, 404, 405, 501})
"""What servers answer that have no versions, or not this one."""
_OUR_FAULTS = frozenset({401, 403, 407})
"""What a URL's server answers whose credentials are not as it wants them, and no client can mend."""
_CLIENTS_FAULTS: dict[int, Kind] = {
    HTTP_STATUS[kind]: kind
    for kind in ("invalid", "not_found", "client_too_slow", "too_large", "unprocessable", "too_many")
}
"""What a client is told as the target said it, by HTTP's numbers."""


def _paths(model: str, server: Server) -> list[bytes]:
    """Where inference may be asked for; the first that is there is it."""
    name, _, version = model.partition("/")
    name = server.name or name
    if server.version:
        return [infer_path(name, None if server.version == "none" else server.version)]
    return [infer_path(name, version), infer_path(name, None)]


def _as_error(key: str, status: int, body: bytes) -> ServingError:
    """The target's own error, with its text where it is the client's fault."""
    if 400 <= status < 500:
        try:
            told = orjson.loads(body)
            said = told["error"] if "error" in told else told["detail"]  # the latter is FastAPI's own
            text = str(said)[:500]
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
