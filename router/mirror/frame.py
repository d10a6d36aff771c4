"""A mirrored request as it travels to a sandbox, and as bytes. Pure.

On the wire: `HEAD`, the public model name, the trace, the request body, the reference's body.
"""

import struct
from dataclasses import dataclass
from typing import Final

HEAD: Final = struct.Struct("<IHIqqIIQBB")
"""Frame length behind this head, name length, stage, JSON lengths of request and reference (-1: all JSON),
lengths of their bodies, hash of the sticky key (0: none), length of the trace (0: none), whether it is to be
timed instead of compared."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One mirrored request: what was asked, and what the reference answered.

    JSON lengths are as in `serving.wire.message`; `key` is the hash of the sticky key, 0 without one; `trace`
    is the request's `traceparent` as it came, empty without one. One that is `timed` is run by stable and the
    candidate in turn and compared with nothing, so it has no reference.
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


def frame_of(view: memoryview, head: tuple[int, ...]) -> Frame:
    """A frame whose head was unpacked, but for its length; `view` is what stands behind the head."""
    name_length, stage, request_json, reference_json, request_length, reference_length, key, *rest = head
    trace_length, timed = rest
    trace_end = name_length + trace_length
    request_end = trace_end + request_length
    return Frame(
        model=bytes(view[:name_length]).decode(),
        stage=stage,
        key=key,
        request=bytes(view[trace_end:request_end]),
        request_json=None if request_json < 0 else request_json,
        reference=bytes(view[request_end : request_end + reference_length]),
        reference_json=None if reference_json < 0 else reference_json,
        trace=bytes(view[name_length:trace_end]),
        timed=bool(timed),
    )
