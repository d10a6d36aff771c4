"""Closed-loop clients of many public names in one process: `python -m benchmarks.evidence.aa_load PORT FILE`.

Each connection is kept alive and has one request under way; after the answer it waits for the name's pause
and sends the next one, another row of FILE. Standard input, a line of JSON each: `{"start": NAME,
"connections": N, "pause": SECONDS}` and `{"stop": NAME}`. Each stop is answered by a line: what clients of
that name saw, by status and, of good answers, by target.
"""

import asyncio
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvloop

from router.counting.latency import bucket, edge
from serving.clock import clock
from serving.host.process import die_with_parent

_TARGET = b"x-understudy-target: "


class Name:
    """The clients of one public name."""

    def __init__(self, port: int, name: str, rows: list[bytes], pause_seconds: float) -> None:
        head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: aa\r\ncontent-type: application/json\r\n"
        self.requests = [head.encode() + b"content-length: %d\r\n\r\n" % len(row) + row for row in rows]
        self.pause_seconds = pause_seconds
        self.sent = 0
        self.running = True
        self.statuses: Counter[int] = Counter()
        self.buckets: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._port = port
        self.lines: set[Client] = set()

    async def connect(self) -> None:
        """One more connection, while this name is asked."""
        while self.running:
            with suppress(OSError):
                await asyncio.get_running_loop().create_connection(
                    lambda: Client(self), "127.0.0.1", self._port
                )
                return
            await asyncio.sleep(0.1)

    def next(self) -> bytes:
        """The next request."""
        self.sent += 1
        return self.requests[self.sent % len(self.requests)]

    def stop(self) -> dict[str, Any]:
        """Hang up, and say what was seen."""
        self.running = False
        for line in list(self.lines):
            line.hang_up()
        by_target = {
            target: {
                "answers": seen.total(),
                "p50_us": round(1e6 * quantile(seen, 0.5), 1),
                "p99_us": round(1e6 * quantile(seen, 0.99), 1),
            }
            for target, seen in sorted(self.buckets.items())
        }
        return {"statuses": {str(key): value for key, value in self.statuses.items()}, "clients": by_target}


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, name: Name) -> None:
        self._name = name
        self._data = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`."""
        self._transport = transport  # type: ignore[assignment]
        self._name.lines.add(self)
        self._send()

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol`."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r", 1)[0]):
            return
        self._data = b""
        status = int(head[9:12])
        self._name.statuses[status] += 1
        if status == 200:
            target = head.partition(_TARGET)[2].partition(b"\r")[0].decode()
            self._name.buckets[target][bucket(clock() - self._sent_at)] += 1
        if self._name.pause_seconds:
            asyncio.get_running_loop().call_later(self._name.pause_seconds, self._send)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """As `asyncio.Protocol`; the server may hang up, and is asked by another connection then."""
        self._name.lines.discard(self)
        if self._name.running:
            self._name.statuses[0] += 1
            _connecting.add(task := asyncio.ensure_future(self._name.connect()))
            task.add_done_callback(_connecting.discard)

    def hang_up(self) -> None:
        """At the end."""
        if self._transport is not None:
            self._transport.close()

    def _send(self) -> None:
        if self._name.running and self._transport is not None and not self._transport.is_closing():
            self._sent_at = clock()
            self._transport.write(self._name.next())


_connecting: set[asyncio.Task[None]] = set()


def quantile(buckets: Counter[int], share: float) -> float:
    """In seconds, the upper edge of its bucket."""
    left = share * buckets.total()
    for index, number in sorted(buckets.items()):
        left -= number
        if left <= 0:
            return edge(index + 1)
    return 0.0


def rows(file: Path) -> list[bytes]:
    """Bodies of requests, one of each row."""
    with np.load(file) as held_out:
        inputs = held_out["inputs"]
    described = {"name": "pixels", "datatype": "FP32", "shape": [1, inputs.shape[1]]}
    return [orjson.dumps({"inputs": [{**described, "data": row.tolist()}]}) for row in inputs]


async def _main(port: int, bodies: list[bytes]) -> None:
    names: dict[str, Name] = {}
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        told = orjson.loads(line)
        if "start" in told:
            name = names[told["start"]] = Name(port, told["start"], bodies, told["pause"])
            await asyncio.gather(*(name.connect() for _ in range(told["connections"])))
        else:
            answer = {"name": told["stop"], **names.pop(told["stop"]).stop()}
            sys.stdout.buffer.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    die_with_parent()
    uvloop.run(_main(int(sys.argv[1]), rows(Path(sys.argv[2]))))
