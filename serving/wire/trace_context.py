"""W3C Trace Context: which trace a request belongs to. Pure.

Law: a `traceparent` that is not valid is as none at all, and then its `tracestate` means nothing either. What
is valid is passed on; an unknown future version is read as far as this one goes.
Source: www.w3.org/TR/trace-context, level 1, 3.2 and 4.3.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace.

    Args:
        trace_id: 32 hexadecimal digits, not all 0.
        span_id: 16 of them, of whoever sent the request.
        flags: bit 0: it was sampled.
    """

    trace_id: str
    span_id: str
    flags: int = 0

    @property
    def low_bits(self) -> int:
        """The lower half of the trace's id, by which it is sampled."""
        return int(self.trace_id[16:], 16)

    @property
    def header(self) -> bytes:
        """As the value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}".encode()


def trace_context(headers: Mapping[bytes, bytes]) -> TraceContext | None:
    """What a request's headers say, by lower-case names; None when they say nothing valid."""
    text = headers.get(TRACEPARENT)
    if text is None:
        return None
    found = _FORM.fullmatch(text.strip(b" \t"))
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5] is not None):
        return None
    if not found[2].strip(b"0") or not found[3].strip(b"0"):
        return None
    return TraceContext(found[2].decode(), found[3].decode(), int(found[4], 16))


def new_trace(low_bits: int | None = None) -> TraceContext:
    """A trace that begins here, and that nobody samples.

    Args:
        low_bits: of its id; random when None.
    """
    low = token_hex(8) if low_bits is None else f"{low_bits:016x}"
    return TraceContext(token_hex(8) + low, token_hex(8))


def traced(headers: Mapping[bytes, bytes], context: TraceContext) -> dict[bytes, bytes]:
    """The headers, moved to this place. A state of another trace is left behind."""
    moved = {**headers, TRACEPARENT: context.header}
    known = trace_context(headers)
    if known is None or known.trace_id != context.trace_id:
        moved.pop(TRACESTATE, None)
    return moved
