"""Held-out digits at a constant rate, as a process of its own, so that drawing does not delay its clocks.

python demo/traffic.py URL RATE

Writes a line of JSON a few times a second: a list of [sent, target, seconds, label, answer], where `sent` is
on the monotonic clock that all processes share, and a failure has an empty target. Ends when its input is
closed. The standard library's client, so that what it says of the server owes nothing to the server's code.
"""

import http.client
import itertools
import random
import sys
import threading
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import orjson

ROWS = Path(__file__).resolve().parents[1] / "models" / "digits" / "heldout.npz"
FLUSH_SECONDS = 0.2
TIMEOUT_SECONDS = 5.0
CLIENTS = 32
"""Each with a connection of its own; a late answer delays only what its own client sends next."""
PEOPLE = 100_000


class Sender:
    """Sends each row in turn, every time for another person."""

    def __init__(self, url: str, rate: float) -> None:
        with np.load(ROWS) as rows:
            self._rows = [
                (_body(row), label)
                for row, label in zip(rows["inputs"].tolist(), rows["labels"].tolist(), strict=True)
            ]
        self._where = urlsplit(url)
        self._rate = rate
        self._seen: deque[tuple[float, str, float, int, int]] = deque()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Until the input is closed, whatever the answers do; then wait for those under way."""
        began = time.monotonic()
        clients = [threading.Thread(target=self._client, args=(first, began)) for first in range(CLIENTS)]
        clients.append(threading.Thread(target=self._flush))
        for client in clients:
            client.start()
        sys.stdin.read()
        self._stopped.set()
        for client in clients:
            client.join()

    def _client(self, first: int, began: float) -> None:
        """Every CLIENTS-th request from the first on, each at its time."""
        assert self._where.hostname is not None
        line = http.client.HTTPConnection(self._where.hostname, self._where.port, timeout=TIMEOUT_SECONDS)
        for number in itertools.count(first, CLIENTS):
            if self._stopped.wait(max(0.0, began + number / self._rate - time.monotonic())):
                break
            body, label = self._rows[number % len(self._rows)]
            self._seen.append(self._one(line, body, label))
        line.close()

    def _one(
        self, line: http.client.HTTPConnection, body: bytes, label: int
    ) -> tuple[float, str, float, int, int]:
        headers = {"content-type": "application/json", "x-user-id": str(random.randrange(PEOPLE))}
        sent = time.monotonic()
        try:
            line.request("POST", self._where.path, body, headers)
            answer = line.getresponse()
            content, status = answer.read(), answer.status
        except (OSError, http.client.HTTPException):
            line.close()  # the next request opens it again
            status = 0
        seconds = time.monotonic() - sent
        if status != 200:
            return sent, "", seconds, label, -1
        outputs = {output["name"]: output["data"] for output in orjson.loads(content)["outputs"]}
        return sent, answer.headers["x-understudy-target"], seconds, label, outputs["label"][0]

    def _flush(self) -> None:
        """Write what was seen, until stopped."""
        while not self._stopped.wait(FLUSH_SECONDS):
            seen = [self._seen.popleft() for _ in range(len(self._seen))]
            sys.stdout.buffer.write(orjson.dumps(seen) + b"\n")
            sys.stdout.buffer.flush()


def _body(row: list[float]) -> bytes:
    return orjson.dumps(
        {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, len(row)], "data": row}]}
    )


if __name__ == "__main__":
    Sender(sys.argv[1], float(sys.argv[2])).run()
