"""Frames between processes of a machine, and mirroring by them.

A `FrameChannel` sends from the worker, a `FrameServer` receives in the other process. Of mirroring these
are a `ShadowChannel` and a `ShadowServer`, of the prediction log they are in `router.record`.

Law: the live process pays one write, made after its answer left. It never waits for the other one: what does
not fit into a bounded buffer, or finds nobody, is dropped and counted. What a mirror offers while nobody is
there is held until the next try to connect, so nothing is dropped of a sandbox that says that it is ready. A
frame carries the request as it came and the answer that was given, so everything else happens in the other
process. That reads no further while it has `MAX_WAITING` frames. A sandbox tells the worker now and then how
many it has dealt with, so that frames lost with a sandbox are counted as dropped too.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Final, Literal, cast

import structlog

from router.answered import Answered
from router.mirror.frame import Frame, packed, unpacked
from serving.errors import InvalidInput
from serving.telemetry.cells import Counter

log = structlog.get_logger()

MAX_BUFFERED_BYTES = 4 << 20
MAX_WAITING = 256
ACKNOWLEDGE_SECONDS = 0.1
RETRY_SECONDS = 0.1
"""Between two tries to connect."""

_ACK: Final = struct.Struct("<Q")

Refusal = Literal["", "full", "away"]
"""Why a frame cannot be sent now; empty where it can."""


class FrameChannel(asyncio.Protocol):
    """The worker's end: one connection to one process, reopened when it breaks.

    Args:
        path: the socket of the other process.
        name: of the task that connects.
    """

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name
        self._transport: asyncio.WriteTransport | None = None
        self._closed = False
        self._connecting = asyncio.create_task(self._connect(), name=name)

    def refusal(self) -> Refusal:
        """Whether a frame can be sent now."""
        transport = self._transport
        if transport is None:
            return "away"
        return "full" if transport.get_write_buffer_size() > MAX_BUFFERED_BYTES else ""

    def write(self, frame: bytes) -> None:
        """Send a frame, which `refusal` did not refuse."""
        assert self._transport is not None
        self._transport.write(frame)

    def close(self) -> None:
        """Send nothing more; what is in the buffer is lost."""
        self._closed = True
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.create_unix_connection(lambda: self, self._path)
            except OSError:
                self.found_nobody()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def found_nobody(self) -> None:
        """A try to connect was in vain."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to send."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (why does not matter)
        """Connect again."""
        self._transport = None
        if not self._closed:
            self._connecting = asyncio.create_task(self._connect(), name=self._name)


class ShadowChannel(FrameChannel):
    """The worker's end of mirroring to one sandbox.

    Args:
        path: the sandbox's shadow socket.
        model: the public name, sent with every frame.
        dropped: counts what was not mirrored.
        timed: whether what goes this way is to be timed instead of compared.
    """

    def __init__(self, path: str, model: str, dropped: Counter, *, timed: bool = False) -> None:
        super().__init__(path, f"shadow {model}")
        self._timed = timed
        self._model = model.encode()
        self._dropped = dropped
        self._sent = 0
        self._done = 0
        self._partial = b""
        self._held: list[bytes] = []
        self._held_bytes = 0

    def offer(self, answered: Answered) -> None:
        """As `Sink`: send what was asked and answered, or hold it while a try to connect is under way."""
        refusal = self.refusal()
        no_room = refusal == "full" or self._held_bytes > MAX_BUFFERED_BYTES
        frame = None if no_room or self._closed else packed(self._model, answered, timed=self._timed)
        if frame is None:
            self._dropped.add()
        elif refusal:
            self._held.append(frame)
            self._held_bytes += len(frame)
        else:
            self.send(frame)

    def _take_held(self) -> list[bytes]:
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def found_nobody(self) -> None:
        """Drop what was held for this try."""
        self._dropped.add(len(self._take_held()))

    def send(self, frame: bytes) -> None:
        """Send a frame, which `refusal` did not refuse, and count it as dropped if it is lost."""
        self._sent += 1
        self.write(frame)

    @property
    def under_way(self) -> int:
        """Frames that the sandbox has not dealt with, as far as it has said."""
        return self._sent - self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to mirror."""
        super().connection_made(transport)
        self._sent = self._done = 0
        self._partial = b""
        for frame in self._take_held():
            self.send(frame)

    def data_received(self, data: bytes) -> None:
        """The sandbox says how many frames it has dealt with."""
        self._partial += data
        whole = len(self._partial) // _ACK.size * _ACK.size
        if whole:
            self._done = _ACK.unpack_from(self._partial, whole - _ACK.size)[0]
            self._partial = self._partial[whole:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what was lost and connect again."""
        self._dropped.add(self._sent - self._done)
        self._sent = self._done = 0
        super().connection_lost(exc)

    def close(self) -> None:
        """As `FrameChannel`; what is held is dropped."""
        super().close()
        self.found_nobody()


