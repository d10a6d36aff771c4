"""Open-loop load from a process of its own: `python -m understudy.bench.generator`.

Law: request n of a run is due at n / rate, whatever became of those before it. One that finds no idle
connection waits for one, and its latency counts from when it was due, so a slow server cannot hide behind
a waiting client (coordinated omission). That a timer fired late is this process's fault and is reported as
`late_seconds`, not as the server's latency.

Standard input: the plan as one line of JSON, then a line `{"rate": ..., "seconds": ...}` for each run.
Standard output: a line for each second of a run (see `steps.Window`), the last one with `"last": true`.
"""

import asyncio
import contextlib
import ssl
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import httptools
import orjson
import uvloop

from router.counting.latency import bucket
from serving.clock import clock
from serving.host.process import die_with_parent

TICK_SECONDS = 0.001
BACKLOG_SECONDS = 2.0
"""So much load may wait for a connection; more is not sent and counts as failed."""


@dataclass(slots=True)
class _Plan:
    host: str
    port: int
    tls: bool
    requests: list[bytes]
    connections: int
    timeout_seconds: float


@dataclass(slots=True)
class _Tally:
    """One window under way."""

    began: float
    cpu: float
    statuses: Counter[int] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    late_seconds: float = 0.0

    def line(self, now: float, *, last: bool) -> bytes:
        seconds = now - self.began
        shown = {
            "seconds": seconds,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "buckets": {str(index): count for index, count in self.buckets.items()},
            "late_seconds": self.late_seconds,
            "busy": (time.process_time() - self.cpu) / max(seconds, 1e-9),
            "last": last,
        }
        return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._parser = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.counts_from: float | None = None  # of the request under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, counts_from: float) -> None:
        self.counts_from = counts_from
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_message_complete(self) -> None:
        counts_from, self.counts_from = self.counts_from, None
        if counts_from is None:
            self.abort()  # an answer to nothing
            return
        keep = self._parser.should_keep_alive()
        self._generator.ended(self._parser.get_status_code(), counts_from)
        if keep:
            self._generator.free(self)
        else:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.counts_from is not None:
            self.counts_from = None
            self._generator.ended(0, None)
        self._generator.lost(self)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Generator:
    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._tls = ssl.create_default_context() if plan.tls else None
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._backlog: deque[float] = deque()
        self._sent = 0
        self._tally = _Tally(0.0, 0.0)
        self._clock = clock  # the loop's own has a resolution of a millisecond

    async def run(self, rate: float, seconds: float) -> None:
        """One run; ends when all of its requests have."""
        began = self._clock()
        self._tally = _Tally(began, time.process_time())
        due = 0
        total = max(1, round(rate * seconds))
        while (now := self._clock()) < began + seconds:
            while due < total and began + due / rate <= now:
                self._offer(began + due / rate, now, rate)
                due += 1
            if now >= self._tally.began + 1.0:
                self._show(now, last=False)
                self._end_overdue(now)
            await asyncio.sleep(max(min(began + due / rate, began + seconds) - now, TICK_SECONDS))
        end = began + seconds + self._plan.timeout_seconds
        while self._clock() < end and self._under_way():  # noqa: ASYNC110  (an event would cost each answer)
            await asyncio.sleep(TICK_SECONDS)
        self._end_overdue(float("inf"))
        self._show(self._clock(), last=True)

    def _offer(self, due: float, now: float, rate: float) -> None:
        if self._idle:
            self._tally.late_seconds = max(self._tally.late_seconds, now - due)
            self._send(self._idle.pop(), now)
            return
        if len(self._backlog) >= max(rate * BACKLOG_SECONDS, self._plan.connections):
            self.ended(0, None)
            return
        self._backlog.append(due)
        if len(self._open) + len(self._opening) < self._plan.connections:
            task = asyncio.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._plan.timeout_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self), self._plan.host, self._plan.port, ssl=self._tls
                )
        except (OSError, TimeoutError):
            if self._backlog:
                self._backlog.popleft()
                self.ended(0, None)
            return
        self._open.add(connection)
        self.free(connection)

    def _send(self, connection: _Connection, counts_from: float) -> None:
        connection.send(self._plan.requests[self._sent % len(self._plan.requests)], counts_from)
        self._sent += 1

    def free(self, connection: _Connection) -> None:
        """The connection may take the next request."""
        if self._backlog:
            self._send(connection, self._backlog.popleft())
        else:
            self._idle.append(connection)

    def ended(self, status: int, counts_from: float | None) -> None:
        """A request came to an end; without a time it was not answered."""
        self._tally.statuses[status] += 1
        if counts_from is not None:
            self._tally.buckets[bucket(self._clock() - counts_from)] += 1

    def lost(self, connection: _Connection) -> None:
        """The connection is closed."""
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def _under_way(self) -> bool:
        return bool(self._backlog) or any(line.counts_from is not None for line in self._open)

    def _end_overdue(self, now: float) -> None:
        for connection in list(self._open):
            if (
                connection.counts_from is not None
                and now - connection.counts_from > self._plan.timeout_seconds
            ):
                connection.abort()
                connection.counts_from = None
                self.ended(0, None)
        while self._backlog and now - self._backlog[0] > self._plan.timeout_seconds:
            self._backlog.popleft()
            self.ended(0, None)

    def _show(self, now: float, *, last: bool) -> None:
        sys.stdout.buffer.write(self._tally.line(now, last=last))
        sys.stdout.buffer.flush()
        self._tally = _Tally(now, time.process_time())


def _plan(line: dict[str, Any]) -> _Plan:
    requests = [request.encode("latin-1") for request in line.pop("requests")]
    return _Plan(requests=requests, **line)


async def _main() -> None:
    generator = _Generator(_plan(orjson.loads(sys.stdin.buffer.readline())))
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        await generator.run(**orjson.loads(line))


if __name__ == "__main__":
    die_with_parent()
    uvloop.run(_main())
