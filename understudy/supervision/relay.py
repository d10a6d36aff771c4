"""The supervisor speaks to control for the processes of its node.

Law: a process is told that control has taken its report only once control has said so; nothing is kept here
for it. Each process's report stays apart, as it was said, with its own number, so counts are taken once and
those of several workers are judged in their own order. What is newer goes out at once: a process is sent a
snapshot without waiting for control, and one that has it in force says so to control soon. A control of
before `NODES_SPEAK` hears each process by itself, through here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
import structlog

from router.hop.client import Pool
from router.sync import ANSWER_SECONDS, WAIT_SECONDS, Link, Pauses, Sync
from router.wire.report import NODES_SPEAK, WIRE, Answer, ProcessAnswer
from serving.clock import clock
from serving.errors import InvalidInput, ServingError

log = structlog.get_logger()

TELL_SECONDS: Final = 1.0
"""Between two reports of a node at rest."""
SOON_SECONDS: Final = 0.02
"""For which a report that must not wait waits for those of the other processes."""
HELD_SECONDS: Final = 5.0
"""How long control may hold the exchange for snapshots of a node that reports beside it."""
MAX_CONNECTIONS: Final = 100
"""To an older control: two of each process."""
MAX_KNOWN: Final = 2000
"""Processes of which something is remembered, before those that ended long ago are forgotten."""
_TAKEN: Final = ProcessAnswer()
_NOT_HEARD: Final = ProcessAnswer(problem="control does not say what became of this report")


class _Head(NamedTuple):
    """What of a report is looked at here."""

    instance: str
    revision: int
    base: int
    hurried: bool


class Reply(NamedTuple):
    """What a process is answered: a status of HTTP and JSON."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Said:
    """The latest report of one process that control was not told yet, and who waits for its answer."""

    body: bytes
    revision: int
    waiting: list[asyncio.Future[Reply]] = field(default_factory=list)
    hurried: list[asyncio.Future[Reply]] = field(default_factory=list)  # they take no snapshot

    def all_waiting(self) -> list[asyncio.Future[Reply]]:
        """All of them, who are left to whoever asks."""
        waiting, self.waiting, self.hurried = [*self.waiting, *self.hurried], [], []
        return waiting


