"""`python -m benchmarks.speed.receipts`: what a receipt costs, in processor time of one thread.

A receipt by itself, made and read; and calls through a route to iris in this process, with receipts and
without, in batches that take turns, so that what else the machine does meets both. The least of the batches
is said: processor time only grows by disturbance.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from harness.system import MODELS  # noqa: E402
from router.counting.receipt import SECRET_BYTES, ReceiptKey, Receipts, read  # noqa: E402
from router.counting.recorder import StageRecorder  # noqa: E402
from router.route import Route  # noqa: E402
from router.sides.retry_budget import RetryBudget  # noqa: E402
from router.targets.targets import LocalTarget  # noqa: E402
from serving.clock import clock  # noqa: E402
from serving.models.files.repository import Repository  # noqa: E402
from serving.models.runtime import Runtime  # noqa: E402
from serving.telemetry.cells import Metrics  # noqa: E402
from serving.wire.message import Call  # noqa: E402

BATCHES = 40
CALLS = 4000
BODY = orjson.dumps(
    {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}
)


def least_us(*works: Callable[[], object]) -> list[float]:
    """Of each, the least processor time of a call over the batches, microseconds."""
    best = [float("inf")] * len(works)
    for _ in range(BATCHES):
        for place, work in enumerate(works):
            began = time.thread_time_ns()
            for _ in range(CALLS):
                work()
            best[place] = min(best[place], (time.thread_time_ns() - began) / CALLS / 1e3)
    return best


def by_themselves(receipts: Receipts) -> None:
    """Make and read."""
    assert receipts.key is not None
    stamp, keys, now = receipts.of("iris", 1), {receipts.key.id: receipts.key}, time.time()
    text = stamp.make("stable", "stable", 0, now).decode()
    made, looked = least_us(lambda: stamp.make("stable", "stable", 0, now), lambda: read(text, keys))
    print(f"make a receipt {made:.2f} us, read one {looked:.2f} us")


async def through_a_route(receipts: Receipts, folder: Path) -> None:
    """Calls to iris with and without."""
    metrics = Metrics(folder / "metrics", "worker")
    runtime = Runtime(Repository(MODELS), metrics, folder / "verified", 1)
    await runtime.load("iris", "1")

    def route(*, stamped: bool) -> Callable[[], object]:
        made = Route(
            "iris", LocalTarget(runtime.ready["iris/1"]), None, weight=0.0, sinks=(), sticky_header=None,
            timeout_seconds=10.0, recorder=StageRecorder("iris", 1, 1.0), metrics=metrics,
            budget=RetryBudget(), stamp=receipts.of("iris", 1) if stamped else None,
        )  # fmt: skip
        return lambda: made.one(Call({}, BODY, clock()))

    without, with_ = least_us(route(stamped=False), route(stamped=True))
    print(f"a call without {without:.2f} us, with a receipt {with_:.2f} us: {with_ - without:+.2f} us")
    await runtime.close()
    metrics.close()


def main() -> None:
    """Measure and print."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    receipts = Receipts("local", 0)
    receipts.key = ReceiptKey(1, os.urandom(SECRET_BYTES), time.time())
    by_themselves(receipts)
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(through_a_route(receipts, Path(name)))


if __name__ == "__main__":
    main()
