"""Model servers that fail, dawdle or disagree at a given rate, and a client that asks at a given one.

The server speaks as much of the Open Inference Protocol as a router asks for. How it behaves is in the path
(`/<name>/<error rate>/<times as slow>/<disagreement>`), so that one server stands in for every canary;
`GET /<name>` gives what it counted under that name. An answer takes as long as is drawn for it, and reports
how long that was by the clock, as model servers report their compute time.

`python -m benchmarks.evidence.detection_server` prints its port and serves until its input ends.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict

import orjson

from benchmarks.tools.stand_in import FAILED, Lines, arrivals, labelled, length, main, metadata, reply

MEDIAN_SECONDS = 0.004
SPREAD = 0.3
"""Compute times are log-normal; the middle case of benchmarks/policies/latency."""

BODY = orjson.dumps(
    {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]}
)


_METADATA = metadata(64)
_ANSWERS = labelled(7), labelled(8)


counted: defaultdict[bytes, list[float]] = defaultdict(lambda: [0, 0, 0, time.monotonic(), 0.0])
"""By name: requests, failures, answers unlike stable's, monotonic seconds of the first and the last."""


async def _answered(seen: list[float], errors: float, slower: float, disagreement: float) -> bytes:
    failed, otherwise = random.random() < errors, random.random() < disagreement
    seen[0] += 1
    seen[1] += failed
    seen[2] += otherwise and not failed
    seen[4] = time.monotonic()
    if failed:
        return FAILED
    began = time.perf_counter()
    await asyncio.sleep(MEDIAN_SECONDS * slower * random.lognormvariate(0, SPREAD))
    seconds = time.perf_counter() - began
    return reply(_ANSWERS[otherwise], head=b"x-understudy-compute-ns: %d\r\n" % round(seconds * 1e9))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a router."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            name, *manner = head.split(b" ", 2)[1].strip(b"/").split(b"/", 4)
            if head.startswith(b"GET"):
                writer.write(_METADATA if manner else reply(orjson.dumps(counted[name])))
                continue
            await reader.readexactly(length(head))
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
        self._rate = rate
        self._path = f"/v2/models/{model}/infer".encode()
        self._lines = Lines(port)

    async def run(self) -> None:
        """Ask for ever; arrivals do not wait for answers."""
        async with asyncio.TaskGroup() as asking:
            async for _ in arrivals(self._rate):
                asking.create_task(self._one())

    async def _one(self) -> None:
        head, _ = await self._lines.post(self._path, BODY)
        self.statuses[int(head[9:12])] += 1

    def close(self) -> None:
        """Drop the idle connections."""
        self._lines.close()


if __name__ == "__main__":
    main(serve)
