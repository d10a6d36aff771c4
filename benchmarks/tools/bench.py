"""What the benchmarks share: servers pinned to core 0, wrk pinned to core 1, CPU time, tables."""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "benchmarks"
IRIS = b'{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'
SERVER_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of wrk.

    Attributes:
        requests_per_second: answered with 200; anything else fails the benchmark.
        p50_us, p99_us: latency.
        cpu_us: CPU time of the server's processes a request, user and system.
    """

    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option that says where `publish` writes."""
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of page and figures")


def publish(folder: Path, name: str, found: Mapping[str, Any], text: str) -> None:
    """Write figures and their page, and show the page."""
    (folder / f"{name}.json").write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    (folder / f"{name}.md").write_text(text)
    print(text)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(command: Sequence[str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server on the server's core, from when it answers `url` until the end of the block."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command], stdout=log, stderr=log, cwd=ROOT, start_new_session=True
        )
        try:
            _wait_for(url, process)
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    request = urllib.request.Request(url, IRIS, {"content-type": "application/json"})
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=1) as answer:
                outputs = json.loads(answer.read())["outputs"]
        except OSError:
            time.sleep(0.1)
            continue
        if outputs[0]["data"] != [0]:
            sys.exit(f"wrong answer: {outputs}")
        return
    sys.exit(f"no server at {url}")


def wrk(
    url: str,
    connections: int,
    seconds: float,
    pids: Sequence[int],
    script: str = "request.lua",
    core: str = LOAD_CORE,
) -> Run:
    """Drive one URL with iris requests, or the script's; the CPU time is that of these processes."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    before = sum(cpu_seconds(pid) for pid in pids)
    path = str(ROOT / "benchmarks" / "tools" / script)
    arguments = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", path, url]
    done = subprocess.run(
        ["taskset", "-c", core, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 30,
        cwd=ROOT,
    )
    cpu = sum(cpu_seconds(pid) for pid in pids) - before
    text = done.stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"failed requests:\n{text}")
    requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    return Run(rate, _latency(text, "50"), _latency(text, "99"), cpu / requests * 1e6)


def _latency(text: str, percent: str) -> float:
    value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, user and system, of all its threads; seconds, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def median(runs: Sequence[Run]) -> Run:
    """Figure by figure."""
    columns = [sorted(column) for column in zip(*(asdict(run).values() for run in runs), strict=True)]
    return Run(*(column[len(column) // 2] for column in columns))


def machine() -> str:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine()
    )
    names = ("onnxruntime", "uvicorn", "uvloop", "httptools", "orjson")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {system}, {packages}"
