"""A model server that fails the requests that it is told to: a bug that some of the traffic meets."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from harness.hostile import ANSWER, DIGITS, Background, reply


class Picky(Background):
    """Serves one model, as well as a stand-in can.

    Args:
        fails: whether it fails a request, given as read from JSON.
        metadata: of the model.
        answer: to every other request.
    """

    def __init__(
        self, fails: Callable[[Any], bool], metadata: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> None:
        self._fails, self._metadata, self._answer = fails, metadata, answer
        super().__init__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    writer.write(reply(orjson.dumps(self._metadata)))
                    continue
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                if self._fails(orjson.loads(await reader.readexactly(length))):
                    writer.write(reply(b'{"error":"broken"}', "500 Internal Server Error"))
                else:
                    writer.write(reply(orjson.dumps(self._answer)))
        writer.close()


@contextlib.contextmanager
def picky(
    fails: Callable[[Any], bool], metadata: Mapping[str, Any] = DIGITS, answer: Mapping[str, Any] = ANSWER
) -> Iterator[str]:
    """The URL of such a server."""
    server = Picky(fails, metadata, answer)
    try:
        yield server.url
    finally:
        server.end()
