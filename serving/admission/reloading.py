"""Values that are read from files and read again when these change: certificates, keys.

Law: a value is replaced only by one that was read whole and found good; until then the one before it
stays. Files are looked at, not listened to, and by what they hold in the end: an editor's rename, two
files written one after the other and the swap of a ConfigMap's `..data` link all look the same here. A
change counts once it rested for one look, so that the second of two files has time to follow the first.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from serving.errors import ServingError
from serving.telemetry.cells import Family, Metrics

LOOK_SECONDS = 0.5

FILE_RELOADS = Family(
    "understudy_file_reloads",
    "counter",
    "Times a changed file was read again, by what it holds and whether it was taken.",
    ("what", "outcome"),
)
FILE_REFUSED = Family(
    "understudy_file_refused",
    "gauge",
    "1 while the file on disk is refused and what was read before it serves on.",
    ("what",),
    merge="max",
)

log = structlog.get_logger()

T = TypeVar("T")
Fingerprint = tuple[tuple[int, int, int, int] | None, ...]


class Reloading(Generic[T]):
    """A value, and the files that it comes from.

    Args:
        what: in logs and metrics, e.g. `api keys`.
        paths: the files.
        load: reads them all; a `ServingError` refuses what they hold.

    Attributes:
        value: what was read last and found good.

    Raises:
        ServingError: what the files hold at the start is refused.
    """

    def __init__(self, what: str, paths: Sequence[Path], load: Callable[[], T], metrics: Metrics) -> None:
        self._what = what
        self._paths = paths
        self._load = load
        self._read = self._seen = _fingerprint(paths)
        self.value = load()
        self._loaded = metrics.counter(FILE_RELOADS, what, "loaded")
        self._failed = metrics.counter(FILE_RELOADS, what, "refused")
        self._refused = metrics.gauge(FILE_REFUSED, what)
        self._refused.set(0)

    async def run(self) -> None:
        """Follow the files for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Read the files again if they changed and have rested since the last look."""
        before, self._seen = self._seen, _fingerprint(self._paths)
        if self._seen == self._read or self._seen != before:
            return
        self._read = self._seen
        try:
            self.value = self._load()
        except ServingError as error:
            self._failed.add()
            self._refused.set(1)
            log.error("changed file refused; what was read before stays", what=self._what, reason=str(error))
        else:
            self._loaded.add()
            self._refused.set(0)
            log.info("changed file taken", what=self._what)


def _fingerprint(paths: Sequence[Path]) -> Fingerprint:
    """What tells one content of the files from another, behind all links; None for one that is not there."""
    return tuple(_mark(path) for path in paths)


def _mark(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
