"""What a worker does for the prediction log: one bounded write for an answer that is drawn.

Law: every answer of a rollout with `record` is counted once, drawn before its outcome is looked at, and then
sent, or dropped for a reason that is counted. What the document keeps back does not leave this process.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import orjson
import structlog

from router.answered import Answered, Sink
from router.mirror.channel import FrameChannel
from router.mirror.frame import packed
from router.record.accounts import AWAY, FULL, REQUESTS, SAMPLED_OUT, SENT, TOO_LARGE, OwnAccounts
from router.record.redaction import redacted
from router.record.sampling import Draw
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Record
from serving.wire.message import Call, Reply

log = structlog.get_logger()

FLUSH_SECONDS: Final = 5.0
"""How long a process that ends waits until what it has sent is read."""
KEPT_WORDS: Final = 64


def instance_name(node: str, process: str) -> str:
    """A name that no other process has, also after a restart that gives out the same process ids again."""
    return f"{re.sub('[^A-Za-z0-9_-]', '_', node)[:60]}.{process}.{time.time_ns():x}"


class RecordChannel(FrameChannel):
    """The connection of a process to the log writer of its node.

    Args:
        path: the log writer's socket.
        accounts: of this process, which it names first on each connection.
    """

    def __init__(self, path: Path, accounts: OwnAccounts) -> None:
        super().__init__(str(path), "log writer")
        self._accounts = accounts
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who this is, and what was sent on other connections: nothing of it can still arrive."""
        super().connection_made(transport)
        self._gone.clear()
        self.write(hello(self._accounts.instance, self._accounts.sent()))

    def connection_lost(self, exc: Exception | None) -> None:
        """As `FrameChannel`."""
        super().connection_lost(exc)
        self._gone.set()

    async def finish(self, seconds: float) -> None:
        """Send what is in the buffer, and no more.

        Args:
            seconds: to wait for it at most.
        """
        self._closed = True
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()
            try:
                async with asyncio.timeout(seconds):
                    await self._gone.wait()
            except TimeoutError:
                log.warning("the log writer did not take all records in time")
                self._transport.abort()


def hello(instance: str, sent: Mapping[str, int]) -> bytes:
    """The first frame of a connection, of no model: whose it is, and what was sent before by model."""
    call = Call({}, orjson.dumps(sent), 0.0)
    nothing = Answered(call, Reply(200, b""), "stable", "", None, 0, 0, 0.0)
    frame = packed(b"", nothing, said=orjson.dumps({"instance": instance}))
    assert frame is not None
    return frame


class RecordSink:
    """Records the answers of one rollout, as one snapshot has it.

    Args:
        served: the rollout.
        record: what its document says.
        channel: to the log writer.
        accounts: of this process.
        revision: of the snapshot in force.
    """

    def __init__(
        self,
        served: ServedRollout,
        record: Record,
        channel: FrameChannel,
        accounts: OwnAccounts,
        revision: Callable[[], int],
    ) -> None:
        self._served = served
        self._model = served.rollout.model.encode()
        self._channel = channel
        self._cells = accounts.of(served.rollout.model)
        self._instance = accounts.instance
        self._revision = revision
        self._sample = record.sample
        self._takes = draw_of(served.rollout.model, record).takes
        self._inputs = record.inputs
        self._redact = served.rollout.redacted
        self._whole = record.inputs and not self._redact
        self._words: dict[tuple[str, str | None, int], bytes] = {}

    def offer(self, answered: Answered) -> None:
        """As `Sink`."""
        cells = self._cells
        cells[REQUESTS] += 1
        if not self._takes(answered.key, answered.call.arrived):
            cells[SAMPLED_OUT] += 1
            return
        if refusal := self._channel.refusal():
            cells[FULL if refusal == "full" else AWAY] += 1
            return
        frame = packed(
            self._model, answered if self._whole else self._kept(answered), said=self._said(answered)
        )
        if frame is None:
            cells[TOO_LARGE] += 1
            return
        cells[SENT] += 1
        self._channel.write(frame)

    def _kept(self, answered: Answered) -> Answered:
        call, outcome = redacted(answered.call, answered.outcome, self._redact, inputs=self._inputs)
        return answered._replace(call=call, outcome=outcome)

    def _said(self, answered: Answered) -> bytes:
        """What a frame does not say of its answer; the same for many, and so made once."""
        place = answered.target, answered.drawn, self._revision()
        words = self._words.get(place)
        if words is None:
            if len(self._words) >= KEPT_WORDS:
                self._words.clear()
            words = self._words[place] = orjson.dumps(
                {
                    "instance": self._instance,
                    "digest": self._served.digests.get(answered.target),
                    "revision": place[2],
                    "sampling_fraction": self._sample / 100,
                    "propensity": propensity(self._served, answered.drawn),
                }
            )
        return words


def propensity(served: ServedRollout, drawn: str | None) -> float | None:
    """How probable it was that the draw chose this role; None where nothing was drawn."""
    if drawn is None:
        return None
    canary = served.weight / 100 if served.canary is not None else 0.0
    return canary if drawn == "canary" else 1.0 - canary


def draw_of(model: str, record: Record) -> Draw:
    """The draw of a rollout's answers, the same in every process."""
    salt = int.from_bytes(blake2b(model.encode(), digest_size=8, person=b"record").digest())
    return Draw(salt, record.sample)


def unrecorded(served: ServedRollout) -> tuple[Sink, ...]:
    """The sinks of a rollout on a node that keeps no prediction log: none, which is said."""
    if served.record is not None:
        log.warning(
            "the rollout asks for records, and this node keeps none: start it with --records",
            model=served.rollout.model,
        )
    return ()


class Recording:
    """The sinks of a worker's rollouts, and their one connection.

    Args:
        socket: of the log writer.
        accounts: the folder of the node's accounts.
        instance: a name that no other process has.
        revision: of the snapshot in force.
    """

    def __init__(self, socket: Path, accounts: Path, instance: str, revision: Callable[[], int]) -> None:
        self._socket = socket
        self._accounts = OwnAccounts(accounts, instance)
        self._revision = revision
        self._channel: RecordChannel | None = None

    def sinks(self, served: ServedRollout) -> tuple[Sink, ...]:
        """Of a rollout; none of one without `record`. On the event loop."""
        record = served.record
        if record is None:
            return ()
        if self._channel is None:
            self._channel = RecordChannel(self._socket, self._accounts)
        return (RecordSink(served, record, self._channel, self._accounts, self._revision),)

    async def close(self) -> None:
        """Send what is on the way."""
        if self._channel is not None:
            await self._channel.finish(FLUSH_SECONDS)
