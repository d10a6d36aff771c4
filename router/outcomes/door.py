"""What becomes of outcomes that clients tell: they are read, checked, kept on disk, answered for, sent on.

Law: a request is taken whole or refused whole; of one that is taken, each outcome is accepted or left out
with a reason, and counted once. A client that leaves changes nothing of what has begun to be kept.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from router.counting.receipt import ReceiptKey
from router.laps import Laps
from router.metrics import OUTCOMES_RECEIVED
from router.outcomes.checking import Checked, Checks
from router.outcomes.sender import Sender
from router.outcomes.spool import Spool
from router.rollout.snapshot import Snapshot
from router.wire.outcomes import SKEW_SECONDS, each_of, line_of
from serving.errors import Unavailable
from serving.telemetry.cells import Metrics

log = structlog.get_logger()

LAP_LINES: Final = 20
"""Between two looks at the time; some 8 us each."""
EXAMPLES: Final = 10
"""Outcomes that are left out and named in the answer."""
UNVERIFIED_BYTES: Final = 1 << 20
"""Of outcomes whose receipts only control can verify, since it was last asked; forged ones fill no more."""
END_SECONDS: Final = 5.0
"""For which a process that ends waits until control has what is on disk."""
ACCEPTED, REFUSED = "accepted", "refused"
_UNVERIFIED: Final = Checked("", "", None)
_OF_NO_KEY: Final = Checked("", "", "receipt")


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


@dataclass(slots=True)
class _Read:
    """What one request says.

    Attributes:
        taken: what becomes of it.
        lines: of what is accepted, for control.
        accepted: of these, how many of which outcome.
        left_out: of the others.
        unknown: of receipts of keys that are not known, when the latest says that its request arrived.
        doubtful: the outcomes of these, by line of the request and as lines for control.
    """

    taken: Taken = field(default_factory=Taken)
    lines: list[bytes] = field(default_factory=list)
    accepted: "Counter[Checked]" = field(default_factory=Counter)
    left_out: "Counter[Checked]" = field(default_factory=Counter)
    unknown: float = 0.0
    doubtful: list[tuple[int, bytes]] = field(default_factory=list)

    def leave_out(self, line: int, found: Checked) -> None:
        """One that is not taken, by the line of the request, counted from 1."""
        assert found.reason is not None
        self.left_out[found] += 1
        self.taken.left_out[found.reason] += 1
        if len(self.taken.examples) < EXAMPLES:
            self.taken.examples.append(Example(line, found.reason))

    def doubt(self, line: int, told: bytes, unknown: float) -> None:
        """One whose receipt is of a key that is not known."""
        self.doubtful.append((line, told))
        self.unknown = max(self.unknown, unknown)

    def settle(self, *, take: bool) -> None:
        """Take what is doubtful, for control to verify, or leave it out."""
        number, taken = len(self.doubtful), self.taken
        if take:
            self.accepted[_UNVERIFIED] += number
            self.lines += (told for _, told in self.doubtful)
            return
        self.left_out[_OF_NO_KEY] += number
        taken.left_out["receipt"] += number
        more = (Example(line, "receipt") for line, _ in self.doubtful[:EXAMPLES])
        taken.examples = sorted([*taken.examples, *more])[:EXAMPLES]


class OutcomesDoor:
    """Takes outcomes, once it was started.

    Args:
        spool: where they are kept until control has them.
        sender: who sends them.
        keys: gives those of receipts, by id; another mapping after each change.
        known_as_of: waits until the keys are those of a moment, seconds since 1970, or later; False where
            that cannot be known now.
        snapshot: gives that in force.
        metrics: where they are counted.
        now: seconds since 1970.
    """

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        keys: Callable[[], Mapping[int, ReceiptKey]],
        known_as_of: Callable[[float], Awaitable[bool]],
        snapshot: Callable[[], Snapshot],
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._sender = sender
        self._keys = keys
        self._known_as_of = known_as_of
        self._snapshot = snapshot
        self._metrics = metrics
        self._now = now
        self._checks = Checks({})
        self._checked_by = Snapshot()
        self._unverified = 0  # bytes, since control was last asked
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

    async def take(self, body: bytes, revision: int = 0) -> Taken:
        """Take the outcomes of a request.

        Args:
            body: not compressed.
            revision: of the snapshot to understand it by, or a newer one.

        Raises:
            InvalidInput: it cannot be read.
            Unavailable: not now: there are no keys or documents yet, or no room on disk.
            TooLarge: it takes more than the whole spool.
        """
        at = self._now()
        if self._snapshot().revision < revision:
            await self._known_as_of(at)  # where control is away, it is what can be known
        found = await self._understood(body, at)
        await asyncio.shield(self._keep(found))
        return found.taken

    async def _keep(self, found: _Read) -> None:
        """On disk, and counted."""
        if found.taken.accepted:
            try:
                await self._spool.add(b"".join(found.lines), found.taken.accepted)
            except Unavailable:
                self._count(found.accepted, REFUSED)
                raise
        self._count(found.accepted, ACCEPTED)
        self._count(found.left_out)

    async def _understood(self, body: bytes, at: float) -> _Read:
        """What a request says, by keys that are at least as new as its receipts.

        A key may have signed at another worker before this one was told of it, so a receipt of a key that is
        not known is left out once control has said that there is none. Where control cannot be asked, it is
        kept for control to verify. That a receipt is forged costs who tells it a second or two, and others
        `UNVERIFIED_BYTES` of the spool.
        """
        while True:
            keys, checks = self._keys(), self._in_force()
            if not keys:
                raise Unavailable("no keys for receipts yet: control has not told any")
            async with self._reading:
                found = await _read(body, checks, keys, at)
            if found.doubtful:
                known = await self._known_as_of(min(found.unknown + SKEW_SECONDS, at))
                if known and self._keys() is not keys:
                    continue
                doubtful = sum(len(line) for _, line in found.doubtful)
                self._unverified = 0 if known else self._unverified + doubtful
                found.settle(take=0 < self._unverified <= UNVERIFIED_BYTES)
            found.taken.accepted = len(found.lines)
            return found

    def _in_force(self) -> Checks:
        snapshot = self._snapshot()
        if snapshot.revision == 0:
            raise Unavailable("no rollouts yet: control has not told any")
        if snapshot is not self._checked_by:
            self._checks, self._checked_by = Checks(snapshot.rollouts), snapshot
        return self._checks

    def _count(self, counts: "Counter[Checked]", result: str = "") -> None:
        """Into the metric; of a request of which nothing is taken, the client is to send all again."""
        for found, amount in counts.items():
            labels = found.model, found.outcome, result or found.reason or ""
            self._metrics.counter(OUTCOMES_RECEIVED, *labels).add(amount)


async def _read(body: bytes, checks: Checks, keys: Mapping[int, ReceiptKey], at: float) -> _Read:
    """What a request says.

    Raises:
        InvalidInput: it cannot be read.
    """
    found, laps = _Read(), Laps()
    lines, accepted = found.lines, found.accepted
    for number, told in enumerate(each_of(body), 1):
        checked = checks.of(told, keys, at)
        if checked.reason is None:
            accepted[checked] += 1
            lines.append(line_of(told, at))
        elif checked.unknown is not None:
            found.doubt(number, line_of(told, at), checked.unknown)
        else:
            found.leave_out(number, checked)
        if number % LAP_LINES == 0:
            await laps.rest()
    return found
