"""Content codings of requests and answers: gzip and deflate, bounded by what they inflate to."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Protocol

from serving.admission.bodies import Bodies
from serving.errors import InvalidInput, ServingError, TooLarge, Unavailable, Unsupported
from serving.wire.handler import AsItCame, Handler
from serving.wire.message import Call, Reply

MOST_INFLATED = 1032
"""Deflate never makes more of a byte (zlib's technical details)."""
OFFLOAD_BYTES = 256 * 1024
"""Compressing or inflating more than this happens in a thread, so that nobody waits behind it."""


def is_coded(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body is compressed, or the answer shall be.

    A library that lists all it can decode is not asking for compression, which costs more than it saves
    on small answers; one that names a single coding (as tritonclient does when told to) is.
    """
    encoding, accepted = _codings(headers)
    return encoding != b"identity" or accepted in _COMPRESS


class Bounds(Protocol):
    """How much a body may inflate to, and what memory there is for it."""

    body_bytes: int
    bodies: Bodies


def answer(handler: Handler, call: Call, bounds: Bounds, client: str) -> "Reply | Awaitable[Reply]":
    """Answer a call whose body, or whose answer, may be compressed.

    Args:
        handler: is given the call with its body inflated, unless it takes bodies as they came.
        call: as it came.
        bounds: of what it inflates to.
        client: whose share of the memory for bodies is used.
    """
    encoding, accepted = _codings(call.headers)
    if isinstance(handler, AsItCame) or (encoding == b"identity" and accepted not in _COMPRESS):
        return handler.one(call)
    return _answer_coded(handler, call, bounds, client, encoding, accepted)


def _codings(headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """That of the body, and the one asked for."""
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    return encoding, headers.get(b"accept-encoding", b"").strip().lower()


async def _answer_coded(
    handler: Handler, call: Call, bounds: Bounds, client: str, encoding: bytes, accepted: bytes
) -> Reply:
    if encoding == b"identity":
        return await _compressed(handler, call, accepted)
    try:
        call.body, held = await _inflate(call.body, bounds, client, encoding)
    except ServingError as error:
        call.body = b""  # what came is none without its coding
        handler.refused(call, error)
        raise
    try:
        return await _compressed(handler, call, accepted)
    finally:
        bounds.bodies.give(client, held)


@asynccontextmanager
async def inflated(
    headers: Mapping[bytes, bytes], body: bytes, bounds: Bounds, client: str
) -> AsyncIterator[bytes]:
    """The body of a request as it is without its coding, in memory that is taken for so long.

    Args:
        headers: of the request, names in lower case.
        body: as it came.
        bounds: as of `answer`, and so is the last one.
        client: whose share of the memory for bodies is used.

    Raises:
        ServingError: it cannot be inflated, or not now.
    """
    encoding, _ = _codings(headers)
    if encoding == b"identity":
        yield body
        return
    plain, held = await _inflate(body, bounds, client, encoding)
    try:
        yield plain
    finally:
        bounds.bodies.give(client, held)


async def _inflate(body: bytes, bounds: Bounds, client: str, encoding: bytes) -> tuple[bytes, int]:
    """Inflate a body.

    Returns:
        It, and the bytes of the memory for bodies that are taken for it.

    Raises:
        ServingError: it cannot be inflated, or not now; nothing is taken then.
    """
    if encoding not in _COMPRESS:
        raise Unsupported(f"content-encoding {encoding[:40].decode('latin-1')!r}; known: gzip, deflate")
    most, kept = min(bounds.body_bytes, len(body) * MOST_INFLATED), 0
    if not bounds.bodies.take(client, most):
        raise Unavailable("no memory to inflate another body now")
    try:
        if len(body) > OFFLOAD_BYTES // 8:
            plain = await asyncio.to_thread(inflate, body, encoding, bounds.body_bytes)
        else:
            plain = inflate(body, encoding, bounds.body_bytes)
        kept = min(most, len(plain))
    finally:
        bounds.bodies.give(client, most - kept)
    return plain, kept


async def _compressed(handler: Handler, call: Call, accepted: bytes) -> Reply:
    outcome = handler.one(call)
    reply = await outcome if isawaitable(outcome) else outcome
    compress = _COMPRESS.get(accepted)
    if compress is not None and reply.status == 200:
        body = (
            await asyncio.to_thread(compress, reply.body)
            if len(reply.body) > OFFLOAD_BYTES
            else compress(reply.body)
        )
        line = b"content-encoding: " + accepted + b"\r\n"
        return Reply(
            reply.status, body, reply.json_length, reply.headers + line, reply.compute_seconds, reply.shared
        )
    return reply


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=1, mtime=0)


def _deflate(body: bytes) -> bytes:
    return zlib.compress(body, level=1)


_COMPRESS: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": _gzip, b"deflate": _deflate}


def inflate(body: bytes, encoding: bytes, limit: int) -> bytes:
    """Undo gzip or deflate (zlib or raw), never growing past the limit.

    Raises:
        TooLarge: it inflates to more than `limit` bytes.
        InvalidInput: it is not of that coding, is cut short, or has bytes after its end.
    """
    bits = 31 if encoding == b"gzip" else 15 if body[:1] and body[0] & 0x0F == 8 else -15
    inflater = zlib.decompressobj(wbits=bits)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidInput(f"the body is not valid {encoding.decode()}") from None
    if len(inflated) > limit:
        raise TooLarge(f"the body inflates to more than {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise InvalidInput(f"the body is not one whole {encoding.decode()} stream")
    return inflated
