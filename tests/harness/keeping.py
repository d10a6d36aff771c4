"""Clients that keep their connections as HTTP asks of them: for as long as the server says."""

import asyncio
import threading
from collections import Counter
from typing import Self

from harness.raw import request

PER_CONNECTION = 10
"""Requests, after which a client connects anew, so that connections keep coming."""


class Keeping:
    """Clients of which each asks, waits for the answer and asks again, from a thread of their own.

    Args:
        port: where they connect.
        path: that they ask.
        bodies: sent in turn.
        clients: how many.
        pause_seconds: of each between an answer and its next request.

    Attributes:
        answers: by HTTP status and who answered.
        told_to_close: answers that ended their connection.
        errors: connections that broke while somebody waited for an answer, or were not to be had; of each
            client the first, with which it ends.
    """

    def __init__(
        self, port: int, path: str, bodies: list[bytes], clients: int = 8, pause_seconds: float = 0.02
    ) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.told_to_close = 0
        self.errors: list[str] = []
        self._port, self._clients, self._pause = port, clients, pause_seconds
        self._requests = [request(path, body, {"content-type": "application/json"}) for body in bodies]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, wait for the answers under way."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the clients did not end"

    @property
    def by_target(self) -> Counter[str]:
        """Answers by who gave them."""
        found: Counter[str] = Counter()
        for (_, target), count in self.answers.items():
            found[target] += count
        return found

    async def _run(self) -> None:
        await asyncio.gather(*(self._ask_on(number) for number in range(self._clients)))

    async def _ask_on(self, number: int) -> None:
        try:
            while not self._stop.is_set():
                await self._connection(number)
        except (OSError, EOFError) as error:
            self.errors.append(repr(error))

    async def _connection(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            for turn in range(PER_CONNECTION):
                if self._stop.is_set() or reader.at_eof():
                    return
                writer.write(self._requests[(number + turn) % len(self._requests)])
                if await self._answered(reader):
                    return
                await asyncio.sleep(self._pause)
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader) -> bool:
        """Take an answer; whether it is the last of this connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        fields = dict(line.split(b": ", 1) for line in head[:-4].split(b"\r\n")[1:])
        await reader.readexactly(int(fields[b"content-length"]))
        self.answers[int(head[9:12]), fields.get(b"x-understudy-target", b"").decode()] += 1
        last = fields.get(b"connection") == b"close"
        self.told_to_close += last
        return last
