"""Files that are whole or not there: written aside, and given their name in one step.

Law: whoever opens the name meets what was there before or all that is new, whenever a process is killed.
After a loss of power that holds for what was written `lasting`.
"""

import os
from itertools import count
from pathlib import Path
from typing import Final

ASIDE: Final = ".new"
"""How the names of unfinished files end, which a killed process may leave behind."""

_numbers = count()


def write_whole(path: Path, data: bytes, *, lasting: bool = False, mode: int = 0o666) -> None:
    """Put a file in the place of what has its name, if anything has; its folder is there.

    Processes and threads may do so at once: one of them is the last.

    Args:
        path: its name.
        data: all of it.
        lasting: whether it is on the disk, with its name, when this returns.
        mode: of the file, less what the process masks.

    Raises:
        OSError: it cannot be; what was there before is there still, but where `lasting` fails for the folder.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}{ASIDE}")
    aside.unlink(missing_ok=True)  # of a process that had this one's id
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if lasting:
                file.flush()
                os.fsync(descriptor)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    if lasting:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder would survive a loss of power.

    Raises:
        OSError: that cannot be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
