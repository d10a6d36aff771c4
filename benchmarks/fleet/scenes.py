"""What is played with the fleet: rest, edits, traffic, a restart of control, the end of its leader."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.fleet.controls import Control
from benchmarks.fleet.hosts import Acknowledged, Host, traffic

RAMP_SECONDS = 3.0
"""For which the hosts come one after the other."""
SETTLED_SECONDS = 5.0
"""Before something is measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large it is.

    Attributes:
        nodes: simulated hosts.
        processes: of each, with a supervisor beside them.
        rollouts: in force.
        canaries: of them with a canary, each of which has a process of each node.
        edits: that are made in a scene.
        seconds: for which rest and traffic are looked at.
    """

    nodes: int
    processes: int
    rollouts: int
    canaries: int
    edits: int
    seconds: float

    @property
    def all_processes(self) -> int:
        """That report."""
        return self.nodes * self.processes

    @property
    def models(self) -> list[str]:
        """Public names, those with canaries first."""
        return [f"model-{number:03}" for number in range(self.rollouts)]


@dataclass(frozen=True, slots=True)
class Steady:
    """A while in which nothing else happens.

    Attributes:
        control_cpu: share of a core.
        hosts_cpu: the same, of all hosts together.
        requests: of hosts at control, a second.
        reports: of processes in them, a second.
        memory_mb: of control.
        edit_p50_ms, edit_p99_ms: from the sending of an edit until control had taken a process's word that it
            is in force there, over all edits and processes.
        last_p50_ms, last_worst_ms: the same until the last of the processes, over all edits.
    """

    control_cpu: float
    hosts_cpu: float
    requests: float
    reports: float
    memory_mb: float
    edit_p50_ms: float
    edit_p99_ms: float
    last_p50_ms: float
    last_worst_ms: float


@dataclass(frozen=True, slots=True)
class Gone:
    """Control went, and one is there again; seconds since it was killed.

    Attributes:
        leads: until one said that it leads.
        written: until it had made an edit.
        first: until it had taken the report of a process.
        everybody: until it had taken one of each.
        in_force: until the edit was acknowledged by each.
        cpu_seconds: what it has used by then, its own start too where it was started.
    """

    leads: float
    written: float
    first: float
    everybody: float
    in_force: float
    cpu_seconds: float


class Fleet:
    """The hosts, and who edits.

    Args:
        plan: how many.
        url: of control, for the hosts.
    """

    def __init__(self, plan: Plan, url: str) -> None:
        self.plan = plan
        self.acknowledged = Acknowledged()
        candidates = plan.models[: plan.canaries]
        workers = plan.processes - plan.canaries
        self.hosts = [
            Host(number, url, workers, candidates, plan.models, self.acknowledged)
            for number in range(plan.nodes)
        ]
        self._chance = random.Random(1)
        self._turn = -1

    async def put_all(self, control: Control) -> None:
        """Put the rollouts."""
        async with _client(control) as client:
            for number, model in enumerate(self.plan.models):
                document = _document(1, canary=number < self.plan.canaries)
                (await client.put(f"/v1/rollouts/{model}", json=document)).raise_for_status()

    @asynccontextmanager
    async def speaking(self, revision: int) -> AsyncIterator[None]:
        """The hosts, from when control has heard all until the end of the block."""
        running = []
        for host in self.hosts:
            running.append(asyncio.create_task(host.run()))
            await asyncio.sleep(RAMP_SECONDS / len(self.hosts))
        try:
            await self.acknowledged.everywhere(self.plan.all_processes, revision)
            yield
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for host in self.hosts:
                host.close()

    async def edit(self, client: httpx.AsyncClient) -> int:
        """Change one of the rollouts without a canary; its revision."""
        self._turn += 1
        plain = self.plan.models[self.plan.canaries :]
        model = plain[self._turn % len(plain)]
        version = 1 + (self._turn // len(plain) + 1) % 2
        answer = await client.put(f"/v1/rollouts/{model}", json=_document(version, canary=False))
        return int(answer.raise_for_status().json()["revision"])

    async def steady(self, control: Control) -> Steady:
        """Look at it for a while, then make edits."""
        await asyncio.sleep(SETTLED_SECONDS)
        seen, began = self.acknowledged, time.perf_counter()
        before = control.cpu_seconds(), time.process_time(), seen.requests, seen.reports
        await asyncio.sleep(self.plan.seconds)
        seconds = time.perf_counter() - began
        after = control.cpu_seconds(), time.process_time(), seen.requests, seen.reports
        rates = [(now - then) / seconds for now, then in zip(after, before, strict=True)]
        return Steady(*rates, control.memory_mb(), *await self._edits(control))

    async def _edits(self, control: Control) -> tuple[float, float, float, float]:
        each: list[float] = []
        last: list[float] = []
        async with _client(control) as client:
            for _ in range(self.plan.edits):
                await asyncio.sleep(self._chance.uniform(0.2, 1.2))  # in step with no timer
                sent = time.perf_counter()
                revision = await self.edit(client)
                await self.acknowledged.everywhere(self.plan.all_processes, revision)
                found = self.acknowledged.seconds(revision, sent)
                each += found
                last.append(max(found))
        cuts = statistics.quantiles(each, n=100)
        return cuts[49] * 1e3, cuts[98] * 1e3, statistics.median(last) * 1e3, max(last) * 1e3

    @asynccontextmanager
    async def under_traffic(self) -> AsyncIterator[None]:
        """Clients ask all workers meanwhile."""
        asking = asyncio.create_task(traffic(self.hosts))
        try:
            yield
        finally:
            asking.cancel()

    async def gone(self, control: Control, successor: Control, *, again: bool) -> Gone:
        """Kill the leader.

        Args:
            control: the leader.
            successor: who leads then; the same one, where it is started again.
            again: whether to start it.
        """
        self.acknowledged.forget()
        cpu = 0.0 if again else successor.cpu_seconds()
        killed = time.perf_counter()
        await asyncio.to_thread(control.kill)
        self.acknowledged.forget()
        if again:
            successor.start()
        leads = await _until(successor, killed)
        async with _client(successor) as client:
            revision = await self._edited(client)
            written = time.perf_counter() - killed
        await self.acknowledged.everywhere(self.plan.all_processes, 0)
        everybody = time.perf_counter() - killed
        await self.acknowledged.everywhere(self.plan.all_processes, revision)
        in_force = time.perf_counter() - killed
        first = min(at for at, *_ in self.acknowledged.events) - killed
        return Gone(leads, written, first, everybody, in_force, successor.cpu_seconds() - cpu)

    async def _edited(self, client: httpx.AsyncClient) -> int:
        """Try an edit until it is made."""
        while True:
            try:
                return await self.edit(client)
            except httpx.HTTPError:
                await asyncio.sleep(0.01)


def _client(control: Control) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=control.url, timeout=30.0, trust_env=False)


async def _until(control: Control, since: float) -> float:
    """Ask until it leads; seconds since then."""
    async with _client(control) as client:
        while True:
            try:
                if (await client.get("/readyz/lead")).status_code == 200:
                    return time.perf_counter() - since
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.01)


def _document(version: int, *, canary: bool) -> dict[str, Any]:
    if not canary:
        return {"stable": f"digits/{version}"}
    return {
        "stable": "digits/1",
        "canary": {"model": "digits/2", "weight": 10, "mirror": 10},
        "guards": {"errors": {"maxRatio": 2, "max": 0.05}},
    }
