"""The fleet's keys for receipts: made, rotated and forgotten by the control that leads.

Law: secrets leave control only in answers of `POST /v1/sync` to processes that ask for them. A receipt is
taken as long after a newer key began to sign as an outcome may come that names it, and for `VALID_SECONDS` at
least, whoever rotated the key; then that is forgotten.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import structlog

from control.store.store import Store
from router.counting.receipt import KEY_IDS, SECRET_BYTES, Receipt, ReceiptKey, read
from router.wire.receipt_keys import KeyRow, ring_id
from router.wire.report import Report
from serving.errors import ServingError, Unavailable

log = structlog.get_logger()

DAY_SECONDS = 86_400.0
VALID_SECONDS = 30 * DAY_SECONDS
"""For so long a receipt is taken at least, whether its rollout has outcomes or not."""
LATE_SECONDS = DAY_SECONDS
"""How much later than its `within` an outcome may reach control, from a node that took it in time."""
LOOK_SECONDS = 60.0


def new_key(others: Iterable[ReceiptKey], now: float) -> ReceiptKey:
    """A key by chance, its id none of the others', and newer than they whatever the clock says."""
    found = tuple(others)
    taken = {key.id for key in found}
    id_ = secrets.choice([id_ for id_ in KEY_IDS if id_ not in taken])
    made = max([now, *(key.made + 1.0 for key in found)])
    return ReceiptKey(id_, secrets.token_bytes(SECRET_BYTES), made)


def tended(
    keys: Iterable[ReceiptKey], now: float, rotate_seconds: float, longest: float = 0.0
) -> tuple[ReceiptKey, ...]:
    """The keys as they should be now, the oldest first: with one that is young enough to sign.

    Args:
        keys: as they are.
        now: seconds since 1970.
        rotate_seconds: the oldest that a key may become that signs.
        longest: seconds after its answer until which an outcome may be told, of any rollout.
    """
    valid = max(VALID_SECONDS, longest + LATE_SECONDS)
    found = sorted(keys, key=lambda key: key.made)
    if not found or now - found[-1].made > rotate_seconds:
        found.append(new_key(found, now))
    successors = found[1:]
    old = {key.id for key, after in zip(found, successors, strict=False) if now - after.made > valid}
    return tuple(key for key in found if key.id not in old)


class Keyring:
    """The keys in force.

    Args:
        store: where they are kept.
        rotate_seconds: as of `tended`.
        longest: as of `tended`.
        now: wall clock, seconds since 1970.
        look_seconds: how often it is looked whether it is time.
    """

    def __init__(
        self,
        store: Store,
        rotate_seconds: float,
        longest: Callable[[], float] = lambda: 0.0,
        now: Callable[[], float] = time.time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._store = store
        self._rotate_seconds = rotate_seconds
        self._longest = longest
        self._now = now
        self._look_seconds = look_seconds
        self._changing = asyncio.Lock()
        self._keys: Mapping[int, ReceiptKey] = {}
        self._ring = ""

    async def run(self) -> NoReturn:
        """Look after the keys for ever; to be called by the control that leads."""
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await self.tend()
            except ServingError as error:
                log.warning("the keys for receipts could not be looked after", reason=str(error))

    async def tend(self) -> None:
        """Take up what is stored; make and forget keys where it is time.

        Raises:
            ServingError: the store does not answer, or another control leads.
        """
        async with self._changing:
            await self._change(lambda keys: tended(keys, self._now(), self._rotate_seconds, self._longest()))

    async def rotate(self, *, forget: bool) -> ReceiptKey:
        """Sign with a new key from now on, and return it.

        Args:
            forget: whether receipts of the keys before are refused at once, as after a leak.

        Raises:
            ServingError: as `tend`.
        """
        async with self._changing:
            made: list[ReceiptKey] = []

            def rotated(keys: Iterable[ReceiptKey]) -> tuple[ReceiptKey, ...]:
                before = tuple(keys)
                made.append(new_key(before, self._now()))
                return (*(() if forget else before), *made)

            await self._change(rotated)
        log.warning("a new key signs receipts", id=made[0].id, forgot_older=forget)
        return made[0]

    async def _change(self, change: Callable[[Iterable[ReceiptKey]], tuple[ReceiptKey, ...]]) -> None:
        stored = await asyncio.to_thread(self._store.receipt_keys)
        wanted = change(stored or tuple(self._keys.values()))  # of a database that was lost: those we have
        if wanted != stored:
            await asyncio.to_thread(self._store.keep_receipt_keys, wanted)
        self._keys = {key.id: key for key in wanted}
        self._ring = ring_id(wanted)

    def news(self, report: Report) -> dict[str, Any]:
        """The part of the answer to a report that tells the keys; empty where there is nothing to tell."""
        if report.receipt_keys is None or not self._keys or report.receipt_keys == self._ring:
            return {}
        return {"receipt_keys": [KeyRow.of(key).model_dump() for key in self._keys.values()]}

    def read(self, text: str) -> Receipt:
        """What a receipt says.

        Raises:
            InvalidInput: as of `router.counting.receipt.read`.
            Unavailable: the keys are not there yet.
        """
        if not self._keys:
            raise Unavailable("control has no keys for receipts yet")
        return read(text, self._keys)
