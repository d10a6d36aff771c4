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
from collections import Counter
from typing import Any

import orjson

from benchmarks.tools.stand_in import FAILED, Lines, arrivals, labelled, length, main, metadata, reply

SEGMENTS = 20
PIXELS = 64
TELL_SECONDS = 0.5
RECEIPT = b"x-understudy-receipt: "

_METADATA = metadata(PIXELS)


def answered(row: list[float], accuracy: float, errors: float, errors_there: float, place: int) -> bytes:
    """What a model in this place (0 or 1) answers to a row."""
    truth, segment, fails, right = int(row[0]), int(row[1]), row[2], row[3 + place]
    if fails < (errors_there if segment == 0 else errors):
        return FAILED
    label = truth if right < accuracy else (truth + 1) % 10
    return reply(labelled(label))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of a router."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(_METADATA)
                continue
            accuracy, errors, errors_there, place, *_ = head.split(b" ", 2)[1].strip(b"/").split(b"/")
            body = await reader.readexactly(length(head))
            row = orjson.loads(body)["inputs"][0]["data"]
            manner = float(accuracy), float(errors), float(errors_there), int(place)
            writer.write(answered(row, *manner))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


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
        self._rate = rate
        self._lines = Lines(port)
        self._path = f"/v2/models/{model}/infer".encode()
        self._truths: list[tuple[str, int]] = []

    async def run(self) -> None:
        """Ask and tell for ever; arrivals do not wait for answers."""
        async with asyncio.TaskGroup() as asking:
            asking.create_task(self._tell())
            async for _ in arrivals(self._rate):
                asking.create_task(self._ask())

    async def _ask(self) -> None:
        truth, segment = random.randrange(10), random.randrange(SEGMENTS)
        data = [float(truth), float(segment), *(random.random() for _ in range(3)), *[0.0] * (PIXELS - 5)]
        tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, PIXELS], "data": data}
        head, _ = await self._lines.post(
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
            head, body = await self._lines.post(b"/v1/outcomes", b"\n".join(map(orjson.dumps, lines)))
            if head[9:12] != b"200":
                self._truths = truths + self._truths  # told again: each counts once
                continue
            said: dict[str, Any] = orjson.loads(body)
            self.told["accepted"] += said["accepted"]
            self.told.update(said["left_out"])

    def close(self) -> None:
        """Drop the idle connections."""
        self._lines.close()


if __name__ == "__main__":
    main(serve)
