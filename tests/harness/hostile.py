"""A model server that misbehaves in a chosen way: plain asyncio streams, in a thread of its own."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, Literal

import orjson

Manner = Literal[
    "well", "500", "503", "garbage", "no http", "unknown output", "no output", "too short", "too long",
    "hang", "close", "close in body", "reset", "endless head",
]  # fmt: skip

DIGITS = {
    "name": "digits",
    "versions": ["2"],
    "platform": "hostile",
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
    ],
}
ANSWER = {
    "model_name": "digits",
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [7]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 10], "data": [0.1] * 10},
    ],
}


def reply(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole HTTP reply, or one that lies about its length."""
    lines = (f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {length or len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def said(manner: Manner) -> bytes:
    """What is written for an inference request; the connection is closed after what breaks the protocol."""
    well = orjson.dumps(ANSWER)
    texts: dict[str, bytes] = {
        "well": reply(well),
        "500": reply(b'{"error":"broken"}', "500 Internal Server Error"),
        "503": reply(b'{"error":"busy"}', "503 Service Unavailable"),
        "garbage": reply(b"\x00\xff not json"),
        "no http": b"SSH-2.0-hello\r\n",
        "unknown output": reply(well.replace(b'"label"', b'"colour"')),
        "no output": reply(b'{"model_name": "digits"}'),
        "too short": reply(well, length=len(well) - 9),
        "too long": reply(well, length=len(well) + 9),
        "close in body": reply(well)[:-20],
        "endless head": b"HTTP/1.1 200 OK\r\n" + b"x-more: of the same\r\n" * 10_000,
    }
    return texts.get(manner, b"")


class Background:
    """A server on asyncio streams in a thread of its own, at `url` until `end`."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._end.wait()
        server.close()

    def end(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Hostile(Background):
    """Serves the digits' metadata well, and inference in its present `manner`.

    Attributes:
        manner: may be set at any time.
        metadata: what it says of itself.
        asked: inference requests so far.
        tenant: what the last of them had in its header `x-tenant`.
    """

    def __init__(self) -> None:
        self.manner: Manner = "well"
        self.metadata: dict[str, Any] = DIGITS
        self.asked = 0
        self.tenant = ""
        super().__init__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not self._end.is_set():
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    writer.write(reply(orjson.dumps(self.metadata)))
                    continue
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                self.asked += 1
                self.tenant = head.decode().partition("x-tenant: ")[2].partition("\r\n")[0]
                manner = self.manner
                if manner == "hang":
                    await self._end.wait()
                if manner == "reset":
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                    return
                writer.write(said(manner))
                if manner in {"close", "close in body", "too long", "no http"}:
                    break
        writer.close()


@contextlib.contextmanager
def hostile() -> Iterator[Hostile]:
    """A server that behaves until told otherwise."""
    server = Hostile()
    try:
        yield server
    finally:
        server.end()
