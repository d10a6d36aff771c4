"""Simulated hosts: the relay, the exchange and the counts of real processes, without models and requests.

What a node says to control is said by the code that says it on a real node: `Relay` and `Sync` of its
supervisor over TCP, and of each process a `Sync` with its ledger and `StageRecorder`s. Three things are not
as there: a process reaches its supervisor by a call and not by a Unix socket, a rollout that one process has
parsed is not parsed again by the others, since all hosts together have one core here; and nothing is loaded,
so what a snapshot asks for is ready at once.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

import router.wire.snapshot as wire_snapshot
from router.counting.recorder import StageRecorder
from router.hop.client import Address, Body, ClientReply, Pool
from router.rollout.snapshot import ServedRollout, Snapshot
from router.sync import Link, Sync
from router.wire.node_use import Answered, MachineUse, NodeUse, ProcessUse
from router.wire.report import Exchange, Report, ServedReport, StageReport, TargetReport
from understudy.supervision.relay import Relay

BUCKETS = 16
"""Of latencies in what a supervisor tells of its traffic."""
COUNTED = 50
"""Requests that a worker counts each second of a rollout with a canary, under traffic."""


class Acknowledged:
    """When control had taken a process's word that a revision is in force there.

    Attributes:
        newest: revision by process.
        reports: of processes that control has taken.
        requests: that hosts have made of control.
    """

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}
        self.events: list[tuple[float, str, int]] = []
        self.reports = 0
        self.requests = 0

    def took(self, instance: str, revision: int) -> None:
        """Control has answered for a report of this process with this revision."""
        self.reports += 1
        if revision > self.newest.get(instance, -1):
            self.newest[instance] = revision
            self.events.append((time.perf_counter(), instance, revision))

    def forget(self) -> None:
        """From now on each process has to be heard again."""
        self.newest.clear()
        self.events.clear()

    async def everywhere(self, processes: int, revision: int, seconds: float = 120.0) -> None:
        """Wait until so many processes have this revision, or a newer one.

        Raises:
            TimeoutError: they have not, in so many seconds.
        """
        async with asyncio.timeout(seconds):
            while sum(known >= revision for known in self.newest.values()) < processes:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def seconds(self, revision: int, since: float) -> list[float]:
        """Of each process, how long after `since` it was taken to have this revision or a newer one."""
        first: dict[str, float] = {}
        for at, instance, known in self.events:
            if known >= revision and at >= since:
                first.setdefault(instance, at - since)
        return list(first.values())


class _Beside(Pool):
    """A process's way to its supervisor: a call, in place of a Unix socket."""

    def __init__(self, relay: Relay, heard: Callable[[int], None]) -> None:
        super().__init__(Address.of_socket("beside"), label="supervisor")
        self._relay = relay
        self._heard = heard
        self.sync: Sync

    def post(
        self,
        path: bytes,  # noqa: ARG002  (as of Pool)
        headers: bytes,  # noqa: ARG002
        body: Body,
        deadline: float,  # noqa: ARG002
    ) -> asyncio.Future[ClientReply]:
        """Ask the relay, and note what control has taken."""
        return asyncio.ensure_future(self._ask(bytes(body), self.sync.revision))

    async def _ask(self, body: bytes, revision: int) -> ClientReply:
        reply = await self._relay.exchange(body)
        if reply.status == 200 and b'"relayed":true' in reply.body:
            self._heard(revision)
        return ClientReply(reply.status, {}, reply.body)


@dataclass(frozen=True)
class _Inside(Link):
    """From a process to the supervisor of its host."""

    ask: Callable[[], Pool] = field(default=Pool)  # type: ignore[assignment]

    def pool(self, most: int = 2) -> Pool:  # noqa: ARG002
        """The one way."""
        return self.ask()


