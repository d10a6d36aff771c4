"""A model server behind the router that writes down every byte it is sent."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from harness.hostile import ANSWER, DIGITS, Background, reply


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived: its first line, its headers in order, its body."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Recorder(Background):
    """Answers as a digits model does, and keeps all POSTs.

    Attributes:
        received: inference requests, in order.
        broken: what could not be read as a plain request with one content-length; the connection was closed.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.broken: list[bytes] = []
        super().__init__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not self._end.is_set():
                head = await reader.readuntil(b"\r\n\r\n")
                line, *lines = head[:-4].decode("latin-1").split("\r\n")
                headers = tuple(
                    (name.lower(), value.strip()) for name, _, value in (h.partition(":") for h in lines)
                )
                lengths = [value for name, value in headers if name == "content-length"]
                coded = any(name == "transfer-encoding" for name, _ in headers)
                if line.startswith("GET "):
                    writer.write(reply(orjson.dumps(DIGITS)))
                    continue
                if not line.startswith("POST ") or len(lengths) != 1 or not lengths[0].isdigit() or coded:
                    self.broken.append(head)
                    break
                body = await reader.readexactly(int(lengths[0]))
                self.received.append(Received(line, headers, body))
                writer.write(reply(orjson.dumps(ANSWER)))
        writer.close()


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """A recorder, ended afterwards."""
    server = Recorder()
    try:
        yield server
    finally:
        server.end()
