"""What was asked and answered, as it travels from a worker to another process of its machine. Pure.

On the wire: `_HEAD`, the public model name, the target's key, the trace, the request id, the request body,
the answer's body, the receipt, then what only a record has: what its sink says of it, why it failed.
The version stands second in every version: a reader refuses what it does not know.
Both ends are of one release, but for the time between an upgrade in place and the node's next start.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from router.answered import Answered, Role
from serving.errors import InvalidInput, ServingError
from serving.wire.codec import WIRES
from serving.wire.handler import status_of
from serving.wire.message import JSON_LENGTH_HEADER, OIP_HTTP, Call, Reply
from serving.wire.request_id import REQUEST_ID, request_id
from serving.wire.trace_context import TRACEPARENT

VERSION: Final = 2
MAX_BYTES: Final = 64 << 20
MAX_ERROR: Final = 500

_HEAD: Final = struct.Struct("<IBBBHHHIqqIIQddBBBHH")
"""Length of what stands behind this head, version, wire, flags, status, lengths of name and target, stage,
JSON lengths of request and answer (-1: all JSON), lengths of their bodies, hash of the sticky key (0: none),
when the request arrived, seconds to the answer, lengths of trace, request id, receipt, said, error."""
RECORDED: Final = b"recorded"
"""What is said of a frame that is made of a row of the prediction log, and is sent to a sandbox."""
_TIMED: Final = 1
_FORCED: Final = 16
_REFUSED: Final = 32
_SHARED: Final[dict[bool | None, int]] = {None: 0, True: 64, False: 128}
_BESIDE_ROLES: Final = _TIMED | _FORCED | _REFUSED | _SHARED[True] | _SHARED[False]
_FLAGS: Final[dict[tuple[Role, Role | None], int]] = {
    ("stable", None): 0,
    ("canary", None): 2,
    ("stable", "stable"): 4,
    ("canary", "stable"): 6,
    ("stable", "canary"): 8,
    ("canary", "canary"): 10,
}
_MEANT: Final = {flags: roles for roles, flags in _FLAGS.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """One request, and what its client was answered.

    Attributes:
        model: the public name.
        stage: of the rollout.
        key: hash of the sticky key; 0 without one.
        request: the body as it came.
        request_json: its length of JSON, as in `serving.wire.message`.
        reference: the answer's body; empty where there was none.
        reference_json: likewise.
        trace: the request's `traceparent` as it came; empty without one.
        timed: whether it is run by stable and the candidate in turn and compared with nothing; then it has no
            reference.
        role: who answered.
        target: its key.
        drawn: as of `Answered`.
        status: that the client was answered with; 499 where it had left.
        arrived: on the machine's monotonic clock, that of `serving.clock`, seconds.
        seconds: from there until the answer was there.
        id: the request's `x-request-id`; empty without one that is taken (`serving.wire.request_id`).
        wire: of both bodies, as of `serving.wire.codec`.
        forced: whether the client named who is to answer.
        refused: whether nobody was asked, as of `Answered`.
        receipt: that the answer carried; empty without one.
        said: what the sink says of it, for whoever reads its frames; empty from a mirror, `RECORDED` from a
            top-up.
        error: why it failed, as the client was told; empty where it did not, and from a mirror.
        shared: whether other requests were in the run that computed the answer; None where nobody knows.
    """

    model: str
    stage: int
    key: int
    request: bytes
    request_json: int | None
    reference: bytes
    reference_json: int | None
    trace: bytes = b""
    timed: bool = False
    role: Role = "stable"
    target: str = ""
    drawn: Role | None = None
    status: int = 200
    arrived: float = 0.0
    seconds: float = 0.0
    id: bytes = b""
    wire: str = OIP_HTTP
    forced: bool = False
    refused: bool = False
    receipt: bytes = b""
    said: bytes = b""
    error: str = ""
    shared: bool | None = None

    @property
    def recorded(self) -> bool:
        """Whether it was answered before, and comes from the prediction log."""
        return self.said == RECORDED


def packed(model: bytes, answered: Answered, *, timed: bool = False, said: bytes = b"") -> bytes | None:
    """A frame as bytes; None when it were larger than may travel.

    Args:
        model: the public name.
        answered: what was asked and answered.
        timed: as of `Frame`; leaves the answer's body out.
        said: as of `Frame`, at most 65535 bytes; with it, the error travels too.
    """
    call, outcome, role, key_of_target, drawn, stage, key, ended, receipt, refused, forced, _ = answered
    headers, request, target = call.headers, call.body, key_of_target.encode()
    trace, id_ = headers.get(TRACEPARENT, b""), headers.get(REQUEST_ID, b"")
    if trace or id_:
        trace, id_ = trace[:255], request_id(headers)
    reference, reference_json, error, shared = b"", -1, b"", None
    if type(outcome) is not Reply:
        status, error = status_of(outcome), _words(outcome) if said else b""
    else:
        status, shared = outcome.status, outcome.shared
        if not timed:
            reference = outcome.body
            reference_json = -1 if outcome.json_length is None else outcome.json_length
    beside = len(receipt) + len(said) + len(error)
    size = len(model) + len(target) + len(trace) + len(id_) + len(request) + len(reference) + beside
    if size > MAX_BYTES:
        return None
    head = _HEAD.pack(
        size,
        VERSION,
        WIRES[call.wire].number,
        _FLAGS[role, drawn] | timed | _FORCED * forced | _REFUSED * refused | _SHARED[shared],
        status,
        len(model),
        len(target),
        stage,
        _json_length(call),
        reference_json,
        len(request),
        len(reference),
        key,
        call.arrived,
        ended - call.arrived,
        len(trace),
        len(id_),
        len(receipt),
        len(said),
        len(error),
    )
    return b"".join((head, model, target, trace, id_, request, reference, receipt, said, error))


def _json_length(call: Call) -> int:
    """That of a request's body; -1 where all of it is JSON."""
    if JSON_LENGTH_HEADER not in call.headers:
        return -1
    try:
        length = call.json_length
    except InvalidInput:  # the request was refused for it
        return -1
    return -1 if length is None else length


