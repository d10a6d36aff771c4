"""An object store that is away while a node records into it: does the ledger add up, what do clients feel?

One node with one worker and `record: {}` on a core writes into a real S3 server (SeaweedFS) on the other;
requests come at a steady rate, whatever the answers do. The store is killed, and started again after a while.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tools.bench import LOAD_CORE, ROOT
from benchmarks.tools.ours import Ours, ours

sys.path.insert(0, str(ROOT / "tests"))

from harness.object_store import ObjectStore, object_store
from harness.system import START_SECONDS, eventually

ROLLOUTS = "iris: {stable: iris/1, record: {}}\n"
INFER = "/v2/models/iris/infer"
ROLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played.

    Attributes:
        rate: requests a second.
        flowers: rows of iris in a request: 36 bytes each with the answer, in binary.
        calm_seconds: before the store goes, and after it is told to come back.
        away_seconds: for which it is away.
        until_dropped: whether it then stays away until a row was dropped, for as long again at a time.
    """

    rate: float
    flowers: int
    calm_seconds: float
    away_seconds: float
    until_dropped: bool = False


@dataclass(frozen=True, slots=True)
class Away:
    """What clients, accounts and files say.

    Attributes:
        plan: that was played.
        clients: answers of status 200.
        failed: others.
        p50_us, p99_us: latency of each phase: before, away, after.
        worker_us: processor time of the worker for a request, likewise: what a busy machine changes least.
        waiting: rows that waited when the store was told to come back.
        outcomes: of the accounts, added up; `rows` are those in the files.
        check: the exit code of `understudy records check`.
        differences: that it names.
    """

    plan: Plan
    clients: int
    failed: int
    p50_us: dict[str, float]
    p99_us: dict[str, float]
    worker_us: dict[str, float]
    waiting: int
    outcomes: dict[str, int]
    check: int
    differences: list[str]


def body(flowers: int) -> tuple[bytes, list[str]]:
    """A request in binary that asks for an answer in binary, and its headers."""
    values = np.random.default_rng(7).normal(4.0, 1.5, (flowers, 4)).astype(np.float32).tobytes()
    tensor = {
        "name": "features",
        "datatype": "FP32",
        "shape": [flowers, 4],
        "parameters": {"binary_data_size": len(values)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = [f"inference-header-content-length: {len(head)}", "content-type: application/octet-stream"]
    return head + values, headers


def played(plan: Plan, folder: Path) -> Away:
    """Play it.

    Args:
        plan: what.
        folder: empty; for everything that is written.
    """
    with object_store(folder / "store", LOAD_CORE) as store:
        place = f"{store.bucket('logs')}/{plan.flowers}"
        environment = {**os.environ, **store.environment}
        options = ("--records", place, "--records-roll-seconds", f"{ROLL_SECONDS:g}")
        with ours(
            folder / "node", ROLLOUTS, models=ROOT / "models", options=options, environment=environment
        ) as system:
            phases, waiting = _phases(plan, system, store)
        check = _checked(place, folder / "node" / "state", environment)
    outcomes: dict[str, int] = {}
    for row in check["accounts"]:
        for name, count in row.items():
            if isinstance(count, int):
                outcomes[name] = outcomes.get(name, 0) + count
    failed = sum(int(phase["failed"]) for phase in phases.values())
    return Away(
        plan,
        sum(int(phase["answered"]) for phase in phases.values()) - failed,
        failed,
        {name: phase["p50_us"] for name, phase in phases.items()},
        {name: phase["p99_us"] for name, phase in phases.items()},
        {name: phase["worker_us"] for name, phase in phases.items()},
        waiting,
        outcomes,
        check["code"],
        check["differences"],
    )


def _phases(plan: Plan, system: Ours, store: ObjectStore) -> tuple[dict[str, dict[str, float]], int]:
    """Figures of the sender before, while the store is away, and after; and the rows that waited."""
    phases = {"before": _sent(plan, system, plan.calm_seconds)}
    store.kill()
    away = phases["away"] = _sent(plan, system, plan.away_seconds)
    while plan.until_dropped and not system.metric("understudy_records_total", outcome="store_away"):
        more = _sent(plan, system, plan.away_seconds)
        away |= {name: away[name] + more[name] for name in ("answered", "failed")}
    waiting = int(system.metric("understudy_records_pending", model="iris"))
    store.start()
    phases["after"] = _sent(plan, system, plan.calm_seconds)
    eventually(
        lambda: not system.metric("understudy_records_pending", model="iris"),
        "every row is written or dropped",
        START_SECONDS,
    )
    return phases, waiting


def _sent(plan: Plan, system: Ours, seconds: float) -> dict[str, float]:
    data, headers = body(plan.flowers)
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "benchmarks.tools.open_loop"]
    arguments = [str(system.port), INFER, f"{plan.rate:g}", f"{seconds:g}", *headers]
    before = system.cpu_seconds()["worker"]
    done = subprocess.run([*command, *arguments], input=data, capture_output=True, check=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    found["worker_us"] = (system.cpu_seconds()["worker"] - before) / found["answered"] * 1e6
    print(found, flush=True)
    return found


def _checked(place: str, state: Path, environment: Mapping[str, str]) -> dict:
    """What `understudy records check` says, and its exit code."""
    command = [sys.executable, "-m", "understudy", "records", "check", "--records", place, "--json"]
    done = subprocess.run(
        [*command, "--state-dir", str(state)],
        capture_output=True, text=True, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    return {**json.loads(done.stdout), "code": done.returncode}
