"""That a store was away a moment ago, remembered for all processes of this machine.

Asking costs seconds when nobody answers. So whoever asked in vain leaves a note, and for `REMEMBERED_SECONDS`
nobody else asks; a node that starts a dozen processes pays once.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import structlog

from serving.host.whole_files import write_whole
from serving.sources.remote import Away, Changed

log = structlog.get_logger()
T = TypeVar("T")

REMEMBERED_SECONDS: Final = 15.0


class Absence:
    """The note of one store.

    Args:
        url: of the store, for the log.
        file: where the note is; its folder is made.
    """

    def __init__(self, url: str, file: Path) -> None:
        self._url = url
        self._file = file
        self._said = False

    def asked(self, question: Callable[[], T]) -> T:
        """The answer of the store, which is not asked where it was away just now.

        Raises:
            Changed: it did answer: what the question is about is another one by now, or is not there.
            Away: it is.
        """
        known = self._reason()
        if known:
            raise Away(known)
        try:
            answer = question()
        except Changed:
            raise
        except Away as error:
            self._note(str(error))
            if not self._said:
                log.warning("a store of models is away", store=self._url, reason=str(error))
            self._said = True
            raise
        if self._said:
            log.info("a store of models is back", store=self._url)
        self._said = False
        return answer

    def _reason(self) -> str:
        """Why the store was away, where that was found lately; else empty."""
        try:
            age = time.time() - self._file.stat().st_mtime
            return self._file.read_text(encoding="utf-8") if 0 <= age < REMEMBERED_SECONDS else ""
        except OSError:
            return ""

    def _note(self, reason: str) -> None:
        with suppress(OSError):  # a disk that is full is no reason to fail otherwise
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, reason.encode())
