"""`python -m benchmarks.speed.stalls`: how long a worker's event loop is kept by edits of 200 rollouts.

A worker's table of routes and its `router.sync` in this process, with 200 rollouts of one bundled model, each
without a canary (the probes of 200 sandboxes that are not there would measure themselves). It is given what
control sends as bytes: all of it, as after a restart of control, then differences, in which one rollout after
another is edited, and then all of them; after each it makes its report and encodes it. Beside it a task
comes round as often as the loop lets it. A stall is the processor time of the loop's thread between two of
its turns: what a request waits that comes just then, without what other work on the machine adds.
"""

import asyncio
import datetime as dt
import gc
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import orjson

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks.tools.bench import machine  # noqa: E402
from harness.system import MODELS  # noqa: E402
from router.rollout.parser import parse_one  # noqa: E402
from router.rollout.snapshot import ServedRollout, Snapshot  # noqa: E402
from router.route_table import RouteTable  # noqa: E402
from router.settings import WorkerSettings  # noqa: E402
from router.sync import Link, Sync  # noqa: E402
from router.wire.report import Report  # noqa: E402
from router.wire.snapshot import to_wire  # noqa: E402
from serving.telemetry.cells import Metrics  # noqa: E402

ROLLOUTS = 200
EDITS = 100
AT_ONCE = 20
PAGE = ROOT / "docs" / "benchmarks" / "stalls.md"


def served(number: int, timeout: int) -> ServedRollout:
    """One rollout; the timeout is what an edit changes."""
    rollout = parse_one(f"m{number}", f"stable: digits/1\ntimeout: {timeout}s", "benchmark")
    return ServedRollout(rollout, 1, rollout.stable)


class Worker:
    """A table that takes bytes, and the stalls of its loop by what it did then."""

    def __init__(self, folder: Path) -> None:
        settings = WorkerSettings(
            state_dir=folder, models=MODELS, run_dir=folder, control="http://127.0.0.1:1"
        )
        self._metrics = Metrics(folder / "metrics", "worker")
        self._table = RouteTable(settings, self._metrics)
        self._sync = Sync(Link("http://127.0.0.1:1"), None, self._report, self._table.apply)
        self._snapshot = Snapshot()
        self.doing = ""
        self.stalls: dict[str, list[float]] = {}

    async def follow_the_loop(self) -> None:
        """Note the longest turn of each task's time, for ever."""
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            if self.doing:
                self.stalls.setdefault(self.doing, []).append(now - last)
            last = now

    async def take(self, doing: str, rollouts: dict[str, ServedRollout], *, difference: bool = True) -> None:
        """As in an exchange: read what control sends and apply it, make the next report, have it answered."""
        base = self._snapshot if self._snapshot.revision else None
        self._snapshot = Snapshot(self._snapshot.revision + 1, rollouts)
        body = orjson.dumps(to_wire(self._snapshot, base if difference else None))
        await asyncio.sleep(0)
        self.doing = doing
        await asyncio.sleep(0)
        await self._sync.take(orjson.loads(body))
        self.doing = doing and f"{doing}: the report after it"
        await asyncio.sleep(0)
        await self._sync.body(0.0)
        self._sync.ledger.answered()
        await asyncio.sleep(0)
        self.doing = ""

    async def _report(self) -> Report:
        served_rows, targets, counts = await self._table.report(self._snapshot.revision)
        return Report(
            instance="w", node="n", kind="worker", revision=0, wait=0.0,
            served=served_rows, targets=targets, counts=counts,
        )  # fmt: skip

    async def end(self) -> None:
        """Let go of everything."""
        self._sync.close()
        await self._table.stop()
        self._metrics.close()


async def measure(folder: Path) -> dict[str, list[float]]:
    """The stalls, by what was done."""
    worker = Worker(folder)
    following = asyncio.create_task(worker.follow_the_loop())
    rollouts = {f"m{number}": served(number, 5) for number in range(ROLLOUTS)}
    await worker.take("", rollouts)  # the model is loaded here, in a thread
    gc.freeze()  # as a worker does once it has begun
    for _ in range(AT_ONCE):
        await worker.take(f"the same {ROLLOUTS} again, whole", rollouts, difference=False)
    for number in range(EDITS):
        rollouts = {**rollouts, f"m{number}": served(number, 6)}
        await worker.take("one edit", rollouts)
    for timeout in range(7, 7 + AT_ONCE):
        rollouts = {f"m{number}": served(number, timeout) for number in range(ROLLOUTS)}
        await worker.take(f"all {ROLLOUTS} edited at once", rollouts)
    following.cancel()
    await worker.end()
    return worker.stalls


def row(what: str, seconds: list[float]) -> str:
    """A row of the table."""
    late = sum(value > 0.005 for value in seconds)
    times = [f"{value * 1e3:.2f} ms" for value in (statistics.median(seconds), max(seconds))]
    return f"| {what} | {len(seconds):,} | {' | '.join(times)} | {late} |"


def main() -> None:
    """Measure, and write the page."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        stalls = asyncio.run(measure(Path(folder)))
    about = (__doc__ or "").partition("\n\n")[2].strip()
    rows = "\n".join(row(what, seconds) for what, seconds in stalls.items())
    text = f"""# How long edits of 200 rollouts keep a worker

{about}

{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, {EDITS} single edits and {AT_ONCE} of all,
`python -m benchmarks.speed.stalls`, {machine()}.
Load average before: {load:.1f}; above 1, other work shared the machine.

| while | turns of the loop | median | longest | longer than 5 ms |
|---|---|---|---|---|
{rows}
"""
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
