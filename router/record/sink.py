"""What a process does for the prediction log: one bounded write for an answer that is drawn.

Law: every answer of a rollout with `record` is counted once, drawn before its outcome is looked at, and then
sent, or dropped for a reason that is counted. What the document keeps back does not leave this process.
"""

import asyncio
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import orjson
import structlog

from router.answered import Answered, Sink
from router.mirror.channel import FrameChannel
from router.mirror.frame import packed
from router.record.accounts import (
    AWAY,
    FULL,
    REQUESTS,
    SAMPLED_OUT,
    SENT,
    TOO_LARGE,
    OwnAccounts,
    accounts_folder,
    instance_name,
)
from router.record.redaction import redacted
from router.record.sampling import Draw
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Record
from router.run_dir import RunDir
from router.settings import NodeSettings
from serving.wire.message import Call, Reply

log = structlog.get_logger()

FLUSH_SECONDS: Final = 5.0
"""How long a process that ends waits until what it has sent is read."""
KEPT_WORDS: Final = 64


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


class Outlet:
    """Where the records of one model leave a process: counted, drawn, and sent or dropped.

    Args:
        model: the public name.
        record: what its document says.
        channel: to the log writer.
        accounts: of this process.
    """

    def __init__(self, model: str, record: Record, channel: FrameChannel, accounts: OwnAccounts) -> None:
        self.instance = accounts.instance
        self._channel = channel
        self._cells = accounts.of(model)
        self._drawn = draw_of(model, record).takes

    def takes(self, key: int, arrived: float) -> bool:
        """Count one, and say whether it is to be sent; else it is dropped, or not drawn.

        Args:
            key: hash of the sticky key; 0 for none.
            arrived: when the request was there, as of `Call`.
        """
        cells = self._cells
        cells[REQUESTS] += 1
        if not self._drawn(key, arrived):
            cells[SAMPLED_OUT] += 1
            return False
        if refusal := self._channel.refusal():
            cells[FULL if refusal == "full" else AWAY] += 1
            return False
        return True

    def send(self, frame: bytes | None) -> None:
        """Send what `takes` said yes to; None is too large."""
        if frame is None:
            self._cells[TOO_LARGE] += 1
            return
        self._cells[SENT] += 1
        self._channel.write(frame)


class RecordSink:
    """Records the answers of one rollout, as one snapshot has it.

    Args:
        served: the rollout.
        record: what its document says.
        outlet: of its model.
        revision: of the snapshot in force.
    """

    def __init__(
        self, served: ServedRollout, record: Record, outlet: Outlet, revision: Callable[[], int]
    ) -> None:
        self._served = served
        self._model = served.rollout.model.encode()
        self._outlet = outlet
        self._revision = revision
        self._sample = record.sample
        self._inputs = record.inputs
        self._redact = served.rollout.redacted
        self._whole = record.inputs and not self._redact
        self._words: dict[tuple[str, str | None, int, int], bytes] = {}

    def offer(self, answered: Answered) -> None:
        """As `Sink`."""
        if self._outlet.takes(answered.key, answered.call.arrived):
            said = self._said(answered)
            self._outlet.send(packed(self._model, self._kept(answered), said=said))

    def _kept(self, answered: Answered) -> Answered:
        if self._whole:
            return answered
        call, outcome = redacted(answered.call, answered.outcome, self._redact, inputs=self._inputs)
        return answered._replace(call=call, outcome=outcome)

    def _said(self, answered: Answered) -> bytes:
        """What a frame does not say of its answer; the same for many, and so made once."""
        target, revision = answered.target, self._revision()
        place = target, answered.drawn, answered.number, revision
        words = self._words.get(place)
        if words is None:
            if len(self._words) >= KEPT_WORDS:
                self._words.clear()
            words = self._words[place] = orjson.dumps(
                {
                    "instance": self._outlet.instance,
                    "kind": "request",
                    "digest": self._served.digests.get(target),
                    "revision": revision,
                    "sampling_fraction": self._sample / 100,
                    **drawn_side(self._served, answered.drawn, answered.number),
                    "whole": self._whole,
                }
            )
        return words


def drawn_side(served: ServedRollout, drawn: str | None, number: int) -> dict[str, object]:
    """Whom the draw chose, and how probable that was; nothing is known of either where nothing was drawn.

    Args:
        served: the rollout.
        drawn: the role that was.
        number: of a candidate of an A/B/n test.
    """
    target, percent = None, 0.0
    if drawn == "canary":
        found = ((arm.target, arm.weight) for arm in served.all_arms if arm.number == number)
        target, percent = next(found, (None, 0.0))
    elif drawn == "stable":
        target, percent = served.stable, served.stable_weight
    if target is None:
        return {"drawn_target": None, "propensity": None}
    return {"drawn_target": target.key, "propensity": percent / 100}


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
    """What a process records, and its one connection.

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

    @classmethod
    def of(cls, settings: NodeSettings, process: str, revision: Callable[[], int]) -> "Recording | None":
        """What a process of a node records; None where the node keeps no prediction log.

        Args:
            settings: of the node.
            process: its name there, as of `instance_name`.
            revision: of the snapshot in force.
        """
        if not settings.records:
            return None
        socket, accounts = RunDir(settings.run_dir).log_writer.socket, accounts_folder(settings.state_dir)
        return cls(socket, accounts, instance_name(settings.node, process), revision)

    def sinks(self, served: ServedRollout) -> tuple[Sink, ...]:
        """Of a rollout; none of one without `record`. On the event loop."""
        record = served.record
        if record is None:
            return ()
        outlet = self.outlet(served.rollout.model, record)
        return (RecordSink(served, record, outlet, self._revision),)

    def outlet(self, model: str, record: Record) -> Outlet:
        """Of a model; on the event loop."""
        if self._channel is None:
            self._channel = RecordChannel(self._socket, self._accounts)
        return Outlet(model, record, self._channel, self._accounts)

    async def close(self) -> None:
        """Send what is on the way."""
        if self._channel is not None:
            await self._channel.finish(FLUSH_SECONDS)
