"""A closed-loop client on raw keep-alive sockets: quick enough for 100,000 requests in a test."""

import select
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_TARGET = b"\r\nx-understudy-target: "


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: which request it is to, its HTTP status, and who gave it (empty: nobody said)."""

    number: int
    status: int
    target: str


def request(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def connect(port: int, timeout: float = 10.0) -> socket.socket:
    """A connection whose bytes leave at once."""
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class _Line:
    """One connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = connect(port, 30.0)
        self.number = -1
        self._received = b""

    def send(self, number: int, data: bytes) -> None:
        self.number = number
        self.socket.sendall(data)

    def receive(self) -> Answer | None:
        """The answer once it is whole."""
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionError(f"closed in answer {self.number}, after {self._received[:200]!r}")
        data = self._received = self._received + piece
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = data[:head_end].lower()
        at = head.index(b"\r\ncontent-length: ") + 18
        end = head.find(b"\r\n", at)
        length = int(head[at : end if end > 0 else None])
        if len(data) < head_end + 4 + length:
            return None
        assert len(data) == head_end + 4 + length, "bytes behind the answer"
        self._received = b""
        at = head.find(_TARGET)
        target = head[at + len(_TARGET) :].partition(b"\r\n")[0] if at >= 0 else b""
        return Answer(self.number, int(data[9:12]), target.decode())


def ask_all(port: int, requests: Iterator[bytes], connections: int = 16) -> Iterator[Answer]:
    """Send every request once, as quickly as answers come; each answer in the order of arrival.

    Raises:
        ConnectionError: a connection broke.
    """
    numbered = enumerate(requests)
    poll = select.epoll()
    lines = {line.socket.fileno(): line for line in (_Line(port) for _ in range(connections))}
    busy = 0
    try:
        for fd, line in lines.items():
            poll.register(fd, select.EPOLLIN)
            if (following := next(numbered, None)) is not None:
                line.send(*following)
                busy += 1
        while busy:
            ready = poll.poll(30)
            assert ready, "no answer for 30 s"
            for fd, _ in ready:
                line = lines[fd]
                answer = line.receive()
                if answer is None:
                    continue
                busy -= 1
                if (following := next(numbered, None)) is not None:
                    line.send(*following)
                    busy += 1
                yield answer
    finally:
        poll.close()
        for line in lines.values():
            line.socket.close()


def tally(answers: Iterator[Answer]) -> Counter[tuple[int, str]]:
    """How many answers of each status and target."""
    return Counter((answer.status, answer.target) for answer in answers)
