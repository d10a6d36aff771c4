"""A model server that fails the requests that it is told to: a bug that some of the traffic meets."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import orjson

from harness.hostile import ANSWER, DIGITS, Background, reply


class Picky(Background):
    """Serves the digits.

    Args:
        fails: whether it fails a request, by the request's `id`.
    """

    def __init__(self, fails: Callable[[str], bool]) -> None:
        self._fails = fails
        super().__init__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    writer.write(reply(orjson.dumps(DIGITS)))
                    continue
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                asked = orjson.loads(await reader.readexactly(length)).get("id", "")
                failed = reply(b'{"error":"broken"}', "500 Internal Server Error")
                writer.write(failed if self._fails(asked) else reply(orjson.dumps(ANSWER | {"id": asked})))
        writer.close()


@contextlib.contextmanager
def picky(fails: Callable[[str], bool]) -> Iterator[str]:
    """The URL of such a server."""
    server = Picky(fails)
    try:
        yield server.url
    finally:
        server.end()
