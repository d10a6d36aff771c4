"""Messages between whoever serves a graph and the process that runs its steps in Python.

A message is the length of a header, the header in JSON, and the bytes of its parts one after the other, of
which the header tells the sizes. Tensors go as the protocol's binary ones do (`serving.wire.tensors`).

Law: the one that serves believes nothing that it is told. A header has an end, parts are taken only after
their sizes were found to be those of what was declared, and each wait ends at a deadline.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from serving.wire.tensors import Array, datatype_of, to_bytes

MOST_HEADER_BYTES = 1 << 20
MOST_ANSWER_BYTES = 64 << 20
"""Of all tensors of one answer: as much as the largest request body, unless settings say otherwise."""

_LENGTH_BYTES = 4


class Garbled(Exception):
    """What came is no message."""


class Ended(Exception):
    """The other side is gone."""


def send(
    connection: socket.socket,
    header: Mapping[str, Any],
    parts: Sequence[Any] = (),
    until: float | None = None,
) -> None:
    """Send one message.

    Args:
        connection: to the other side.
        header: what orjson writes.
        parts: bytes, of which the header tells the sizes.
        until: when to give up, on `time.monotonic()`; None waits.

    Raises:
        Ended: nobody is there to take it.
        TimeoutError: it was not taken in time.
    """
    text = orjson.dumps(header)
    try:
        for part in (len(text).to_bytes(_LENGTH_BYTES, "little") + text, *parts):
            connection.settimeout(_left(until))
            connection.sendall(part)
    except TimeoutError:
        raise
    except OSError:
        raise Ended from None


def receive_header(connection: socket.socket, until: float | None = None) -> dict[str, Any]:
    """The header of the next message, whose parts are to be received next.

    Raises:
        Ended, TimeoutError: as `send`.
        Garbled: it is none.
    """
    length = int.from_bytes(receive(connection, _LENGTH_BYTES, until), "little")
    if length > MOST_HEADER_BYTES:
        raise Garbled(f"a header of {length} bytes")
    try:
        header = orjson.loads(receive(connection, length, until))
    except orjson.JSONDecodeError:
        raise Garbled("a header that is no JSON") from None
    if not isinstance(header, dict):
        raise Garbled("a header that is no object")
    return header


def receive(connection: socket.socket, size: int, until: float | None = None) -> bytearray:
    """So many bytes.

    Raises:
        Ended, TimeoutError: as `send`.
    """
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        connection.settimeout(_left(until))
        try:
            taken = connection.recv_into(rest)
        except TimeoutError:
            raise
        except OSError:
            raise Ended from None
        if not taken:
            raise Ended
        rest = rest[taken:]
    return data


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def tensors_of(arrays: Mapping[str, Array]) -> tuple[list[dict[str, Any]], list[memoryview]]:
    """What a header says of arrays, and their bytes."""
    described, parts = [], []
    for name, array in arrays.items():
        part = to_bytes(array)
        described.append({
            "name": name, "datatype": datatype_of(array), "shape": list(array.shape), "size": part.nbytes,
        })  # fmt: skip
        parts.append(part)
    return described, parts
