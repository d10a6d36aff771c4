"""Which files of the prediction log are too old.

Law: a file goes when its whole hour is older than what is kept, and each row is accounted for as expired
once: of files that a compaction merged and did not come to remove, the merged file has the rows. A file that
is no file of ours stays.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import structlog

from router.record.account import Place
from router.record.files.footers import Footer, footer_of, replaced
from router.record.files.layout import parsed
from router.record.files.stores import Store

KEEP_LOOK_SECONDS: Final = 600.0
log = structlog.get_logger()


class Retention:
    """Finds what is too old.

    Args:
        store: of the files.
        seconds: that are kept.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._kept = timedelta(seconds=seconds)

    def expired(self, now: float) -> Iterator[tuple[str, dict[Place, int]]]:
        """Name files that are to go, each with its rows by account; in a thread.

        Those that count no more come first: without the merged file, they would count again.

        Args:
            now: seconds since 1970.
        """
        footers = {name: self._footer(name) for name in self._old(now)}
        ours = {name: footer for name, footer in footers.items() if footer is not None}
        merged = replaced(ours)
        for name in sorted(ours, key=lambda name: (name not in merged, name)):
            footer = ours[name]
            rows = {} if name in merged else footer.rows
            yield name, {(instance, footer.model): count for instance, count in rows.items()}

    def _footer(self, name: str) -> Footer | None:
        """Of a file; None of one that is not ours, or not whole, and stays."""
        try:
            return footer_of(self._store.open(name))
        except (OSError, pa.ArrowException) as error:
            log.warning("a file of the prediction log cannot be read; it stays", file=name, reason=str(error))
            return None

    def _old(self, now: float) -> Iterator[str]:
        oldest = datetime.fromtimestamp(now, UTC) - self._kept
        for name in self._store.names():
            named = parsed(name)
            if named is not None and named.hour + timedelta(hours=1) <= oldest:
                yield name