def _words(outcome: BaseException) -> bytes:
    """Why a call failed: the text that its client was told, or of what is no such text the kind."""
    if isinstance(outcome, ServingError):
        return f"{outcome.kind}: {outcome}".encode(errors="replace")[:MAX_ERROR]
    return b"failed" if isinstance(outcome, Exception) else b"the client left"


def unpacked(view: memoryview, start: int) -> tuple[Frame, int] | None:
    """The frame that begins at `start`, and where the next one does; None where not all of it is there.

    Raises:
        InvalidInput: it is of another version, or of a wire that is not known here.
    """
    if len(view) - start < _HEAD.size:
        return None
    size, version, wire, flags, status, name_length, target_length, stage, *rest = _HEAD.unpack_from(
        view, start
    )
    if version != VERSION:
        raise InvalidInput(f"a frame of version {version}, where {VERSION} is known")
    request_json, reference_json, request_length, reference_length, key, arrived, seconds, *rest = rest
    trace_length, id_length, *beside = rest
    at = start + _HEAD.size
    if len(view) - at < size:
        return None
    texts = (name_length, target_length, trace_length, id_length)
    parts, at = _parts(view, at, (*texts, request_length, reference_length, *beside))
    name, target, trace, id_, request, reference, receipt, said, error = parts
    role, drawn = _MEANT[flags & ~_BESIDE_ROLES]
    frame = Frame(
        model=name.decode(),
        stage=stage,
        key=key,
        request=request,
        request_json=None if request_json < 0 else request_json,
        reference=reference,
        reference_json=None if reference_json < 0 else reference_json,
        trace=trace,
        timed=bool(flags & _TIMED),
        role=role,
        target=target.decode(),
        drawn=drawn,
        status=status,
        arrived=arrived,
        seconds=seconds,
        id=id_,
        wire=_wire(wire),
        forced=bool(flags & _FORCED),
        refused=bool(flags & _REFUSED),
        receipt=receipt,
        said=said,
        error=error.decode(errors="replace"),
        shared=bool(flags & _SHARED[True]) if flags & (_SHARED[True] | _SHARED[False]) else None,
    )
    return frame, at


def _parts(view: memoryview, at: int, lengths: Iterable[int]) -> tuple[list[bytes], int]:
    """What stands one behind the other from there, and where that ends."""
    parts = []
    for length in lengths:
        parts.append(bytes(view[at : at + length]))
        at += length
    return parts, at


def _wire(number: int) -> str:
    for name, wire in WIRES.items():
        if wire.number == number:
            return name
    raise InvalidInput(f"a frame of wire {number}, which is not known")
