"""The accounts of processes that have ended: a row for each in one file, and one for all that are long past.

Law: the file is there whole or not at all, and a row of it counts unless its account has a page
(`router.record.accounts`). So an account moves into it without being missed or counted twice, whenever this
process is killed: the row is written, then the page goes, and only a row without a page is ever folded. It is
folded once none of its rows is in a file any more, into one row of all such of its model: totals stay true,
and what files hold can still be added up process by process.
"""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Final

import orjson
import structlog

from router.record.account import COUNTS, Account, Kind, Place, counts_of, kind_of
from serving.host.whole_files import write_whole

log = structlog.get_logger()

FOLDED: Final[Mapping[Kind, str]] = {"request": "earlier", "comparison": "earlier.sandboxes"}
"""Instance of the row that stands for all processes of a kind that are long past."""


class ClosedAccounts:
    """The file, written by the log writer alone.

    Args:
        path: of it; there may be none yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], dict[Place, Account]] | None = None

    def rows(self) -> Mapping[Place, Account]:
        """By instance and model; nothing, which is logged, where the file cannot be read."""
        try:
            return self.known()
        except (OSError, ValueError) as error:
            log.error("accounts of the prediction log are left out", path=str(self._path), reason=str(error))
            return {}

    def known(self) -> Mapping[Place, Account]:
        """As `rows`, for whoever is to write them again.

        Raises:
            OSError, ValueError: the file is there, and cannot be read.
        """
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return {}
        state = stat.st_ino, stat.st_mtime_ns, stat.st_size
        if self._read is None or self._read[0] != state:
            self._read = state, _parsed(self._path.read_bytes())
        return self._read[1]

    def write(self, rows: Mapping[Place, Account]) -> None:
        """Put these in the place of all; there for good.

        Raises:
            OSError: they cannot be written; then it is as before.
        """
        told = [[*place, *counts_of(account)] for place, account in sorted(rows.items())]
        write_whole(self._path, orjson.dumps({"columns": COUNTS, "rows": told}), lasting=True)


def _parsed(text: bytes) -> dict[Place, Account]:
    try:
        found = orjson.loads(text)
        columns = found["columns"]
        return {
            (instance, model): Account(**dict(zip(columns, counts, strict=True)))
            for instance, model, *counts in found["rows"]
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"no accounts: {error!r}") from error


def folded(rows: Mapping[Place, Account], with_pages: Container[Place]) -> dict[Place, Account]:
    """Rows of which nothing is in a file any more as one row a model.

    Args:
        rows: all.
        with_pages: accounts whose page counts instead.
    """
    kept: dict[Place, Account] = {}
    for place, account in rows.items():
        at = place
        if place not in with_pages and account.written == account.expired:
            at = FOLDED[kind_of(place[0])], place[1]
        kept[at] = kept.get(at, Account()) + account
    return kept
