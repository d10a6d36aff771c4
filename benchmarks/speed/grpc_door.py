"""`python -m benchmarks.speed.grpc_door [--seconds S] [--rounds R]`: CPU time of a request over gRPC.

**Bare** is a service of grpc.aio on uvloop, with nothing around it: it reads the same requests into
messages, and writes an answer of the same tensors, whose bytes it has ready. **Ours** is the gRPC worker of
`understudy up`, which answers by iris/1: it routes, decodes, runs the model, counts and encodes.

Both have core 0, in turns within each round, and their client core 1: a process in which so many requests
wait at a time, over at most four connections. CPU time is that of the answering process, user and system, of
all its threads.
"""

import argparse
import asyncio
import datetime as dt
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop

from benchmarks.tools.bench import (
    LOAD_CORE,
    ROOT,
    SERVER_CORE,
    add_out,
    cpu_seconds,
    free_port,
    machine,
    publish,
)
from benchmarks.tools.ours import ours
from serving.grpc.messages import message

METHOD = "/inference.GRPCInferenceService/ModelInfer"
ROW = (5.1, 3.5, 1.4, 0.2)
WAITING = (1, 32)


def request() -> bytes:
    """One row of iris, raw."""
    asked = message("ModelInferRequest")(model_name="iris")
    asked.inputs.add(name="features", datatype="FP32", shape=[1, 4])
    asked.raw_input_contents.append(struct.pack("<4f", *ROW))
    data: bytes = asked.SerializeToString()
    return data


async def bare(port: int) -> None:
    """Answer for ever."""
    asked, answered = message("ModelInferRequest"), message("ModelInferResponse")

    async def infer(said: Any, _: grpc.aio.ServicerContext) -> Any:
        answer = answered(model_name=said.model_name, model_version="1", id=said.id)
        answer.outputs.add(name="label", datatype="INT64", shape=[said.inputs[0].shape[0]])
        answer.outputs.add(name="probabilities", datatype="FP32", shape=[said.inputs[0].shape[0], 3])
        answer.raw_output_contents.extend((b"\0" * 8, b"\0" * 12))
        return answer

    handler = grpc.unary_unary_rpc_method_handler(infer, asked.FromString, answered.SerializeToString)
    server = grpc.aio.server()
    service, _, method = METHOD[1:].partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def drive(port: int, waiting: int, seconds: float) -> int:
    """Ask as long as that; how many answers came.

    Raises:
        grpc.aio.AioRpcError: a request failed.
    """
    data = request()
    until = time.monotonic() + seconds
    count = 0

    async def one(channel: grpc.aio.Channel) -> None:
        nonlocal count
        ask = channel.unary_unary(METHOD)
        while time.monotonic() < until:
            await ask(data)
            count += 1

    options = [("grpc.use_local_subchannel_pool", 1)]  # else all would share one connection
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(min(waiting, 4))]
    try:
        await asyncio.gather(*(one(channels[number % len(channels)]) for number in range(waiting)))
    finally:
        for channel in channels:
            await channel.close()
    return count


def measured(port: int, pid: int, waiting: int, seconds: float) -> dict[str, float]:
    """Microseconds of CPU time a request, and requests a second."""
    uvloop.run(drive(port, waiting, 0.5))
    before, began = cpu_seconds(pid), time.monotonic()
    count = uvloop.run(drive(port, waiting, seconds))
    took = time.monotonic() - began
    return {"cpu_us": (cpu_seconds(pid) - before) / count * 1e6, "per_second": count / took}


@contextmanager
def bare_server() -> Iterator[tuple[int, int]]:
    """Its port and process id."""
    port = free_port()
    command = [
        "taskset",
        "-c",
        SERVER_CORE,
        sys.executable,
        "-m",
        "benchmarks.speed.grpc_door",
        "--bare",
        str(port),
    ]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(30)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def measure(seconds: float, rounds: int) -> dict[str, Any]:
    """All of it."""
    load, grpc_port = os.getloadavg()[0], free_port()
    found: dict[str, list[dict[str, float]]] = {f"{who} {n}": [] for n in WAITING for who in ("bare", "ours")}
    rollouts = "iris: {stable: iris/1}\n"
    with (
        tempfile.TemporaryDirectory() as folder,
        bare_server() as (bare_port, bare_pid),
        ours(
            Path(folder) / "ours", rollouts, models=ROOT / "models", cores=SERVER_CORE, grpc_port=grpc_port
        ) as system,
    ):
        [ours_pid] = [pid for pid in system.pids["worker"] if speaks_grpc(pid)]
        for _ in range(rounds):
            for waiting in WAITING:
                found[f"bare {waiting}"].append(measured(bare_port, bare_pid, waiting, seconds))
                found[f"ours {waiting}"].append(measured(grpc_port, ours_pid, waiting, seconds))
    about = {"taken": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}", "load": load, "machine": machine()}
    return {**about, "grpcio": grpc.__version__, "seconds": seconds, "rounds": rounds, "found": found}


def speaks_grpc(pid: int) -> bool:
    """Whether a worker is one with a gRPC door."""
    return "router.grpc_worker" in Path(f"/proc/{pid}/cmdline").read_text()


def page(found: dict[str, Any]) -> str:
    """As Markdown."""
    about = (__doc__ or "").partition("\n\n")[2].strip()
    rows = []
    for waiting in WAITING:
        bare_, ours_ = (found["found"][f"{who} {waiting}"] for who in ("bare", "ours"))
        ratios = sorted(one["cpu_us"] / other["cpu_us"] for one, other in zip(ours_, bare_, strict=True))
        cells = [
            f"{statistics.median(run[key] for run in runs):,.0f}"
            for key in ("cpu_us", "per_second")
            for runs in (bare_, ours_)
        ]
        ratio = f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rows.append(f"| {waiting} | {cells[0]} | {cells[1]} | {ratio} | {cells[2]} | {cells[3]} |")
    return f"""# A request over gRPC

{about}

{found["taken"]}, {found["rounds"]} rounds of {found["seconds"]:g} s each,
`python -m benchmarks.speed.grpc_door`, grpcio {found["grpcio"]}, {found["machine"]}.
Load average before: {found["load"]:.1f}; above 1, other work shared the machine.

CPU time of a request in us; the ratio is the median of the rounds, with the least and the most.

| requests that wait | bare | ours | ratio | bare, a second | ours, a second |
|---|---|---|---|---|---|
{chr(10).join(rows)}
"""


def main() -> None:
    """Measure, and write the page and its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bare", type=int, help="only answer, at this port")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    add_out(parser)
    chosen = parser.parse_args()
    if chosen.bare is not None:
        uvloop.run(bare(chosen.bare))
        return
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    found = measure(chosen.seconds, chosen.rounds)
    publish(chosen.out, "grpc", found, page(found))


if __name__ == "__main__":
    main()
