"""`python -m benchmarks.robustness.ledger`: does the prediction log account for each of a million answers?

Each part by itself with `--part`, all of them without; the others keep their figures in ledger.json.

- `latency`: of 2,000 requests/s with `record: {}` and without it, in turns.
- `kills`: one node with two workers and `record: {}` answers wrk (32 connections, as fast as they can) until
  it has answered so many requests. Meanwhile the log writer and the workers are killed in turn, one each
  three seconds, and the disk of the log, a file system of its own in memory where this may be mounted, is
  full for twenty. Then the node ends, and `understudy records check` adds the files up against the accounts.
- `s3`: `benchmarks.robustness.store_away`, a minute long, with small rows and with ones that do not fit;
  needs what `make test-servers` installs.
"""

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.robustness.ledger_page import page
from benchmarks.robustness.store_away import Plan, played
from benchmarks.tools.bench import DOCS, ROOT, machine, wrk
from benchmarks.tools.ours import Ours, children, ours

PAGE, RAW = DOCS / "ledger.md", DOCS / "ledger.json"
PLAIN = "iris: {stable: iris/1}\n"
RECORDED = "iris: {stable: iris/1, record: {}}\n"
INFER = "/v2/models/iris/infer"
KILL_SECONDS = 3.0
FULL_SECONDS = 20.0
DISK_BYTES = 2 << 30
ROUNDS, ROUND_SECONDS = 5, 8.0
KINDS = ("router.record.log_writer", "router.worker")
PLANS = (
    Plan(rate=500.0, flowers=1, calm_seconds=15.0, away_seconds=60.0),
    Plan(rate=20.0, flowers=1 << 14, calm_seconds=15.0, away_seconds=60.0),
)
"""Rows that all fit into the log writer's memory for a minute (18 MB), and ones that do not (0.7 GB)."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the clients, the metrics and the accounts say.

    Attributes:
        clients: answers of status 200 that wrk saw.
        metric: `understudy_requests_total`.
        outcomes: of the accounts, added up.
        check: the exit code of `understudy records check`.
        differences: that it names.
        killed: processes, by module.
        full_seconds: for which the disk was full; 0 where none may be mounted.
        seconds: from the first request to the last.
    """

    clients: int
    metric: int
    outcomes: dict[str, int]
    check: int
    differences: list[str]
    killed: dict[str, int]
    full_seconds: float
    seconds: float


def main() -> None:
    """Measure what is wanted, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness.ledger",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the part `kills`")
    parser.add_argument("--part", choices=("latency", "kills", "s3"), action="append")
    asked = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "latency": _latencies,
        "kills": lambda: _kills(asked.requests),
        "s3": _store_away,
    }
    found: dict[str, Any] = json.loads(RAW.read_text()) if RAW.exists() else {}
    for name in asked.part or parts:
        load = os.getloadavg()[0]
        figures = parts[name]()
        when = f"{datetime.now(UTC):%d %B %Y}"
        found[name] = {"figures": figures, "date": when, "machine": machine(), "load": load}
        RAW.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))
    print(PAGE.read_text())
    ledgers = [found["kills"]["figures"], *found["s3"]["figures"]]
    if any(each["check"] or each["differences"] for each in ledgers):
        sys.exit("the ledger does not add up")


def _kills(wanted: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, _disk(Path(folder)) as (log, mounted):
        return asdict(_ledger(Path(folder), log, wanted, mounted=mounted))


def _store_away() -> list[dict[str, Any]]:
    found = []
    for plan in PLANS:
        with tempfile.TemporaryDirectory() as folder:
            found.append(asdict(played(plan, Path(folder))))
        print(found[-1], flush=True)
    return found


@contextmanager
def _disk(folder: Path) -> Iterator[tuple[Path, bool]]:
    log = folder / "log"
    log.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(log)]
    mounted = subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield log, mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(log)], check=True)


def _latencies() -> dict[str, Any]:
    """The p99 of each round in microseconds, with and without the log."""
    found: dict[str, list[float]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        systems = {
            "without": stack.enter_context(ours(Path(folder) / "a", PLAIN, models=ROOT / "models")),
            "with": stack.enter_context(
                ours(
                    Path(folder) / "b",
                    RECORDED,
                    models=ROOT / "models",
                    options=("--records", str(Path(folder) / "log")),
                )
            ),
        }
        for number in range(ROUNDS + 1):
            for name, system in systems.items():
                url = f"http://127.0.0.1:{system.port}{INFER}"
                run = wrk(url, 32, ROUND_SECONDS, system.pids["worker"], "paced.lua")
                print(name, run, flush=True)
                if number > 0:  # the first warms up
                    found[name].append(run.p99_us)
    return {"p99_us": found, "rounds": ROUNDS, "seconds": ROUND_SECONDS}


def _ledger(folder: Path, log: Path, wanted: int, *, mounted: bool) -> Ledger:
    options = ("--records", str(log), "--records-roll-seconds", "2")
    killed = dict.fromkeys(KINDS, 0)
    clients, full_from, full_until = 0, 0.0, 0.0
    filler, state = log / ".filler", folder / "node" / "state"
    with ours(
        folder / "node", RECORDED, models=ROOT / "models", cores="0,1", workers=2, options=options
    ) as system:
        began = time.monotonic()
        for kind in itertools.cycle(KINDS):
            clients += _load(system)
            answered = int(system.metric("understudy_requests_total", model="iris"))
            print(f"{answered:,} answered, killed {killed}", flush=True)
            if answered >= wanted:
                break
            if mounted and not full_from and answered > wanted / 2:
                full_from = time.monotonic()
                _fill(filler)
            if full_from and not full_until and time.monotonic() > full_from + FULL_SECONDS:
                full_until = time.monotonic()
                filler.unlink()
            _kill(system, kind)
            killed[kind] += 1
        filler.unlink(missing_ok=True)
        full_until = full_until or time.monotonic()
        seconds = time.monotonic() - began
        metric = int(system.metric("understudy_requests_total", model="iris"))
    command = [sys.executable, "-m", "understudy", "records", "check", "--records", str(log), "--json"]
    done = subprocess.run(
        [*command, "--state-dir", str(state)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    said = json.loads(done.stdout)
    outcomes: dict[str, int] = {}
    for row in said["accounts"]:
        for name, count in row.items():
            if isinstance(count, int):
                outcomes[name] = outcomes.get(name, 0) + count
    full = full_until - full_from if full_from else 0.0
    return Ledger(clients, metric, outcomes, done.returncode, said["differences"], killed, full, seconds)


def _load(system: Ours) -> int:
    """Drive it for a while, and count the good answers that came: connections end with a worker."""
    url = f"http://127.0.0.1:{system.port}{INFER}"
    script = str(ROOT / "benchmarks" / "tools" / "request.lua")
    command = ["wrk", "-t1", "-c32", f"-d{KILL_SECONDS:g}s", "-s", script, url]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return int(re.search(r"(\d+) requests in", text)[1]) - (int(bad[1]) if bad else 0)  # type: ignore[index]


def _kill(system: Ours, module: str) -> None:
    """One process of this kind, without a warning."""
    for pid in children(system.supervisor):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if module.encode() in command:
            os.kill(pid, signal.SIGKILL)
            return


def _fill(filler: Path) -> None:
    """Until nothing more fits."""
    with filler.open("wb", buffering=0) as file:
        block = bytes(1 << 20)
        try:
            while True:
                file.write(block)
        except OSError:
            return


if __name__ == "__main__":
    main()
