"""A model server that is right, and fails, at given rates, and clients that ask and tell the truth later.

The server speaks as much of the Open Inference Protocol as a router asks for. How it behaves is in the path
(`/<accuracy>/<error rate>/<error rate in segment 0>/<place>`), so that one server stands in for all models.
A request carries the truth, its segment, a chance to fail and one to be right for each of two places, so that
what a model answers depends on the request alone: its mirrored and live answers are the same, and models that
fail as often fail the same requests, and are wrong about others.

`python -m benchmarks.outcomes.live_server` prints its port and serves until its input ends.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from typing import Any

import orjson

SEGMENTS = 20
PIXELS = 64
TELL_SECONDS = 0.5
IDLE_SECONDS = 2.0
"""A connection that idled for longer is not used again."""
RECEIPT = b"x-understudy-receipt: "

METADATA = {
    "name": "digits",
    "platform": "stand-in",
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, PIXELS]}],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
}


def _reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    kind = b"content-type: application/json\r\n"
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, kind, len(body), body)


_METADATA = _reply(orjson.dumps(METADATA))
_FAILED = _reply(b'{"error":"broken"}', b"500 Internal Server Error")


def answered(row: list[float], accuracy: float, errors: float, errors_there: float, place: int) -> bytes:
    """What a model in this place (0 or 1) answers to a row."""
    truth, segment, fails, right = int(row[0]), int(row[1]), row[2], row[3 + place]
    if fails < (errors_there if segment == 0 else errors):
        return _FAILED
    label = truth if right < accuracy else (truth + 1) % 10
    output = {"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}
    return _reply(orjson.dumps({"model_name": "digits", "outputs": [output]}))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a router."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(_METADATA)
                continue
            accuracy, errors, errors_there, place, *_ = head.split(b" ", 2)[1].strip(b"/").split(b"/")
            body = await reader.readexactly(_length(head))
            row = orjson.loads(body)["inputs"][0]["data"]
            manner = float(accuracy), float(errors), float(errors_there), int(place)
            writer.write(answered(row, *manner))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].split()[0])


class Clients:
    """Requests to one public name in a Poisson stream, and the truth about each good answer soon after.

    Args:
        port: of the public door, which is told outcomes too.
        model: the public name.
        rate: requests a second.
    """

    def __init__(self, port: int, model: str, rate: float) -> None:
        self.statuses: Counter[int] = Counter()
        self.told: Counter[str] = Counter()
        """Outcomes by what became of them: accepted, or why they were left out."""
        self._port, self._rate = port, rate
        self._path = f"/v2/models/{model}/infer".encode()
        self._truths: list[tuple[str, int]] = []
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []

    async def run(self) -> None:
        """Ask and tell for ever; arrivals do not wait for answers."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as asking:
            asking.create_task(self._tell())
            while True:
                due += random.expovariate(self._rate)
                await asyncio.sleep(max(0.0, due - loop.time()))
                asking.create_task(self._ask())

    async def _ask(self) -> None:
        truth, segment = random.randrange(10), random.randrange(SEGMENTS)
        data = [float(truth), float(segment), *(random.random() for _ in range(3)), *[0.0] * (PIXELS - 5)]
        tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, PIXELS], "data": data}
        head, _ = await self._post(
            self._path, orjson.dumps({"inputs": [tensor]}), b"x-segment: %d\r\n" % segment
        )
        status = int(head[9:12])
        self.statuses[status] += 1
        receipt = head.partition(RECEIPT)[2].partition(b"\r\n")[0]
        if status == 200 and receipt:
            self._truths.append((receipt.decode(), truth))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            truths, self._truths = self._truths, []
            if not truths:
                continue
            lines = ({"receipt": receipt, "name": "label", "value": truth} for receipt, truth in truths)
            head, body = await self._post(b"/v1/outcomes", b"\n".join(map(orjson.dumps, lines)))
            if head[9:12] != b"200":
                self._truths = truths + self._truths  # told again: each counts once
                continue
            said: dict[str, Any] = orjson.loads(body)
            self.told["accepted"] += said["accepted"]
            self.told.update(said["left_out"])

    async def _post(self, path: bytes, body: bytes, more: bytes = b"") -> tuple[bytes, bytes]:
        """Head, in lower case but for what it says, and body of the answer."""
        if self._idle and time.monotonic() - self._idle[-1][2] < IDLE_SECONDS:
            reader, writer, _ = self._idle.pop()
        else:
            self.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: bench\r\n%bcontent-length: %d\r\n\r\n%b"
            % (path, more, len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(_length(head))
        self._idle.append((reader, writer, time.monotonic()))
        return head, answer

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
