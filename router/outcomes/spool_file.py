"""One file of the spool: lines that are on disk, of the process that holds its lock.

Law: a file is written, sent and removed by who holds its lock (flock), which the kernel takes back from a
process that ends. `size` is up to where it is whole and on disk; what stands behind it, torn by a crash or a
disk that is full, was answered for to nobody and is never sent.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from serving.host.whole_files import sync_folder

SUFFIX: Final = ".lines"
_TAIL_BYTES: Final = 1 << 20


class SpoolFile:
    """A file that this process has locked; all of it is blocking.

    Args:
        path: where it is.
        descriptor: open, and locked.

    Attributes:
        size: bytes of whole lines.
        lines: how many they are.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = self.lines = 0

    @classmethod
    def create(cls, path: Path) -> Self:
        """A new and empty one.

        Raises:
            FileExistsError: there is one of this name, or somebody removed it before it was locked.
            OSError: the disk cannot.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink == 0:
                raise FileExistsError(path.name)
            sync_folder(path.parent)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """One whose process has ended; None where somebody holds it, or nothing is in it.

        Raises:
            OSError: it cannot be read.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        file = cls(path, descriptor)
        try:
            if file._takes_over():
                return file
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _takes_over(self) -> bool:
        """Lock it, and find the end of its last whole line."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if os.fstat(self._descriptor).st_nlink == 0:  # sent and removed since its name was read
            return False
        at = 0
        while part := os.pread(self._descriptor, _TAIL_BYTES, at):
            self.lines += part.count(b"\n")
            self.size = max(self.size, at + part.rfind(b"\n") + 1) if b"\n" in part else self.size
            at += len(part)
        if not self.lines:
            self.path.unlink(missing_ok=True)
        return bool(self.lines)

    def append(self, lines: bytes, count: int) -> None:
        """Write whole lines, to the disk itself.

        Raises:
            OSError: not a line of them counts as written.
        """
        try:
            rest, at = memoryview(lines), self.size
            while rest:
                written = os.pwrite(self._descriptor, rest, at)
                rest, at = rest[written:], at + written
            os.fdatasync(self._descriptor)
        except OSError:
            with suppress(OSError):  # what is behind `size` is not sent by this process
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(lines)
        self.lines += count

    def batch(self, at: int, most: int) -> bytes:
        """Whole lines from there on.

        Args:
            at: where a line begins.
            most: bytes; one line has less.

        Raises:
            OSError: they cannot be read.
        """
        part = os.pread(self._descriptor, min(most, self.size - at), at)
        return part[: part.rfind(b"\n") + 1]

    def remove(self) -> None:
        """There is nothing in it any more that is needed."""
        with suppress(OSError):  # then it is sent again after the next start, and control knows it
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave it to others."""
        os.close(self._descriptor)