class Waiting(deque[tuple["FrameServer", Frame]]):
    """Frames of all connections of a process, in the order in which they came, at most `MAX_WAITING`.

    Law: a connection that found it full is read on in its turn, also where none of its own frames is in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept_out: deque[FrameServer] = deque()

    def let_in(self) -> None:
        """There may be room again."""
        while self.kept_out and len(self) < MAX_WAITING:
            self.kept_out.popleft().read_on()


class FrameServer(asyncio.Protocol):
    """The other process's end of one connection: frames in, in order, as many as `waiting` takes.

    Args:
        waiting: filled here, emptied by whoever deals with them, who then calls `finished`.
        wake: set whenever a frame was added.
    """

    def __init__(self, waiting: Waiting, wake: asyncio.Event) -> None:
        self._waiting = waiting
        self._wake = wake
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport, to pause it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect bytes; take out whole frames."""
        self._buffer += data
        self.read_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (why does not matter)
        """Frames already taken are still dealt with."""
        self._transport = None

    def read_on(self) -> None:
        """Take frames while there is room, and pause the connection while there is none."""
        view = memoryview(self._buffer)
        start = 0
        while len(self._waiting) < MAX_WAITING:
            try:
                found = unpacked(view, start)
            except InvalidInput as error:
                _warn(str(error))
                self._refuse()
                break
            if found is None:
                break
            frame, start = found
            self.take(frame)
        view.release()
        if start:
            del self._buffer[:start]
            self._wake.set()
        full = len(self._waiting) >= MAX_WAITING
        if full:  # it hears nothing until it is let in, so it is there once
            self._waiting.kept_out.append(self)
        if full != self._paused:
            self._paused = full
            if self._transport is not None:
                (self._transport.pause_reading if full else self._transport.resume_reading)()

    def take(self, frame: Frame) -> None:
        """A frame came."""
        self._waiting.append((self, frame))

    def _refuse(self) -> None:
        """Hear no more of this connection; what its worker has sent counts as dropped there."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def finished(self) -> None:
        """One frame of this connection was dealt with."""
        self._waiting.let_in()


class ShadowServer(FrameServer):
    """The sandbox's end of one connection.

    Args:
        waiting: as of `FrameServer`, emptied by whoever compares.
        wake: likewise.
        take_timed: given each frame that is to be timed, at once.
    """

    def __init__(
        self,
        waiting: Waiting,
        wake: asyncio.Event,
        take_timed: Callable[[Frame], None],
    ) -> None:
        super().__init__(waiting, wake)
        self._take_timed = take_timed
        self._done = 0
        self._acknowledging: asyncio.TimerHandle | None = None

    def take(self, frame: Frame) -> None:
        """Compare it later, or have it timed now."""
        if frame.timed:
            self._take_timed(frame)
            self._deal_with_one()
        else:
            super().take(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Frames already taken are still compared."""
        super().connection_lost(exc)
        if self._acknowledging is not None:
            self._acknowledging.cancel()

    def finished(self) -> None:
        """One frame of this connection was dealt with; say so soon."""
        self._deal_with_one()
        super().finished()

    def _deal_with_one(self) -> None:
        self._done += 1
        if self._acknowledging is None and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._acknowledging = loop.call_later(ACKNOWLEDGE_SECONDS, self._acknowledge)

    def _acknowledge(self) -> None:
        self._acknowledging = None
        if self._transport is not None:
            self._transport.write(_ACK.pack(self._done))


@cache
def _warn(reason: str) -> None:
    """Say it once: a worker of another release begins anew with every request."""
    log.warning("frames cannot be read; start the node again after an upgrade", reason=reason)
