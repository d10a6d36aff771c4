"""That a store was away a moment ago, remembered for all processes of this machine.

Asking costs seconds when nobody answers. So whoever asked in vain leaves a note, and for `REMEMBERED_SECONDS`
nobody else asks; a node that starts a dozen processes pays once.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from serving.host.whole_files import write_whole

REMEMBERED_SECONDS: Final = 15.0


class Absence:
    """The note of one store.

    Args:
        file: where it is; the folder is made.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def reason(self) -> str:
        """Why the store was away, where that was found lately; else empty."""
        try:
            age = time.time() - self._file.stat().st_mtime
            return self._file.read_text(encoding="utf-8") if 0 <= age < REMEMBERED_SECONDS else ""
        except OSError:
            return ""

    def note(self, reason: str) -> None:
        """It does not answer."""
        with suppress(OSError):  # a disk that is full is no reason to fail otherwise
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, reason.encode())
