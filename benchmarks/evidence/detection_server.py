"""Model servers that fail, dawdle or disagree at a given rate, and a client that asks at a given one.

The server speaks as much of the Open Inference Protocol as a router asks for. How it behaves is in the path
(`/<name>/<error rate>/<times as slow>/<disagreement>`), so that one server stands in for every canary;
`GET /<name>` gives what it counted under that name. An answer takes as long as is drawn for it, and reports
how long that was by the clock, as model servers report their compute time.

`python -m benchmarks.evidence.detection_server` prints its port and serves until its input ends.
"""

import asyncio
import random
import sys
import time
from collections import Counter, defaultdict

import orjson

MEDIAN_SECONDS = 0.004
SPREAD = 0.3
"""Compute times are log-normal; the middle case of benchmarks/policies/latency."""

IDLE_SECONDS = 2.0
"""A connection that idled for longer is not used again."""

METADATA = {
    "name": "digits",
    "platform": "stand-in",
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64]}],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
}
BODY = orjson.dumps(
    {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]}
)


def _reply(body: bytes, status: bytes = b"200 OK", head: bytes = b"") -> bytes:
    kind = b"content-type: application/json\r\n"
    return b"HTTP/1.1 %b\r\n%b%bcontent-length: %d\r\n\r\n%b" % (status, kind, head, len(body), body)


def _answer(label: int) -> bytes:
    output = {"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}
    return orjson.dumps({"model_name": "digits", "outputs": [output]})


_ANSWERS = _answer(7), _answer(8)
_FAILED = _reply(b'{"error":"broken"}', b"500 Internal Server Error")
_METADATA = _reply(orjson.dumps(METADATA))


counted: defaultdict[bytes, list[float]] = defaultdict(lambda: [0, 0, 0, time.monotonic(), 0.0])
"""By name: requests, failures, answers unlike stable's, monotonic seconds of the first and the last."""


async def _answered(seen: list[float], errors: float, slower: float, disagreement: float) -> bytes:
    failed, otherwise = random.random() < errors, random.random() < disagreement
    seen[0] += 1
    seen[1] += failed
    seen[2] += otherwise and not failed
    seen[4] = time.monotonic()
    if failed:
        return _FAILED
    began = time.perf_counter()
    await asyncio.sleep(MEDIAN_SECONDS * slower * random.lognormvariate(0, SPREAD))
    seconds = time.perf_counter() - began
    return _reply(_ANSWERS[otherwise], head=b"x-understudy-compute-ns: %d\r\n" % round(seconds * 1e9))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a router."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            name, *manner = head.split(b" ", 2)[1].strip(b"/").split(b"/", 4)
            if head.startswith(b"GET"):
                writer.write(_METADATA if manner else _reply(orjson.dumps(counted[name])))
                continue
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            writer.write(await _answered(counted[name], *map(float, manner[:3])))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


class Asker:
    """Requests to one public name in a Poisson stream, until cancelled.

    Args:
        port: of the public door.
        model: the public name.
        rate: requests a second.
    """

    def __init__(self, port: int, model: str, rate: float) -> None:
        self.statuses: Counter[int] = Counter()
        self._port, self._rate = port, rate
        head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(BODY)}\r\n\r\n"
        self._request = head.encode() + BODY
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []

    async def run(self) -> None:
        """Ask for ever; arrivals do not wait for answers."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as asking:
            while True:
                due += random.expovariate(self._rate)
                await asyncio.sleep(max(0.0, due - loop.time()))
                asking.create_task(self._one())

    async def _one(self) -> None:
        reader, writer = await self._line()
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        self.statuses[int(head[9:12])] += 1
        self._idle.append((reader, writer, time.monotonic()))

    async def _line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection that was used last, unless the server may be about to close it."""
        if self._idle and time.monotonic() - self._idle[-1][2] < IDLE_SECONDS:
            return self._idle.pop()[:2]
        self.close()
        return await asyncio.open_connection("127.0.0.1", self._port)

    def close(self) -> None:
        """Drop the idle connections."""
        for _, writer, _ in self._idle:
            writer.close()
        self._idle.clear()


async def main() -> None:
    """Serve until the input ends."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
