"""A sender that keeps its rate whatever the answers do, and times each request from when it was due.

`python -m benchmarks.tools.open_loop PORT PATH RATE SECONDS [HEADER...] < body` prints one JSON object: how
many requests were measured, how many answered (those that warm up, too), how many of these not with 200, and
latencies in microseconds. It has its core for itself and never sleeps, so neither a timer's grain nor waking
up is in its figures.
"""

import gc
import json
import select
import socket
import sys
import time
from collections import deque

MAX_CONNECTIONS = 512
WARM_UP_SECONDS = 0.5
STALLED_SECONDS = 10.0


class Sender:
    """Requests over as many connections as are needed so that none has to wait for another one's answer."""

    def __init__(self, port: int, request: bytes) -> None:
        self.latencies: list[float] = []
        self.answered = self.failed = 0
        self._finished: list[tuple[float, float]] = []  # due and answered
        self._port, self._request = port, request
        self._epoll = select.epoll()
        self._idle: deque[socket.socket] = deque()
        self._busy: dict[int, tuple[socket.socket, float, bytes]] = {}
        self._held: deque[float] = deque()  # due, but every connection was busy

    def run(self, rate: float, seconds: float) -> None:
        """Send for so long, and wait for the last answers."""
        began = time.perf_counter()
        gap, due, end = 1.0 / rate, began, began + WARM_UP_SECONDS + seconds
        while True:
            now = time.perf_counter()
            if due <= now and due < end:
                self._send(due)
                due += gap
            elif due >= end and not self._busy:
                break
            if now > end + STALLED_SECONDS:
                sys.exit("answers are missing")
            for descriptor, _ in self._epoll.poll(0):
                self._receive(descriptor)
        measured = [
            (finished - due) * 1e6 for due, finished in self._finished if due >= began + WARM_UP_SECONDS
        ]
        self.latencies = sorted(measured)
        self.answered = len(self._finished)

    def _send(self, due: float) -> None:
        if not self._idle and len(self._busy) >= MAX_CONNECTIONS:
            self._held.append(due)
            return
        line = self._idle.pop() if self._idle else self._connect()
        line.sendall(self._request)
        self._busy[line.fileno()] = line, due, b""

    def _connect(self) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self._port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._epoll.register(line, select.EPOLLIN)
        return line

    def _receive(self, descriptor: int) -> None:
        line, due, answer = self._busy[descriptor]
        answer += line.recv(65536)
        head, found, body = answer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r")[0]
        if not found or len(body) < int(length):
            self._busy[descriptor] = line, due, answer
            return
        self._finished.append((due, time.perf_counter()))
        self.failed += not head.startswith(b"HTTP/1.1 200")
        del self._busy[descriptor]
        self._idle.append(line)
        if self._held:
            self._send(self._held.popleft())


def percentile(ordered: list[float], percent: float) -> float:
    """Of values in ascending order."""
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def main() -> None:
    """Send and print."""
    port, path, rate, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    body = sys.stdin.buffer.read()
    headers = ["host: 127.0.0.1", *(sys.argv[5:] or ["content-type: application/json"])]
    head = "\r\n".join([f"POST {path} HTTP/1.1", *headers, ""])
    sender = Sender(port, head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    gc.disable()
    sender.run(rate, seconds)
    found = {
        "requests": len(sender.latencies),
        "answered": sender.answered,
        "failed": sender.failed,
        **{f"p{name}_us": percentile(sender.latencies, float(name)) for name in ("50", "99", "99.9")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
