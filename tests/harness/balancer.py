"""What a Service of Kubernetes is to clients: each connection goes to one of the endpoints, and stays there.

An endpoint that is taken away gets no new connections; those that it has live on.
"""

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Self


class Balancer:
    """Spreads connections over ports of this machine, in turn, from a thread of its own.

    Attributes:
        port: where clients connect.
        given: connections, by the port that they were given to.
        refused: connections that an endpoint refused; clients see them closed.
    """

    def __init__(self) -> None:
        self.port = 0
        self.given: Counter[int] = Counter()
        self.refused = 0
        self._ends: list[int] = []
        self._turns = itertools.count()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def add(self, port: int) -> None:
        """An endpoint is ready."""
        self._ends = [*self._ends, port]

    def remove(self, port: int) -> None:
        """An endpoint is ready no more, and this is known here by now."""
        self._ends = [end for end in self._ends if end != port]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._take, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = self._ends
        port = ends[next(self._turns) % len(ends)]
        self.given[port] += 1
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            self.refused += 1
            writer.close()
            return
        await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes as they come, and the end of them."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


@contextlib.contextmanager
def balancing(*ports: int) -> Iterator[Balancer]:
    """One that has these endpoints to begin with."""
    with Balancer() as balancer:
        for port in ports:
            balancer.add(port)
        yield balancer
