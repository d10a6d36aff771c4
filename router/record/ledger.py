"""Files put into the store and accounts brought up to date as one, whenever this process is killed.

Law: before a file is put, its name and the totals with it are noted; they are set once it is there. Whoever
comes after a process that was killed in between looks whether the file is there, and sets them or not. Totals
are set and never added to, so that doing it twice changes nothing. One file at a time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from router.record.account import Place
from router.record.accounts import EXPIRED, WRITTEN, Accounts
from router.record.files.footers import COMPACTED, footer_of, replaced
from router.record.files.layout import folder_of
from router.record.files.stores import Store
from serving.host.whole_files import ASIDE, write_whole

log = structlog.get_logger()

_CELLS: Final = {"put": WRITTEN, "delete": EXPIRED}


class Ledger:
    """What is being written, and the accounts that follow from it.

    Args:
        folder: where notes are kept.
        accounts: of the node.
        store: of the files.
    """

    def __init__(self, folder: Path, accounts: Accounts, store: Store) -> None:
        self._folder = folder
        self._accounts = accounts
        self._store = store

    def recover(self) -> None:
        """Finish what a process before this one began.

        Raises:
            OSError: it cannot be known now whether a file is there.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"*{ASIDE}"):
            path.unlink(missing_ok=True)
        for path in self._folder.glob("*.json"):
            note = _read(path)
            if note is not None and self._was_done(note):
                self._set(note)
            path.unlink(missing_ok=True)

    def _was_done(self, note: Mapping[str, Any]) -> bool:
        """Whether its file was put, or deleted; one that was put may have been merged with others since."""
        name: str = note["name"]
        there = self._store.exists(name)
        if note["what"] == "delete":
            return not there
        if there:
            return True
        folder = folder_of(name)
        merged = (each for each in self._store.names(folder) if each.startswith(f"{folder}/{COMPACTED}"))
        footers = {each: footer_of(self._store.open(each)) for each in merged}
        return name in replaced({each: footer for each, footer in footers.items() if footer is not None})

    def put(self, name: str, data: bytes, rows: Mapping[Place, int]) -> "Path":
        """Note a file and put it; in a thread. `commit` follows, on the thread that reads accounts.

        Args:
            name: of the file.
            data: all of it.
            rows: by account.

        Returns:
            For `commit`.

        Raises:
            OSError: it could not be written; the same may be tried again.
        """
        note = self._note("put", name, rows)
        self._store.put(name, data)
        return note

    def delete(self, name: str, rows: Mapping[Place, int]) -> "Path":
        """As `put`, of a file that is to go as it is too old."""
        note = self._note("delete", name, rows)
        self._store.delete(name)
        return note

    def commit(self, note: Path) -> None:
        """Set the totals: the file is there, or gone."""
        self._set(orjson.loads(note.read_bytes()))
        note.unlink(missing_ok=True)

    def _note(self, what: str, name: str, rows: Mapping[Place, int]) -> Path:
        cell = _CELLS[what]
        totals = [
            (*place, self._accounts.cells(*place)[cell] + count)
            for place, count in rows.items()
            if self._accounts.has(*place)
        ]
        path = self._folder / f"{name.rpartition('/')[2]}.json"
        write_whole(path, orjson.dumps({"what": what, "name": name, "totals": totals}))
        return path

    def _set(self, note: Mapping[str, Any]) -> None:
        for instance, model, total in note["totals"]:
            if self._accounts.has(instance, model):
                self._accounts.cells(instance, model)[_CELLS[note["what"]]] = total


def _read(path: Path) -> dict[str, Any] | None:
    """A note; None of one that a loss of power left half."""
    try:
        note: dict[str, Any] = orjson.loads(path.read_bytes())
    except ValueError:
        log.warning("a note of the prediction log cannot be read: its rows may count as lost", path=str(path))
        return None
    return note