class Relay:
    """Takes the reports of processes, and tells control of all of them at once.

    Args:
        sync: the exchange of the node, which control holds for snapshots.
        link: to control, for the processes of which an older one wants to hear by themselves.
    """

    def __init__(self, sync: Sync, link: Link) -> None:
        self._sync = sync
        sync.took = self.renewed
        self._link = link
        self._passing: Pool | None = None
        self._said: dict[str, _Said] = {}  # by instance
        self._urgent = asyncio.Event()
        self._passed: set[asyncio.Task[None]] = set()
        self._sent: dict[str, int] = {}  # the generation of the snapshot that each process was sent
        self._told: dict[str, int] = {}  # the revision that control was told of each process
        self._generation = 0
        self._whole = b""
        self._difference = b""
        self._base = -1  # of the difference
        self._pauses = Pauses()

    async def run(self) -> None:
        """Tell control for ever."""
        begun = clock()
        while True:
            await self._moment(begun)
            begun = clock()
            said, self._said = self._said, {}
            try:
                await self._tell(said)
            except Exception:  # a fault of ours must not cut a node off from control for ever
                log.exception("the processes of this node could not be reported")
            finally:
                self._refuse(said, "the supervisor could not report it")

    def close(self) -> None:
        """Let go of control; who still waits is told so."""
        self._refuse(self._said, "the node ends")
        if self._passing is not None:
            self._passing.close()

    async def exchange(self, body: bytes) -> Reply:
        """What a process says to control, and what it is answered.

        Raises:
            InvalidInput: it is no report.
        """
        head = _head(body)
        if self._sync.wire < NODES_SPEAK:
            return await self._pass_on(body)
        said = self._said.setdefault(head.instance, _Said(body, head.revision))
        said.body, said.revision = body, head.revision
        if head.hurried or head.base == 0 or self._told.get(head.instance) != head.revision:
            self._urgent.set()
        if not head.hurried and not self._in_step(head.instance, head.revision):
            return self._news(head.instance, head.revision)
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        (said.hurried if head.hurried else said.waiting).append(waiting)
        return await waiting

    def renewed(self, wire: Mapping[str, Any]) -> None:
        """A newer snapshot is in force in the supervisor: hand it to those who wait."""
        self._generation += 1
        self._whole = self._difference = b""
        self._base = wire.get("base", -1)
        if self._base >= 0:
            self._difference = orjson.dumps(wire)
        for instance, said in self._said.items():
            waiting, said.waiting = said.waiting, []
            for each in waiting:
                _settle(each, self._news(instance, said.revision))

    @property
    def _wire(self) -> int:
        """The contract between processes and control: what they say goes on as it is."""
        return min(WIRE, self._sync.wire)

    # ------------------------------------------------------------------ snapshots

    def _in_step(self, instance: str, revision: int) -> bool:
        """Whether a process has what the supervisor has: by its revision, and as it was sent from here."""
        if self._sync.revision == 0:
            return True  # nothing is known here
        return revision == self._sync.revision and self._sent.get(instance) == self._generation

    def _news(self, instance: str, revision: int) -> Reply:
        """The snapshot, for a process whose report control is yet to be told."""
        news = self._snapshot(instance, revision)
        return _reply(self._wire, self._sync.revision, news, relayed=False)

    def _snapshot(self, instance: str, revision: int) -> bytes:
        """What is newer to a process, or everything, which is also what one that could not use it gets."""
        follows = self._sent.get(instance) == self._generation - 1 and revision == self._base
        self._sent[instance] = self._generation
        if follows and self._difference:
            return self._difference
        self._whole = self._whole or self._sync.snapshot()
        return self._whole

    # ------------------------------------------------------------------ control

    async def _moment(self, begun: float) -> None:
        """Wait until control is to be told."""
        try:
            async with asyncio.timeout(begun + TELL_SECONDS - clock()):
                await self._urgent.wait()
            await asyncio.sleep(SOON_SECONDS)
        except TimeoutError:
            pass
        self._urgent.clear()

    async def _tell(self, said: Mapping[str, _Said]) -> None:
        try:
            answer = await self._sync.tell([each.body for each in said.values()])
        except ServingError as error:
            self._refuse(said, str(error))
            await asyncio.sleep(self._pauses.next())
            return
        self._pauses.begin_anew()
        if answer.wire < NODES_SPEAK or answer.processes is None:
            self._sync.wait_seconds = WAIT_SECONDS
            self._pass_all_on(said)
            return
        self._sync.wait_seconds = HELD_SECONDS
        for instance, each in said.items():
            self._answer(instance, each, answer, answer.processes.get(instance, _NOT_HEARD))
        if len(self._told) + len(self._sent) > MAX_KNOWN:  # of processes that ended long ago
            self._told = {name: self._told[name] for name in said if name in self._told}
            self._sent = {name: self._sent[name] for name in said if name in self._sent}

    def _answer(self, instance: str, said: _Said, answer: Answer, taken: ProcessAnswer) -> None:
        """Tell a process what became of its report."""
        if taken.problem:
            for waiting in said.all_waiting():
                _settle(waiting, _refusal(400, taken.problem))
            return
        if not taken.whole:
            self._told[instance] = said.revision
        for waiting in said.waiting:
            current = self._in_step(instance, said.revision)
            news = None if current else self._snapshot(instance, said.revision)
            _settle(waiting, _reply(self._wire, answer.revision, news, relayed=True, taken=taken))
        for waiting in said.hurried:
            _settle(waiting, _reply(self._wire, answer.revision, None, relayed=True, taken=taken))

    def _refuse(self, said: Mapping[str, _Said], reason: str) -> None:
        """Those who wait yet are to report again."""
        for each in said.values():
            for waiting in each.all_waiting():
                _settle(waiting, _refusal(503, reason))

    def _pass_all_on(self, said: Mapping[str, _Said]) -> None:
        """To a control that wants to hear each by itself."""

        async def pass_on(body: bytes, waiting: Sequence[asyncio.Future[Reply]]) -> None:
            reply = await self._pass_on(body)
            for each in waiting:
                _settle(each, reply)

        for each in said.values():
            self._passed.add(task := asyncio.create_task(pass_on(each.body, each.all_waiting())))
            task.add_done_callback(self._passed.discard)

    async def _pass_on(self, body: bytes) -> Reply:
        """Ask an older control, which may hold it."""
        if self._passing is None:
            self._passing = self._link.pool(MAX_CONNECTIONS)
        deadline = clock() + WAIT_SECONDS + ANSWER_SECONDS
        try:
            reply = await self._passing.post(b"/v1/sync", self._link.headers, body, deadline)
        except ServingError as error:
            return _refusal(503, str(error))
        return Reply(reply.status, reply.body)


def _head(body: bytes) -> _Head:
    """Of a report.

    Raises:
        InvalidInput: it is none.
    """
    try:
        said = orjson.loads(body)
        return _Head(str(said["instance"]), int(said["revision"]), int(said["base"]), not said["wait"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"no report of a process: {error}") from None


def _reply(
    wire: int, revision: int, snapshot: bytes | None, *, relayed: bool, taken: ProcessAnswer = _TAKEN
) -> Reply:
    """As control would answer.

    Args:
        wire: the contract in which control is told what the process says.
        revision: that control has in force, as far as it is known.
        snapshot: what is newer, as JSON; None for nothing.
        relayed: whether control has taken the report.
        taken: what control said of it.
    """
    answer: dict[str, Any] = {
        "wire": wire,
        "revision": revision,
        "snapshot": None if snapshot is None else orjson.Fragment(snapshot),
        "whole": taken.whole,
        "relayed": relayed,
    }
    if taken.receipt_keys is not None:
        answer["receipt_keys"] = [row.model_dump() for row in taken.receipt_keys]
    return Reply(200, orjson.dumps(answer))


def _refusal(status: int, reason: str) -> Reply:
    return Reply(status, orjson.dumps({"error": reason}))


def _settle(waiting: asyncio.Future[Reply], reply: Reply) -> None:
    """Answer, unless who waited has gone."""
    if not waiting.done():
        waiting.set_result(reply)
