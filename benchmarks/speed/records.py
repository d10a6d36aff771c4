"""`python -m benchmarks.speed.records`: what the prediction log costs a worker, and what its writer manages.

The worker's part: a sink and its connection to a process that reads and throws away, offered answers of iris
(four floats in JSON; a label and three probabilities). Counted is the processor time of the loop's thread for
an answer, the writes to the socket with it (50 answers a turn of the loop); least of several batches.
The writer's part: frames of these answers through `row_of`, partitions, Arrow and Parquet with zstd, in
memory, in one thread; processor time of all of it. A disk or a bucket comes on top.
"""

import asyncio
import datetime as dt
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import uvloop

from benchmarks.tools.bench import DOCS, IRIS, machine
from router.answered import Answered
from router.mirror.frame import Frame, packed, unpacked
from router.record.accounts import Accounts, instance_name
from router.record.files.footers import Footer
from router.record.files.partitions import Partitions
from router.record.files.rows import row_of
from router.record.log_writer import encoded
from router.record.sink import RecordChannel, Recording
from router.rollout.parser import parse_one
from router.rollout.snapshot import ServedRollout
from serving.wire.message import Call, Reply

PAGE = DOCS / "records.md"
BATCHES, ANSWERS, TURN = 15, 4_000, 50
ROWS = 50_000
ANSWER = orjson.dumps(
    {
        "model_name": "iris",
        "model_version": "1",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]},
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.97, 0.02, 0.01]},
        ],
    }
)
DOCUMENTS = {
    "`sample: 100%`": "{}",
    "`sample: 10%`": "{sample: 10%}",
    "`inputs: false`": "{inputs: false}",
    "`redact: [features]`": "{redact: [features]}",
}
READER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(16); print(flush=True)
while True:
    taken, _ = listener.accept()
    while taken.recv(1 << 20): pass
"""


@contextmanager
def reader(path: Path) -> Iterator[None]:
    """A process that reads what comes to a socket."""
    command = [sys.executable, "-c", READER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def answered(number: int) -> Answered:
    """An answer of iris."""
    call = Call({b"content-type": b"application/json"}, IRIS, 1000.0 + number * 1e-5)
    return Answered(call, Reply(200, ANSWER), "stable", "iris/1", "stable", 1, 0, 1000.001 + number * 1e-5)


async def cost(folder: Path, document: str) -> float:
    """Processor time of an answer in microseconds, with this in the rollout."""
    rollout = parse_one("iris", f"{{stable: iris/1, record: {document}}}", "benchmark")
    socket = folder / "writer.sock"
    socket.unlink(missing_ok=True)
    with reader(socket):
        recording = Recording(socket, folder / "accounts", instance_name("here", "worker-0"), lambda: 1)
        [sink] = recording.sinks(ServedRollout(rollout, 1, rollout.stable))
        await asyncio.sleep(0.2)
        channel = recording._channel  # noqa: SLF001  (to wait until what was written has left)
        assert channel is not None
        best = min([await batch(sink.offer, channel) for _ in range(BATCHES)])
        await recording.close()
        [account] = Accounts(folder / "accounts").by_model().values()
        assert account.dropped == 0, account
    return best - min([await batch(lambda _: None, None) for _ in range(BATCHES)])


async def batch(offer: Callable[[Answered], None], channel: RecordChannel | None) -> float:
    """Processor time of an answer in microseconds, over one batch of turns of the loop."""
    offered = [answered(number) for number in range(ANSWERS)]
    began = time.thread_time()
    for start in range(0, ANSWERS, TURN):
        for each in offered[start : start + TURN]:
            offer(each)
        await asyncio.sleep(0)
        if channel is not None:
            await sent(channel)
    return (time.thread_time() - began) / ANSWERS * 1e6


async def sent(channel: RecordChannel) -> None:
    """Wait, without processor time of note, until what was written has left."""
    transport = channel._transport  # noqa: SLF001
    while transport is not None and transport.get_write_buffer_size():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def frames() -> list[Frame]:
    """As they come to the writer."""
    said = orjson.dumps({"instance": "here.worker-0.1", "kind": "request", "revision": 1})
    found = []
    for number in range(ROWS):
        data = packed(b"iris", answered(number), said=said)
        assert data is not None
        frame = unpacked(memoryview(data), 0)
        assert frame is not None
        found.append(frame[0])
    return found


def written() -> tuple[float, float]:
    """Microseconds of a row until it is in a partition, and from there until it is in its file."""
    given, partitions = frames(), Partitions(1 << 40, 1e9)
    began = time.thread_time()
    for frame in given:
        partitions.add(row_of(frame, 0.0), 0.0)
    middle = time.thread_time()
    [part] = partitions.all()
    encoded(part, Footer("iris", "here", dict(part.columns.counts), {}))
    ended = time.thread_time()
    return (middle - began) / ROWS * 1e6, (ended - middle) / ROWS * 1e6


def run(work: Coroutine[None, None, float]) -> float:
    """On the event loop that workers have."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def main() -> None:
    """Measure, and write the page."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        costs = {name: run(cost(Path(folder), document)) for name, document in DOCUMENTS.items()}
    row, file = written()
    about = (__doc__ or "").partition("\n\n")[2].strip()
    rows = "\n".join(f"| {name} | {microseconds:.1f} us |" for name, microseconds in costs.items())
    PAGE.write_text(f"""# What the prediction log costs

{about}

| `record` of the rollout | added in the worker, an answer |
|---|---|
{rows}

| in the writer, a row | |
|---|---|
| frame to row in memory | {row:.1f} us |
| row to Parquet | {file:.1f} us |
| rows a second on a core | {1e6 / (row + file):,.0f} |

{machine()}; load of the machine when it began: {load:.1f}.
Command: `python -m benchmarks.speed.records`, {dt.datetime.now(dt.UTC):%Y-%m-%d}.
""")
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
