"""Locks between the processes of one machine; the system lets go of them when a process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(file: Path, *, wait: bool = True) -> Iterator[None]:
    """One at a time, of all threads and processes; the file is made, and stays.

    Raises:
        OSError: somebody has it, and nobody is to wait; or its folder is not there.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def share_folder(folder: Path) -> int:
    """A descriptor that holds a folder, beside others who do so, until it is closed.

    Raises:
        OSError: it is gone.
    """
    return _held(folder, fcntl.LOCK_SH)


@contextmanager
def lock_folder(folder: Path, *, wait: bool) -> Iterator[None]:
    """Have a folder that nobody shares.

    Raises:
        OSError: it is gone; or it is shared, and nobody is to wait.
    """
    descriptor = _held(folder, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        os.close(descriptor)


def _held(folder: Path, how: int) -> int:
    """The folder that has the name while it is held: another may have had it when it was opened."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        if os.fstat(descriptor).st_ino != folder.stat().st_ino:
            raise FileNotFoundError(str(folder))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
