"""`python -m benchmarks.robustness.streams [--streams N] [--connections C]`: more streams than a door holds.

So many streams of `ModelStreamInfer` are opened over so many connections to `understudy up` with one gRPC
worker and its usual limits. Each asks once and is kept open, until all that are let in are held; the others
are turned away. **A neighbour**, a process of its own, asks one request after the other meanwhile without a
stream. Memory is that of the gRPC worker.
"""

import argparse
import asyncio
import datetime as dt
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc.aio
import orjson

from benchmarks.speed.grpc_door import METHOD, request, speaks_grpc
from benchmarks.tools.bench import ROOT, add_out, free_port, machine, publish, resident_bytes
from benchmarks.tools.ours import ours

STREAM = METHOD.replace("ModelInfer", "ModelStreamInfer")
OWN = [("grpc.use_local_subchannel_pool", 1)]
PHASE_SECONDS = 5.0
AT_ONCE = 50
"""Of each connection, streams that are being opened."""


class Neighbour:
    """The process that asks without a stream."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.robustness.streams", "--neighbour", str(port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.phase()

    def phase(self) -> dict[str, Any]:
        """What it saw since it was asked this the last time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        found: dict[str, Any] = orjson.loads(self._process.stdout.readline())
        return found

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


async def neighbour(port: int) -> None:
    """Ask until standard input ends; at each of its lines say what was seen since the one before."""
    times: list[float] = []
    codes: Counter[str] = Counter()
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    async def ask() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OWN) as channel:
            infer, data = channel.unary_unary(METHOD), request()
            while True:
                began, code = time.perf_counter(), "OK"
                try:
                    await infer(data)
                except grpc.aio.AioRpcError as failure:
                    code = failure.code().name
                times.append(time.perf_counter() - began)
                codes[code] += 1
                await asyncio.sleep(0.005)

    asking = asyncio.create_task(ask())
    while await lines.readline():
        print(orjson.dumps(_seen(times, codes)).decode(), flush=True)
        times.clear()
        codes.clear()
    asking.cancel()


def _seen(times: list[float], codes: Counter[str]) -> dict[str, Any]:
    if len(times) < 2:
        return {"answers": len(times), "codes": codes}
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"answers": len(times), "codes": codes, "p50": cuts[49], "p99": cuts[98], "max": max(times)}


async def flood(port: int, pid: int, count: int, connections: int, near: Neighbour) -> dict[str, Any]:
    """Open the streams, and hold what is let in."""
    data, refused, open_ = request(), Counter[str](), []
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", OWN) for _ in range(connections)]
    turns = [asyncio.Semaphore(AT_ONCE) for _ in channels]

    async def one(number: int) -> None:
        async with turns[number % connections]:
            stream = channels[number % connections].stream_stream(STREAM)()
            try:
                await stream.write(data)
                if await stream.read() is not grpc.aio.EOF:
                    open_.append(stream)
                    return
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # its status says why
            refused[f"{(await stream.code()).name}: {await stream.details()}"] += 1

    before = resident_bytes(pid)
    await asyncio.sleep(PHASE_SECONDS)
    phases = {"before": near.phase()}
    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(count)))
    took = time.monotonic() - began
    phases["while they are opened"] = near.phase()
    await asyncio.sleep(PHASE_SECONDS)
    phases["while they are held"] = near.phase()
    held = resident_bytes(pid)
    for channel in channels:
        await channel.close()
    await asyncio.sleep(PHASE_SECONDS)
    phases["when they are gone"] = near.phase()
    memory = {"before": before, "held": held, "gone": resident_bytes(pid)}
    return {"held": len(open_), "refused": refused, "took": took, "phases": phases, "memory": memory}


def measure(count: int, connections: int) -> dict[str, Any]:
    """All of it."""
    load, port = os.getloadavg()[0], free_port()
    rollouts = "iris: {stable: iris/1}\n"
    with (
        tempfile.TemporaryDirectory() as folder,
        ours(Path(folder) / "ours", rollouts, models=ROOT / "models", grpc_port=port) as system,
    ):
        [pid] = [pid for pid in system.pids["worker"] if speaks_grpc(pid)]
        near = Neighbour(port)
        try:
            found = asyncio.run(flood(port, pid, count, connections, near))
        finally:
            near.end()
    about = {"taken": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}", "load": load, "machine": machine()}
    return {**about, "grpcio": grpc.__version__, "streams": count, "connections": connections, **found}


def page(found: dict[str, Any]) -> str:
    """As Markdown."""
    about = (__doc__ or "").partition("\n\n")[2].strip()
    refusals = "\n".join(f"| {count:,} | `{words}` |" for words, count in sorted(found["refused"].items()))
    rows = "\n".join(_row(name, seen) for name, seen in found["phases"].items())
    memory = found["memory"]
    each = (memory["held"] - memory["before"]) / max(1, found["held"]) / 1024
    return f"""# More streams than the gRPC door holds

{about}

{found["taken"]}, {found["streams"]:,} streams over {found["connections"]} connections,
`python -m benchmarks.robustness.streams`, grpcio {found["grpcio"]}, {found["machine"]}.
Load average before: {found["load"]:.1f}; above 1, other work shared the machine.
The client that opens the streams shares the two cores with server and neighbour.

Held: {found["held"]:,}. Opened or turned away, all of them, within {found["took"]:.1f} s. Turned away:

| streams | with |
|---|---|
{refusals}

Memory of the worker in MiB: {memory["before"] / 2**20:,.0f} before, {memory["held"] / 2**20:,.0f} with the
streams held ({each:,.1f} KiB a stream), {memory["gone"] / 2**20:,.0f} when they were gone.

The neighbour's answers, in ms:

| | answers | codes | median | p99 | most |
|---|---|---|---|---|---|
{rows}
"""


def _row(name: str, seen: dict[str, Any]) -> str:
    codes = ", ".join(f"{code} {count:,}" for code, count in seen["codes"].items())
    times = " | ".join(f"{seen[key] * 1e3:,.1f}" if key in seen else "" for key in ("p50", "p99", "max"))
    return f"| {name} | {seen['answers']:,} | {codes} | {times} |"


def main() -> None:
    """Measure, and write the page and its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--neighbour", type=int, help="only ask, at this port")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=20)
    add_out(parser)
    chosen = parser.parse_args()
    if chosen.neighbour is not None:
        asyncio.run(neighbour(chosen.neighbour))
        return
    found = measure(chosen.streams, chosen.connections)
    publish(chosen.out, "streams", found, page(found))


if __name__ == "__main__":
    main()
