"""What drives the servers: wrk (closed loop), perf_analyzer (open loop), Locust. All on the load's core."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.answers import TYPICAL, body
from benchmarks.peers.environments import HOME, packages
from benchmarks.peers.processes import cpu_seconds
from benchmarks.tools.bench import LOAD_CORE, ROOT, SERVER_CORE

SLACK_SECONDS = 10
WINDOWS = 3
"""Measurement windows of perf_analyzer: it reports on no fewer."""


class LoadError(Exception):
    """A generator that did not do its work; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Closed:
    """One run of wrk.

    Attributes:
        requests_per_second: answered with 200 or not.
        p50_us, p99_us: latency.
        cpu_us: CPU time a request of all the server's processes, user and system.
        errors: answers other than 2xx or 3xx, broken connections, time-outs.
    """

    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    errors: int


@dataclass(frozen=True, slots=True)
class Open:
    """One run of perf_analyzer at a request rate.

    Attributes:
        asked_per_second: the rate it was told.
        answered_per_second: what came back.
        delayed: share of the requests that it sent later than it should have, 0 to 1.
        p50_us, p99_us: latency, from when a request was really sent.
    """

    asked_per_second: float
    answered_per_second: float
    delayed: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Users:
    """One run of Locust: what its users saw."""

    users: int
    requests_per_second: float
    p50_us: float
    p99_us: float
    failed: int
    accuracy: float


def _run(
    command: Sequence[str],
    seconds: float,
    environment: Mapping[str, str],
    accepted: tuple[int, ...] = (0,),
    core: str = LOAD_CORE,
) -> subprocess.CompletedProcess[str]:
    """The ended generator and what it said; it is killed after `SLACK_SECONDS` more than twice its time."""
    name, limit = Path(command[0]).name, 2 * seconds + SLACK_SECONDS
    try:
        done = subprocess.run(
            ["taskset", "-c", core, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
            env={**os.environ, **environment},
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired:
        raise LoadError(f"{name} took over {limit:g} s") from None
    if done.returncode not in accepted:
        said = (done.stderr.strip() or done.stdout.strip())[-300:]
        raise LoadError(f"{name} ended with {done.returncode}: {said}")
    return done


def wrk(url: str, connections: int, seconds: float, *, oip: bool) -> Closed:
    """Drive one URL in a closed loop with the typical row.

    Raises:
        LoadError: wrk failed.
    """
    if shutil.which("wrk") is None:
        raise LoadError("wrk is needed: apt-get install wrk")
    script = str(Path(__file__).parent / "post.lua")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", script, url]
    before = cpu_seconds()
    done = _run(command, seconds, {"WRK_BODY": body(TYPICAL, oip=oip).decode()})
    return closed(done.stdout, cpu_seconds() - before)


def closed(text: str, cpu_seconds: float) -> Closed:
    """The figures in wrk's report, with the CPU time that the server took over it.

    Raises:
        LoadError: it is no report, or nothing was answered.
    """
    requests = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if not requests or not rate or int(requests[1]) == 0:
        raise LoadError(f"wrk counted no requests: {text[-300:]}")
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Closed(
        float(rate[1]),
        _latency(text, 50),
        _latency(text, 99),
        cpu_seconds / int(requests[1]) * 1e6,
        (int(errors[1]) if errors else 0) + (sum(map(int, broken.groups())) if broken else 0),
    )


def _latency(text: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if not found:
        raise LoadError(f"wrk told no {percent}% latency: {text[-300:]}")
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}[found[2]]


def perf_analyzer(port: int, shape: str, rate: float, seconds: float, folder: Path) -> Open:
    """Drive iris at a rate, Poisson arrivals, JSON both ways; the environment `client` must be installed.

    Raises:
        LoadError: it failed.
    """
    client = HOME / "client"
    report, data = folder / "rate.csv", folder / "row.json"
    report.unlink(missing_ok=True)
    data.write_text(json.dumps({"data": [{"features": TYPICAL}]}))
    command = [
        str(client / "bin" / "perf_analyzer"), "-m", "iris", "-u", f"127.0.0.1:{port}", "-i", "http",
        "--async", "--input-tensor-format", "json", "--output-tensor-format", "json",
        "--input-data", str(data), "--shape", f"features:{shape}", "--max-threads", "4",
        "--request-rate-range", f"{rate:.0f}", "--request-distribution", "poisson",
        "--measurement-interval", f"{seconds / WINDOWS * 1e3:.0f}", "--max-trials", str(WINDOWS),
        "--stability-percentage", "999", "-f", str(report),
    ]  # fmt: skip
    libraries = packages(client) / "nvidia" / "cuda_runtime" / "lib"
    done = _run(command, seconds, {"LD_LIBRARY_PATH": str(libraries)})
    said = done.stdout + done.stderr
    if not report.exists():
        raise LoadError(f"perf_analyzer wrote no report: {said[-300:]}")
    return opened(report.read_text(), said, rate)


def opened(report: str, said: str, rate: float) -> Open:
    """The figures in perf_analyzer's CSV report of one rate, and in what it said beside.

    Raises:
        LoadError: it is no such report.
    """
    try:
        row = next(csv.DictReader(report.splitlines()))
        delayed = re.search(r"([\d.]+)% of the requests were delayed", said)
        return Open(
            rate,
            float(row["Inferences/Second"]),
            float(delayed[1]) / 100 if delayed else 0.0,
            float(row["p50 latency"]),
            float(row["p99 latency"]),
        )
    except (StopIteration, KeyError, ValueError) as error:
        raise LoadError(f"perf_analyzer's report: {error!r}: {report[:300]}") from None


def locust(port: int, users: int, seconds: float, folder: Path) -> Users:
    """Locust's users with held-out rows, each about ten requests a second.

    Raises:
        LoadError: it failed.
    """
    report = folder / "locust.json"
    command = [
        sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary",
        "--host", f"http://127.0.0.1:{port}", "--model", "iris", "--users", str(users),
        "--run-time", f"{seconds:.0f}s", "--report", str(report),
    ]  # fmt: skip
    _run(command, seconds, {}, accepted=(0, 1))
    found = json.loads(report.read_text())
    if not found["requests"] or found["p50_seconds"] is None:
        raise LoadError(f"Locust got no answers: {found}")
    return Users(
        users,
        found["requests"] / found["run_seconds"],
        found["p50_seconds"] * 1e6,
        found["p99_seconds"] * 1e6,
        found["failed"],
        found["accuracy"],
    )


def alone(seconds: float) -> Closed:
    """The model in a loop on the server's core: no server at all.

    Raises:
        LoadError: it failed.
    """
    loop = str(Path(__file__).parent / "loop.py")
    done = _run([sys.executable, loop, f"{seconds:g}"], seconds, {}, core=SERVER_CORE)
    return Closed(**json.loads(done.stdout))
