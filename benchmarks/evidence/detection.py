"""`python -m benchmarks.evidence.detection --runs 30`: how soon real processes take off a bad canary.

One `understudy up`, several public names side by side, each with 100 requests/s in a Poisson stream and a
canary at 10%, `alpha: 1%`, three enforced guards. Stable and canary are URLs of
benchmarks.evidence.detection_server, which also counts what the candidate was really asked. Before each run
stable alone gets five seconds of the traffic, from which the latency guard takes its edges. Beside each
figure stands the simulated one of benchmarks/policies; Flagger and Argo Rollouts are replayed there at the
same rates.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import orjson

from benchmarks.evidence.detection_report import CASES, RAW, Case, write
from benchmarks.evidence.detection_server import Asker
from benchmarks.tools.stand_in import admin_door, started, until

RATE = 100.0
WEIGHT = 10
STABLE_ERRORS = 0.005
BASELINE_SECONDS = 5.0
GUARDS = {
    "errors": {"maxRatio": 1.5, "max": "1%"},
    "latency": {"maxRatio": 1.25},
    "agreement": {"output": "label", "min": "98%"},
}


@dataclass(frozen=True, slots=True)
class Run:
    """One canary.

    Attributes:
        case: its name.
        rolled_back: whether it was within the case's patience.
        asked: requests that the candidate got, mirrored ones included.
        bad: those of them that it failed or answered otherwise than stable.
        seconds: from the first of them to the last.
        reason: of the rollback.
    """

    case: str
    rolled_back: bool
    asked: int
    bad: int
    seconds: float
    reason: str


class Bench:
    """A running node and the stand-in servers.

    Args:
        admin: client of its admin door.
        port: of its public door.
        servers: URL of the stand-ins.
    """

    def __init__(self, admin: httpx.AsyncClient, port: int, servers: str) -> None:
        self.admin, self.port, self.servers = admin, port, servers
        self.runs: list[Run] = []
        self.clients: Counter[int] = Counter()
        self._numbers = iter(range(10**6))

    async def lane(self, name: str, jobs: "asyncio.Queue[Case]") -> None:
        """Under one public name, run after run while there are jobs."""
        asker = Asker(self.port, name, RATE)
        await self._put(name)
        await until(lambda: self._ready(name), 30.0)
        asking = asyncio.create_task(asker.run())
        while not jobs.empty():
            self.runs.append(await self._one(name, jobs.get_nowait()))
            print(f"{len(self.runs)} {self.runs[-1]}", flush=True)
            if asking.done():
                asking.result()  # why it ended
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        asker.close()
        self.clients += asker.statuses

    async def _one(self, name: str, case: Case) -> Run:
        await self._put(name)
        await asyncio.sleep(BASELINE_SECONDS)
        number = next(self._numbers)
        url = f"{self.servers}/{number}/{case.errors}/{case.slower}/{case.disagreement}"
        await self._put(name, url, case.mirror)
        rolled_back = await until(lambda: self._rolled_back(name), case.patience)
        view = (await self.admin.get(f"/v1/rollouts/{name}")).json()
        await asyncio.sleep(0.5)  # what was under way is counted too
        asked, failed, otherwise, first, last = await self.counted(str(number))
        bad, reason = int(failed + otherwise), view["status"]["reason"]
        return Run(case.name, rolled_back, int(asked), bad, last - first, reason)

    async def counted(self, name: str) -> list[float]:
        """What the stand-ins counted under a name."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return list((await client.get(f"{self.servers}/{name}")).json())

    async def _put(self, name: str, canary: str = "", mirror: float = 0) -> None:
        stable = f"{self.servers}/stable/{STABLE_ERRORS}/1/0"
        document: dict[str, Any] = {"stable": {"model": "digits/1", "url": stable}, "guards": GUARDS}
        document |= {"alpha": "1%", "compare": {"label": "exact"}, "keepWarm": "0s"}
        if canary:
            steps = [{"setWeight": WEIGHT}, {"pause": {}}]
            document["canary"] = {"model": "digits/2", "url": canary, "steps": steps, "mirror": mirror}
        (await self.admin.put(f"/v1/rollouts/{name}", json=document)).raise_for_status()

    async def _ready(self, name: str) -> bool:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False) as client:
            return (await client.get(f"/v2/models/{name}/ready")).status_code == 200

    async def _rolled_back(self, name: str) -> bool:
        view = (await self.admin.get(f"/v1/rollouts/{name}")).json()
        return bool(view["status"]["phase"] == "rolled_back")


async def measure(cases: Sequence[Case], runs: int, lanes: int) -> Mapping[str, Any]:
    """All runs of all cases, in turn, so that a quiet or busy hour of the machine meets each alike."""
    jobs: asyncio.Queue[Case] = asyncio.Queue()
    for _ in range(runs):
        for case in cases:
            jobs.put_nowait(case)
    began = time.monotonic()
    with started("benchmarks.evidence.detection_server") as (port, admin_port, url):
        async with admin_door(admin_port) as admin, asyncio.TaskGroup() as group:
            bench = Bench(admin, port, url)
            for lane in range(lanes):
                group.create_task(bench.lane(f"lane{lane}", jobs))
        return {
            "stable_failures": (await bench.counted("stable"))[1],
            "runs_each": runs,
            "lanes": lanes,
            "seconds": round(time.monotonic() - began),
            "client_statuses": {str(status): count for status, count in sorted(bench.clients.items())},
            "runs": [asdict(run) for run in bench.runs],
        }


def merged(found: Mapping[str, Any], measured: Collection[str]) -> Mapping[str, Any]:
    """The figures of now, and those of last time of the cases that were not measured."""
    if len(measured) == len(CASES):
        return found
    before = orjson.loads(RAW.read_bytes())
    kept = [run for run in before["runs"] if run["case"] not in measured]
    clients = Counter(before["client_statuses"]) + Counter(found["client_statuses"])
    return {
        **found,
        "runs": [*kept, *found["runs"]],
        "client_statuses": dict(clients),
        "stable_failures": before["stable_failures"] + found["stable_failures"],
        "seconds": before["seconds"] + found["seconds"],
    }


def main() -> None:
    """Measure, then write docs/benchmarks/detection.md and its raw figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.detection", description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="of each case")
    parser.add_argument("--lanes", type=int, default=5, help="public names side by side")
    parser.add_argument("--case", action="append", help="only this one, beside the others of last time")
    parser.add_argument("--note", default="", help="what the page should say about the machine")
    parser.add_argument("--report", action="store_true", help="only write the page from the raw figures")
    arguments = parser.parse_args()
    if not arguments.report:
        cases = [case for case in CASES if arguments.case is None or case.name in arguments.case]
        found = asyncio.run(measure(cases, arguments.runs, arguments.lanes))
        found = merged(found, {case.name for case in cases})
        raw = orjson.dumps({**found, "note": arguments.note}, option=orjson.OPT_INDENT_2)
        write(raw)
    else:
        write(None)


if __name__ == "__main__":
    main()
