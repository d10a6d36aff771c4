"""A working folder for a process, which goes with it; what killed owners left behind is swept."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "understudy-python-"
SETTLED_SECONDS = 60.0
"""A folder that is older and that nobody has locked has no owner: the lock comes right after it was made."""


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder of this user's alone, locked for as long as the block lasts, then removed.

    Raises:
        OSError: there is no place for it.
    """
    parent = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108  (`gettempdir` tries to write a file)
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = _opened(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _sweep(parent: Path) -> None:
    """Remove those whose owner was killed; a lock goes with the process that has it."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < SETTLED_SECONDS:
                continue
            lock = _opened(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