class Process:
    """One process of a simulated node.

    Args:
        node: its name.
        name: of the process.
        relay: of its supervisor.
        acknowledged: is told what control has taken.
        candidate: public name of the rollout whose canary it holds; empty for a worker.
    """

    def __init__(
        self, node: str, name: str, relay: Relay, acknowledged: Acknowledged, candidate: str = ""
    ) -> None:
        self.node, self.instance = node, f"{node}/{name}"
        self._candidate = candidate
        self._recorders: dict[tuple[str, int], StageRecorder] = {}
        self._rows: tuple[tuple[ServedReport, ...], tuple[TargetReport, ...]] = ((), ())
        way = _Beside(relay, partial(acknowledged.took, self.instance))
        self.sync = way.sync = Sync(_Inside("", ask=lambda: way), None, self._report, self._apply)

    def count(self, stable: int, canary: int) -> None:
        """Requests with good answers, of each rollout with a canary; in a sandbox comparisons of them."""
        for recorder in self._recorders.values():
            if self._candidate:
                recorder.compared("label", same=True)
                continue
            recorder.current.stable.requests += stable
            recorder.current.canary.requests += canary

    async def _report(self) -> Report:
        for recorder in self._recorders.values():
            recorder.rotate()
        served, targets = self._rows
        rows = tuple(
            StageReport(model=each.model, stage=each.stage, counts=each.report(self.sync.exchanges))
            for each in self._recorders.values()
        )
        kind = "sandbox" if self._candidate else "worker"
        return Report(
            instance=self.instance, node=self.node, kind=kind, revision=0, wait=0,
            served=served, targets=targets, counts=rows,
            candidate="digits/2" if self._candidate else None,
        )  # fmt: skip

    async def _apply(self, snapshot: Snapshot) -> None:
        rows = [_rows_of(served) for model, served in snapshot.rollouts.items() if self._takes(model)]
        if self._candidate:
            self._rows = (), tuple(each for row in rows for each in row.canary)
        else:
            everything = tuple(each for row in rows for each in row.targets)
            self._rows = tuple(row.served for row in rows), everything
        judged = {
            (model, served.stage): served.weight / 100.0
            for model, served in snapshot.rollouts.items()
            if served.canary is not None and self._takes(model)
        }
        self._recorders = {
            place: self._recorders.get(place) or StageRecorder(*place, weight)
            for place, weight in judged.items()
        }

    def _takes(self, model: str) -> bool:
        return self._candidate in ("", model)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What processes say of one rollout."""

    served: ServedReport
    targets: tuple[TargetReport, ...]
    canary: tuple[TargetReport, ...]


_KNOWN: dict[int, tuple[ServedRollout, _Rows]] = {}


def _rows_of(served: ServedRollout) -> _Rows:
    """Said alike by all processes, so made once."""
    known = _KNOWN.get(id(served))
    if known is not None and known[0] is served:
        return known[1]
    model = served.rollout.model
    targets = tuple(
        TargetReport(model=model, target=target.key, role=role, ready=True, sha256=served.pin(target).sha256)
        for role, target in served.roles()
    )
    stable = served.stable
    answers = ServedReport(model=model, target=stable.key, sha256=served.pin(stable).sha256)
    rows = _Rows(answers, targets, tuple(row for row in targets if row.role == "canary"))
    _KNOWN[id(served)] = served, rows
    return rows


class Host:
    """One simulated node: a supervisor and its processes.

    Args:
        number: of the node.
        control: URL.
        workers: how many.
        candidates: public names of the rollouts whose canaries it holds, each in a process.
        models: public names of all rollouts, of which its supervisor tells what was answered.
        acknowledged: is told what control has taken.
    """

    def __init__(
        self, number: int, control: str, workers: int, candidates: Iterable[str], models: Iterable[str],
        acknowledged: Acknowledged,
    ) -> None:  # fmt: skip
        self.name = f"node-{number}"
        self._acknowledged = acknowledged
        link = Link(control)
        self._sync = Sync(link, None, self._report, self._apply)
        self.relay = Relay(self._sync, link)
        names = [(f"worker-{each}", "") for each in range(workers)]
        names += [(f"sandbox-{model}", model) for model in candidates]
        self.processes = [
            Process(self.name, name, self.relay, acknowledged, candidate) for name, candidate in names
        ]
        self._answered = tuple(
            Answered(model=model, target="digits/1", role="stable", requests=10**6, failures=0,
                     latency=[10**4] * BUCKETS)
            for model in models
        )  # fmt: skip

    async def run(self) -> None:
        """Speak to control for ever."""
        speaking = [self._sync.run(), self.relay.run(), *(each.sync.run() for each in self.processes)]
        await asyncio.gather(*speaking)

    def close(self) -> None:
        """Let go of control."""
        self.relay.close()
        self._sync.close()

    async def _report(self) -> Exchange:
        self._acknowledged.requests += 1
        used = [
            ProcessUse(kind="worker", name=each.instance, pid=number, cpu_seconds=time.process_time(),
                       memory_bytes=10**8)
            for number, each in enumerate(self.processes, 1)
        ]  # fmt: skip
        machine = MachineUse(cpus=8, busy_seconds=time.process_time(), memory_bytes=10**10,
                             available_bytes=10**9)  # fmt: skip
        return Exchange(
            instance=f"{self.name}/supervisor", node=self.name, kind="node", revision=0, wait=0,
            use=NodeUse(answered=self._answered, compared=(), processes=tuple(used), machine=machine),
        )  # fmt: skip

    async def _apply(self, _: Snapshot) -> None:
        pass


def share_parsed_rollouts() -> None:
    """Let what one process has parsed of a snapshot be known to all here, which share a core."""
    parse = wire_snapshot._served  # noqa: SLF001
    known: dict[tuple[str, bytes], ServedRollout] = {}

    def parsed(model: str, wire: Mapping[str, Any]) -> ServedRollout:
        text = orjson.dumps(wire)
        found = known.get((model, text))
        if found is None:
            found = known[model, text] = parse(model, wire)
        return found

    wire_snapshot._served = parsed  # noqa: SLF001


async def traffic(hosts: Iterable[Host]) -> None:
    """Clients ask each worker of these, a tenth of them the canary, until this is cancelled."""
    while True:
        for host in hosts:
            for process in host.processes:
                process.count(COUNTED * 9 // 10, COUNTED // 10)
        await asyncio.sleep(1.0)
