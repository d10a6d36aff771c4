"""The wire format of protobuf, read without its descriptors and written by hand. Pure.

Source: protobuf.dev, "Encoding". Groups, which proto3 has not, are no fields here.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Field(NamedTuple):
    """One field of a message: where it begins and ends there, and what it holds; of a number its bytes."""

    number: int
    begin: int
    end: int
    value: memoryview


def fields_of(message: memoryview) -> Iterator[Field]:
    """Each in its order.

    Raises:
        ValueError, IndexError: it is no message.
    """
    place = 0
    while place < len(message):
        begin = place
        key, place = read_varint(message, place)
        start = place
        match key & 7:
            case 0:  # a number
                _, place = read_varint(message, place)
            case 1:  # 64 bits
                place += 8
            case 2:  # bytes, text or a message
                length, start = read_varint(message, place)
                place = start + length
            case 5:  # 32 bits
                place += 4
            case other:
                raise ValueError(f"wire type {other}")
        if place > len(message):
            raise ValueError("cut short")
        yield Field(key >> 3, begin, place, message[start:place])


def read_varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number at a place, and where it ends.

    Raises:
        ValueError: it is none of 64 bits.
        IndexError: the message ends in it.
    """
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 127) << shift
        place += 1
        shift += 7
        if byte < 128:
            return number, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def varint(number: int) -> bytes:
    """As protobuf writes numbers and lengths."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
