"""A file of an object store, as Python reads files: by ranges, so a footer costs no more than a footer."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Final

BUFFER_BYTES: Final = 1 << 18
"""Of the file around what is read, which spares a request for the next reading."""

InWords = Callable[[], AbstractContextManager[None]]
"""In what obstore raises becomes an error of whoever reads."""


def remote_file(reader: Any, in_words: InWords) -> BinaryIO:
    """Open for reading at any position.

    Args:
        reader: of `obstore.open_reader`.
        in_words: around each request to the store.
    """
    return io.BufferedReader(_Remote(reader, in_words), BUFFER_BYTES)


class _Remote(io.RawIOBase):
    def __init__(self, reader: Any, in_words: InWords) -> None:
        self._reader = reader
        self._in_words = in_words

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:
        with self._in_words():
            data = self._reader.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
