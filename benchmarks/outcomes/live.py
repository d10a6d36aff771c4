"""`python -m benchmarks.outcomes.live --runs 20`: labels and segments decide rollouts, on real processes.

One `understudy up`, several public names side by side, each with a Poisson stream of requests; stable and
candidate are URLs of `benchmarks.outcomes.live_server`, and clients tell the truth by receipts. Writes
docs/benchmarks/outcomes-live.json and, from it, outcomes-live.md.
"""

import argparse
import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import orjson

from benchmarks.outcomes.live_report import write
from benchmarks.outcomes.live_server import Clients
from benchmarks.tools.stand_in import admin_door, started, until

RATE = 100.0
START_SECONDS = 60.0
PATIENCE_SECONDS = 420.0
"""More than the steps of the document may take."""
ENDS = {"promoted", "rolled_back", "paused"}
STABLE = "0.9/0.05/0.05/0"
CANDIDATES = {
    "better: right about 95%": "0.95/0.05/0.05/1",
    "equal": "0.9/0.05/0.05/1",
    "worse: right about 80%": "0.8/0.05/0.05/1",
    "fails 10 times as often in one of 20 segments": "0.9/0.05/0.5/1",
}
DOCUMENT = {
    "outcomes": {"label": {"output": "label", "within": "1h"}},
    "segments": {"header": "x-segment", "max": 20},
    "guards": {
        "accuracy": {"outcome": "label", "margin": "5%"},
        "errors": {"maxRatio": 1.5, "max": "10%"},
        "segments": {"guard": "errors"},
    },
    "compare": {"label": "exact"},
    "alpha": "1%",
    "timeout": "10s",  # on a busy machine a place may not get to run for longer than the default
    "keepWarm": "0s",
}
STEPS = [{"setWeight": 50}, {"pause": {"duration": "120s"}}, {"prove": {"max": "4m"}}]


@dataclass(frozen=True, slots=True)
class Run:
    """One rollout.

    Attributes:
        case: its candidate.
        end: promoted, rolled_back or paused; `late` where it did none of these in time.
        guard: that took the candidate off; empty where none did.
        told: outcomes taken from its beginning to its end.
        decided: labels of requests that both answered when accuracy was first proven or harmful; 0 where it
            never was.
        pairs: the same when it ended.
        seconds: from its beginning to its end.
        reason: as the rollout says it.
    """

    case: str
    end: str
    guard: str
    told: int
    decided: int
    pairs: int
    seconds: float
    reason: str


