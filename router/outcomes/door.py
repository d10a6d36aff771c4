"""What a worker does with outcomes that clients tell: read, check, keep on disk, answer, send on.

Law: a request is taken whole or refused whole; of one that is taken, each outcome is accepted or left out
with a reason, and counted once. Of the event loop it takes short turns only, so that inference does not wait.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from router.counting.receipt import ReceiptKey
from router.metrics import OUTCOMES_RECEIVED
from router.outcomes.checking import Checks
from router.outcomes.sender import Sender
from router.outcomes.spool import Spool
from router.rollout.snapshot import Snapshot
from router.settings import WorkerSettings
from router.sync import Link
from router.wire.outcomes import Told, each_of, line_of
from serving.errors import Unavailable
from serving.telemetry.cells import Metrics

log = structlog.get_logger()

TURN_LINES: Final = 10
"""Read, or checked, in one turn of the event loop, at some 5 us each; then others have it."""
EXAMPLES: Final = 10
"""Outcomes that are left out and named in the answer."""
END_SECONDS: Final = 5.0
"""For which a worker that ends waits until control has what is on disk."""
ACCEPTED, REFUSED = "accepted", "refused"


class Example(NamedTuple):
    """An outcome that was left out.

    Attributes:
        line: of the request, counted from 1.
        reason: why.
    """

    line: int
    reason: str


@dataclass(slots=True)
class Taken:
    """What became of one request.

    Attributes:
        accepted: how many are on disk.
        left_out: how many are not, by reason.
        examples: the first of these.
    """

    accepted: int = 0
    left_out: "Counter[str]" = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)

    def add(self, line: int, reason: str | None) -> None:
        """Count one."""
        if reason is None:
            self.accepted += 1
            return
        self.left_out[reason] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(Example(line, reason))


class OutcomesDoor:
    """Takes outcomes, once it was started.

    Args:
        spool: where they are kept until control has them.
        sender: who sends them.
        keys: gives those of receipts, by id.
        snapshot: gives that in force.
        metrics: where they are counted.
        now: seconds since 1970.
    """

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        keys: Callable[[], Mapping[int, ReceiptKey]],
        snapshot: Callable[[], Snapshot],
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._sender = sender
        self._keys = keys
        self._snapshot = snapshot
        self._metrics = metrics
        self._now = now
        self._checks = Checks({})
        self._checked_by = Snapshot()
        self._reading = asyncio.Lock()  # one request at a time is held as values, however many come
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send what is there."""
        self._sending = asyncio.create_task(self._sender.run(), name="send outcomes")

    async def close(self) -> None:
        """Send what is there, if control takes it soon; what is left is on disk."""
        if self._sending is not None:
            self._sender.end()
            _, late = await asyncio.wait([self._sending], timeout=END_SECONDS)
            if late:
                self._sending.cancel()
                await asyncio.wait(late)
        self._sender.close()
        await self._spool.close()

    async def take(self, body: bytes) -> Taken:
        """Take the outcomes of a request.

        Args:
            body: not compressed.

        Raises:
            InvalidInput: it cannot be read.
            Unavailable: not now: there are no keys or documents yet, or no room on disk.
            TooLarge: it takes more than the whole spool.
        """
        keys, checks, at = self._keys(), self._in_force(), self._now()
        if not keys:
            raise Unavailable("no keys for receipts yet: control has not told any")
        async with self._reading:
            told = await _read(body)
            taken, lines, counts = await _check(told, checks, keys, at)
        if taken.accepted:
            try:
                await self._spool.add(lines, taken.accepted)
            except Unavailable:
                self._count(Counter(_refused(counts)))
                raise
        self._count(counts)
        return taken

    def _in_force(self) -> Checks:
        snapshot = self._snapshot()
        if snapshot.revision == 0:
            raise Unavailable("no rollouts yet: control has not told any")
        if snapshot is not self._checked_by:
            self._checks, self._checked_by = Checks(snapshot.rollouts), snapshot
        return self._checks

    def _count(self, counts: "Counter[tuple[str, str, str]]") -> None:
        for labels, amount in counts.items():
            self._metrics.counter(OUTCOMES_RECEIVED, *labels).add(amount)


def opened_door(
    settings: WorkerSettings,
    folder: Path,
    link: Link,
    keys: Callable[[], Mapping[int, ReceiptKey]],
    snapshot: Callable[[], Snapshot],
    metrics: Metrics,
) -> OutcomesDoor:
    """The door of a worker, which sends what is there."""
    spool = Spool(folder, f"worker-{settings.worker}", settings.outcomes_spool_bytes, metrics)
    door = OutcomesDoor(spool, Sender(link, spool), keys, snapshot, metrics)
    door.start()
    return door


async def _read(body: bytes) -> list[Told]:
    told = []
    for each in each_of(body):
        told.append(each)
        if len(told) % TURN_LINES == 0:
            await asyncio.sleep(0)
    return told


async def _check(
    told: list[Told], checks: Checks, keys: Mapping[int, ReceiptKey], at: float
) -> "tuple[Taken, bytes, Counter[tuple[str, str, str]]]":
    """What becomes of each, the lines for control, and how many there are by labels of the metric."""
    taken, lines = Taken(), []
    counts: Counter[tuple[str, str, str]] = Counter()
    for number, each in enumerate(told, 1):
        found = checks.of(each, keys, at)
        taken.add(number, found.reason)
        counts[found.model, found.outcome, found.reason or ACCEPTED] += 1
        if found.reason is None:
            lines.append(line_of(each, at))
        if number % TURN_LINES == 0:
            await asyncio.sleep(0)
    return taken, b"".join(lines), counts


def _refused(counts: "Counter[tuple[str, str, str]]") -> dict[tuple[str, str, str], int]:
    """Of a request of which nothing is taken: the client is to send all of it again."""
    return {(model, name, REFUSED): n for (model, name, result), n in counts.items() if result == ACCEPTED}
