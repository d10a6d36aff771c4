"""Files of text, cut where a record ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from serving.errors import InvalidInput
from understudy.scoring.formats.block import Chunk

CHUNK_BYTES: Final = 8 << 20
MOST_RECORD: Final = 128 << 20
"""A longer one is a quote that nobody closed."""


def text_chunks(path: Path, begin: int, first: int, *, quoted: bool) -> Iterator[Chunk]:
    """Cut a file into chunks of whole records.

    Args:
        path: the file.
        begin: the byte at which its first record begins.
        first: the line on which it does.
        quoted: whether a line end between quotes is none, as in CSV.

    Raises:
        InvalidInput: a record is longer than anybody means.
        OSError: it cannot be read.
    """
    number = 0
    with path.open("rb") as file:
        while data := _whole(path, file, begin, first, quoted=quoted):
            lines = data.count(b"\n") + (not data.endswith(b"\n"))
            yield Chunk(number, first, lines, begin, begin + len(data))
            number, first, begin = number + 1, first + lines, begin + len(data)


def _whole(path: Path, file: BinaryIO, begin: int, first: int, *, quoted: bool) -> bytes:
    """Some records from a byte on; nothing behind the last."""
    size = CHUNK_BYTES
    while size <= MOST_RECORD:
        file.seek(begin)
        data = file.read(size)
        if len(data) < size:
            return data
        end = last_end(data, quoted=quoted)
        if end:
            return data[:end]
        size *= 2
    raise InvalidInput(
        f"{path}:{first}: a record of more than {MOST_RECORD >> 20} MiB begins here; is a quote not closed?"
    )


def last_end(data: bytes, *, quoted: bool) -> int:
    """Where the last whole record ends, of some that begin with a whole one; 0 if none does."""
    end = len(data)
    inside = quoted and data.count(b'"') % 2 == 1
    while (at := data.rfind(b"\n", 0, end)) >= 0:
        inside ^= quoted and data.count(b'"', at, end) % 2 == 1
        if not inside:
            return at + 1
        end = at
    return 0


def read_bytes(path: Path, chunk: Chunk) -> bytes:
    """The bytes of a chunk."""
    with path.open("rb") as file:
        file.seek(chunk.begin)
        return file.read(chunk.end - chunk.begin)