class Lane:
    """One public name, run after run.

    Args:
        admin: client of the admin door.
        port: of the public door.
        servers: URL of the stand-ins.
        name: the public name.
    """

    def __init__(self, admin: httpx.AsyncClient, port: int, servers: str, name: str) -> None:
        self.runs: list[Run] = []
        self.clients = Clients(port, name, RATE)
        self._admin, self._servers, self._name = admin, servers, name

    async def take(self, jobs: "asyncio.Queue[str]") -> None:
        """Take jobs while there are any."""
        await self._put()
        await self._served()
        asking = asyncio.create_task(self.clients.run())
        while not jobs.empty():
            self.runs.append(await self._one(jobs.get_nowait()))
            print(f"{self._name} {self.runs[-1]}", flush=True)
            if asking.done():
                asking.result()  # why it ended
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        self.clients.close()

    async def _one(self, case: str) -> Run:
        await self._put(CANDIDATES[case])
        began, told = time.monotonic(), self.clients.told["accepted"]
        end, decided = await self._end()
        seconds, told = time.monotonic() - began, self.clients.told["accepted"] - told
        reason = (await self._view())["status"]["reason"]
        guard, pairs = reason.partition(":")[0] if end == "rolled_back" else "", await self._last_pairs()
        await self._put()  # without the candidate, before the next
        decided = pairs if guard == "accuracy" else decided  # it is taken off before anyone can look
        return Run(case, end, guard, told, decided, pairs, seconds, reason)

    async def _put(self, candidate: str = "") -> None:
        document: dict[str, Any] = {
            **DOCUMENT,
            "stable": {"model": "digits/1", "url": f"{self._servers}/{STABLE}"},
        }
        if candidate:
            url = f"{self._servers}/{candidate}"
            document["canary"] = {"model": "digits/2", "url": url, "steps": STEPS, "mirror": 100}
        (await self._admin.put(f"/v1/rollouts/{self._name}", json=document)).raise_for_status()

    async def _view(self) -> dict[str, Any]:
        return dict((await self._admin.get(f"/v1/rollouts/{self._name}")).raise_for_status().json())

    async def _served(self) -> None:
        """Until every worker serves it."""

        async def everywhere() -> bool:
            return bool((await self._view())["in_force_everywhere"])

        if not await until(everywhere, START_SECONDS):
            raise RuntimeError(f"{self._name} is not served")

    async def _end(self) -> tuple[str, int]:
        """How the rollout ended, `late` for not at all; and the pairs until accuracy was first decided."""
        deadline, decided, fresh = time.monotonic() + PATIENCE_SECONDS, 0, False
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                phase = str((await self._view())["status"]["phase"])
                if phase in ENDS:
                    return phase, decided
                if not decided:
                    answer = await self._admin.get(f"/v1/rollouts/{self._name}/evidence")
                    pairs = _decided(answer.raise_for_status().json()["judgement"])
                    fresh = fresh or pairs == 0  # what was decided before is of the rollout before
                    decided = pairs if fresh else 0
            await asyncio.sleep(0.2)
        return "late", decided

    async def _last_pairs(self) -> int:
        """Labels of requests that both answered, by the evidence of the last decision."""
        history = (await self._admin.get(f"/v1/rollouts/{self._name}/history")).raise_for_status().json()
        return _pairs(next(row["evidence"] for row in history if row["evidence"] is not None))


def _decided(judgement: Mapping[str, Any] | None) -> int:
    """The pairs of a verdict on accuracy; 0 where there is none yet."""
    verdicts = {guard["guard"]: guard["verdict"] for guard in (judgement or {"guards": ()})["guards"]}
    return _pairs(judgement) if judgement and verdicts.get("accuracy") in {"proven", "harmful"} else 0


def _pairs(judgement: Mapping[str, Any]) -> int:
    """Labels of requests that both answered, as the guard on accuracy tells of them."""
    found = (re.search(r"of ([\d,]+) labels of label only", guard["reason"]) for guard in judgement["guards"])
    return next((int(each[1].replace(",", "")) for each in found if each), 0)


async def measure(runs: int, lanes: int) -> Mapping[str, Any]:
    """All runs of all candidates, in turn, so that a quiet or busy hour of the machine meets each alike."""
    jobs: asyncio.Queue[str] = asyncio.Queue()
    for _ in range(runs):
        for case in CANDIDATES:
            jobs.put_nowait(case)
    with started("benchmarks.outcomes.live_server") as (port, admin_port, url):
        async with admin_door(admin_port) as admin:
            found = [Lane(admin, port, url, f"lane{number}") for number in range(lanes)]
            async with asyncio.TaskGroup() as group:
                for lane in found:
                    group.create_task(lane.take(jobs))
    statuses = sum((lane.clients.statuses for lane in found), Counter[int]())
    return {
        "cases": list(CANDIDATES),
        "rate": RATE,
        "lanes": lanes,
        "client_statuses": {str(status): count for status, count in sorted(statuses.items())},
        "told": dict(sum((lane.clients.told for lane in found), Counter[str]())),
        "runs": [asdict(run) for lane in found for run in lane.runs],
    }


def main() -> None:
    """Measure, then write the page and its raw figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outcomes.live", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each candidate")
    parser.add_argument("--lanes", type=int, default=4, help="public names side by side")
    parser.add_argument("--note", default="", help="what the page should say about the machine")
    parser.add_argument("--report", action="store_true", help="only write the page from the raw figures")
    arguments = parser.parse_args()
    if arguments.report:
        write(None)
        return
    found = asyncio.run(measure(arguments.runs, arguments.lanes))
    write(orjson.dumps({**found, "note": arguments.note}, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
