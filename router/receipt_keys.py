"""The keys for receipts of a process: in memory, and in its node's state folder, for a start without control.

Law: control makes keys; a worker signs with the newest that it was told. The file is of this user alone, and
whole or not there; the processes of a node write the same.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from router.counting.receipt import ReceiptKey, Receipts, newest
from router.wire.receipt_keys import KeyRow, ring_id
from serving.host.whole_files import write_whole

log = structlog.get_logger()

_ROWS = TypeAdapter(list[KeyRow])


class KeptKeys:
    """The keys, and what signs with the newest of them.

    Args:
        path: the file of the node.
        receipts: of this process; None where it makes none.

    Attributes:
        keys: by id, all that receipts may still be of.
        ring: says which they are, for control.
    """

    def __init__(self, path: Path, receipts: Receipts | None = None) -> None:
        self._path = path
        self._receipts = receipts
        self._use(_read(path))

    def _use(self, keys: Iterable[ReceiptKey]) -> None:
        self.keys = {key.id: key for key in keys}
        self.ring = ring_id(self.keys.values())
        if self._receipts is not None:
            self._receipts.key = newest(self.keys.values())

    async def take(self, rows: Sequence[KeyRow]) -> None:
        """Use and keep what control says, instead of what was there."""
        self._use(row.key for row in rows)
        log.info("keys for receipts", ids=sorted(self.keys))
        with suppress(OSError):  # a full disk must not keep receipts away
            await asyncio.to_thread(_write, self._path, [KeyRow.of(key) for key in self.keys.values()])


def _read(path: Path) -> list[ReceiptKey]:
    """What the file has; nothing where it is not there or cannot be read."""
    try:
        return [row.key for row in _ROWS.validate_json(path.read_bytes())]
    except OSError:
        return []
    except ValidationError:
        log.warning("the file of keys for receipts cannot be read; control is asked", file=path.name)
        return []


def _write(path: Path, rows: Sequence[KeyRow]) -> None:
    write_whole(path, orjson.dumps([row.model_dump() for row in rows]), mode=0o600)
