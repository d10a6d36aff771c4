"""HTTP/2 by hand (RFC 9113): frames as no library would send them, and what comes back.

Headers are written without Huffman codes and without the dynamic table (RFC 7541, 6.2.2), and never read:
which frame ends a stream or a connection tells enough.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.raw import connect

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame's bytes; its length as it is, unless it is to lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(*pairs: tuple[bytes, bytes]) -> bytes:
    """A block of header lines."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def call(path: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """The header block of a call of gRPC."""
    return headers(
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"test"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"), *more,
    )  # fmt: skip


def message(data: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A message of gRPC behind its five bytes; its length as it is, unless it is to lie."""
    return struct.pack(">BI", flag, len(data) if length is None else length) + data


def _text(text: bytes) -> bytes:
    return _integer(len(text)) + text


def _integer(number: int) -> bytes:
    """With a prefix of seven bits (RFC 7541, 5.1)."""
    if number < 127:
        return bytes([number])
    parts, number = bytearray([127]), number - 127
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


class Connection:
    """A connection that has said hello."""

    def __init__(self, port: int, *, greeted: bool = True) -> None:
        self.socket = connect(port, 30.0)
        self._received = b""
        if greeted:
            self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data: bytes) -> bool:
        """Whether all of it could be sent."""
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            self.socket.sendall(data)
            return True
        return False

    def frames(self) -> Iterator[Frame]:
        """Until the other side closes."""
        with contextlib.suppress(ConnectionError):
            while True:
                while len(self._received) < 9 or len(self._received) < 9 + self._length():
                    piece = self.socket.recv(1 << 16)
                    if not piece:
                        return
                    self._received += piece
                end = 9 + self._length()
                kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
                yield Frame(kind, flags, stream & 0x7FFFFFFF, self._received[9:end])
                self._received = self._received[end:]

    def _length(self) -> int:
        return int.from_bytes(self._received[:3], "big")

    def until(self, found: Callable[[Frame], bool]) -> Frame | None:
        """The first frame of which that is true; None when the other side closes before."""
        return next((each for each in self.frames() if found(each)), None)

    def close(self) -> None:
        """Without a word."""
        self.socket.close()
