"""`python -m benchmarks.fleet`: a fleet at one control, into docs/benchmarks/fleet-NODESxPROCESSES.md.

Control has a core; simulated hosts (`benchmarks.fleet.hosts`), PostgreSQL and HAProxy share the other.
"""

import argparse
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.fleet.controls import Control, balanced, controls, database
from benchmarks.fleet.hosts import share_parsed_rollouts
from benchmarks.fleet.page import page
from benchmarks.fleet.scenes import Fleet, Plan
from benchmarks.tools.bench import LOAD_CORE, add_out, machine, publish
from serving.host.process import set_up_logs


async def played(plan: Plan, found: list[Control], url: str) -> dict[str, Any]:
    """All scenes; the last ones end who led."""
    leader, standby = found
    fleet = Fleet(plan, url)
    await fleet.put_all(leader)
    print(f"{plan.rollouts} rollouts are in force", flush=True)
    result: dict[str, Any] = {"plan": asdict(plan), "machine": machine(), "load_before": os.getloadavg()[0]}
    async with fleet.speaking(plan.rollouts):
        print(f"{plan.all_processes} processes are heard", flush=True)
        result["rest"] = asdict(await fleet.steady(leader))
        print(result["rest"], flush=True)
        async with fleet.under_traffic():
            result["traffic"] = asdict(await fleet.steady(leader))
            print(result["traffic"], flush=True)
            result["killed"] = asdict(await fleet.gone(leader, standby, again=False))
            print(result["killed"], flush=True)
        result["restarted"] = asdict(await fleet.gone(standby, standby, again=True))
        print(result["restarted"], flush=True)
    return {**result, "load_after": os.getloadavg()[0]}


def main() -> None:
    """Play it and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.fleet")
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--processes", type=int, default=8, help="of each node, supervisors not counted")
    parser.add_argument("--rollouts", type=int, default=100)
    parser.add_argument("--canaries", type=int, default=2, help="rollouts with one, each in a process a node")
    parser.add_argument("--edits", type=int, default=30, help="in each of two scenes")
    parser.add_argument("--seconds", type=float, default=30.0, help="of rest, and of traffic")
    parser.add_argument("--beside", default="", help="what else ran, for the page")
    add_out(parser)
    told = parser.parse_args()
    plan = Plan(told.nodes, told.processes, told.rollouts, told.canaries, told.edits, told.seconds)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    share_parsed_rollouts()
    set_up_logs("text", "error")
    with tempfile.TemporaryDirectory() as name, database() as store:
        folder = Path(name)
        with controls(folder, store, 2) as found, balanced(folder, found) as url:
            result = uvloop.run(played(plan, found, url))
    result["beside"] = told.beside
    publish(told.out, f"fleet-{told.nodes}x{told.processes}", result, page(result))


if __name__ == "__main__":
    main()
