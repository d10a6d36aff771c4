"""A small TCP proxy that makes a network bad in a chosen way; plain asyncio, in a thread of its own."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Weather:
    """How the way back, from the target to its client, is.

    Attributes:
        latency_seconds: each piece comes later by this.
        bytes_per_second: at most so much gets through; 0 is no bound.
        slice_bytes: pieces are cut to this size, each sent for itself; 0 leaves them.
        reset_after: a connection is reset once it gave so many bytes; None never.
        close_after: the same, by an orderly end.
        stall_after: a connection goes silent after so many bytes, and stays open; None never.
        refuse: new connections are closed as soon as they are accepted.
    """

    latency_seconds: float = 0.0
    bytes_per_second: float = 0.0
    slice_bytes: int = 0
    reset_after: int | None = None
    close_after: int | None = None
    stall_after: int | None = None
    refuse: bool = False


FAIR = Weather()


class Wire:
    """Forwards a port of its own to another one, in its present `weather`.

    Args:
        port: where it leads.
        target: the address there.
        here: where its own is.

    Attributes:
        weather: may be set at any time; it holds for bytes that come from then on, on all connections.
        accepted: connections so far.
        open: connections just now.
    """

    def __init__(self, port: int, target: str = "127.0.0.1", here: str = "127.0.0.1") -> None:
        self.weather = FAIR
        self.accepted = self.open = 0
        self._target, self._here = (target, port), here
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def set(self, **weather: float) -> None:
        """Fair weather but for this."""
        self.weather = replace(FAIR, **weather)  # type: ignore[arg-type]

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self._loop.call_soon_threadsafe(lambda: [_reset(writer) for writer in list(self._writers)])

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._serve, self._here, 0)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://{self._here}:{self.port}"
        self._ready.set()
        await self._end.wait()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def end(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.weather.refuse:
            writer.close()
            return
        self.open += 1
        self._writers.add(writer)
        back = None
        try:
            back_reader, back = await asyncio.open_connection(*self._target)
            ways = {
                asyncio.create_task(self._forth(reader, back)),
                asyncio.create_task(self._back(back_reader, writer)),
            }
            _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in pending:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()
            if back is not None:
                back.close()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PIECE_BYTES):
            writer.write(data)
            await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        given = 0
        while data := await reader.read(PIECE_BYTES):
            await asyncio.sleep(self.weather.latency_seconds)
            size = self.weather.slice_bytes or len(data)
            for at in range(0, len(data), size):
                weather = self.weather
                piece = data[at : at + size]
                bounds = (weather.reset_after, weather.close_after, weather.stall_after)
                left = min((bound for bound in bounds if bound is not None), default=given + size) - given
                writer.write(piece[: max(0, left)])
                await writer.drain()
                given += len(piece)
                if left < len(piece):
                    await self._ended(weather, writer)
                    return
                if weather.bytes_per_second:
                    await asyncio.sleep(len(piece) / weather.bytes_per_second)

    async def _ended(self, weather: Weather, writer: asyncio.StreamWriter) -> None:
        if weather.stall_after is not None:
            await self._end.wait()
        elif weather.reset_after is not None:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    linger = struct.pack("ii", 1, 0)
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@contextlib.contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """A wire in fair weather, ended afterwards."""
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.end()
