"""Held-out digits at a constant rate, as a process of its own, so that drawing does not delay its clocks.

python demo/traffic.py URL RATE

Writes a line of JSON a few times a second: a list of [sent, target, seconds, label, answer], where `sent` is
on the monotonic clock that all processes share, and a failure has an empty target. Ends when its input is
closed.
"""

import asyncio
import itertools
import random
import sys
import threading
import time
from pathlib import Path

import aiohttp
import numpy as np
import orjson

ROWS = Path(__file__).resolve().parents[1] / "models" / "digits" / "heldout.npz"
FLUSH_SECONDS = 0.2
PEOPLE = 100_000


class Sender:
    """Sends each row in turn, every time for another person."""

    def __init__(self, url: str, rate: float, session: aiohttp.ClientSession) -> None:
        with np.load(ROWS) as rows:
            self._rows = [
                (_body(row), label)
                for row, label in zip(rows["inputs"].tolist(), rows["labels"].tolist(), strict=True)
            ]
        self._url, self._rate, self._session = url, rate, session
        self._seen: list[tuple[float, str, float, int, int]] = []

    async def run(self, stopped: asyncio.Event) -> None:
        """Until stopped, whatever the answers do; then wait for those under way."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number, (body, label) in enumerate(itertools.cycle(self._rows)):
                if stopped.is_set():
                    return
                await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))
                tasks.create_task(self._one(body, label))

    async def _one(self, body: bytes, label: int) -> None:
        headers = {"content-type": "application/json", "x-user-id": str(random.randrange(PEOPLE))}
        sent = time.monotonic()
        try:
            async with self._session.post(self._url, data=body, headers=headers) as answer:
                content, status = await answer.read(), answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        seconds = time.monotonic() - sent
        if status != 200:
            self._seen.append((sent, "", seconds, label, -1))
            return
        outputs = {output["name"]: output["data"] for output in orjson.loads(content)["outputs"]}
        target = answer.headers["x-understudy-target"]
        self._seen.append((sent, target, seconds, label, outputs["label"][0]))

    async def flush(self) -> None:
        """Write what was seen, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            seen, self._seen = self._seen, []
            sys.stdout.buffer.write(orjson.dumps(seen) + b"\n")
            sys.stdout.buffer.flush()


def _body(row: list[float]) -> bytes:
    return orjson.dumps(
        {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, len(row)], "data": row}]}
    )


async def main(url: str, rate: float) -> None:
    """Send until the input is closed."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        sender = Sender(url, rate, session)
        flushing = asyncio.create_task(sender.flush())
        await sender.run(stopped)
        flushing.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
