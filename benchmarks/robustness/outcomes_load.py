"""`python -m benchmarks.robustness.outcomes_load [--seconds S] [--rounds R]`: what telling outcomes costs.

**A node.** One worker on a core answers iris at a steady rate, from a sender of its own on another core. In
turns it is told outcomes beside that, 20,000 a second, in compressed requests of 1,000 lines. They are passed
on to the outcome taker, on the same core, which has each line verified and on disk before it answers. Control
is stopped meanwhile, so all of it stays in the spool.

**Control.** The same system with its database in SQLite, and in PostgreSQL with fsync: Debian's, and the one
that `make test-servers` has installed. It is told outcomes as nodes tell them, 2,000 a second in requests of
500, each of another receipt that was made just before; they mature after 10 s, so that they enter the sums
meanwhile. Then as many as it takes, one request after the other.
"""

import argparse
import contextlib
import datetime as dt
import gzip
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.tools.bench import IRIS, LOAD_CORE, ROOT, SERVER_CORE, add_out, cpu_seconds, machine, publish
from benchmarks.tools.ours import Ours, children, ours

sys.path.insert(0, str(ROOT / "tests"))

from harness.postgres import PROGRAMS, Server, newer
from router.counting.receipt import Receipts, Stamp
from router.receipt_keys import KeptKeys
from router.wire.outcomes import Told, line_of

ROLLOUTS = "iris: {stable: iris/1, outcomes: {conversion: {kind: binary, within: %s}}}\n"
INFERENCE_RATE = 1_000
NODE_RATE, NODE_LINES = 20_000, 1_000
CONTROL_RATE, CONTROL_LINES, MOST_LINES = 2_000, 500, 2_000
Make = Callable[[], tuple[bytes, dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Telling:
    """What telling came to.

    Attributes:
        accepted: outcomes.
        left_out: outcomes.
        refused: requests that were not answered with 200.
        seconds: from the first to the last answer.
        p50_ms, p99_ms, most_ms: of a request, from when it was due.
        cpu_us: of the processes that took them, for each outcome: all that they did meanwhile, without what
            inference took of a worker.
    """

    accepted: int
    left_out: int
    refused: int
    seconds: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    cpu_us: float


class Teller(threading.Thread):
    """Tells outcomes over one connection, at a rate or one request after the other.

    Args:
        port: of the door.
        path: there.
        make: the next request.
        gap: seconds between requests; 0 for none.
        seconds: for which it tells.
    """

    def __init__(self, port: int, path: str, make: Make, gap: float, seconds: float) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._path, self._make, self._gap, self._seconds = path, make, gap, seconds
        self._waits: list[float] = []
        self._accepted = self._left_out = self._refused = 0
        self._began = self._ended = 0.0

    def run(self) -> None:
        """Tell until the time is over."""
        self._began = due = time.perf_counter()
        while due < self._began + self._seconds:
            body, headers = self._make()
            while (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            due = due if self._gap else time.perf_counter()
            self._tell(body, headers)
            self._ended = time.perf_counter()
            self._waits.append(self._ended - due)
            due = due + self._gap if self._gap else self._ended

    def _tell(self, body: bytes, headers: dict[str, str]) -> None:
        self._connection.request("POST", self._path, body, headers)
        with self._connection.getresponse() as answer:
            text = answer.read()
        if answer.status != 200:
            self._refused += 1
            return
        found = json.loads(text)
        self._accepted += found["accepted"]
        self._left_out += sum(found["left_out"].values())

    def found(self, cpu: float) -> Telling:
        """What it came to, where so many seconds of CPU time went."""
        self.join()
        waits = sorted(self._waits)
        return Telling(
            self._accepted,
            self._left_out,
            self._refused,
            self._ended - self._began,
            statistics.median(waits) * 1e3,
            waits[int(len(waits) * 0.99)] * 1e3,
            waits[-1] * 1e3,
            cpu / max(self._accepted, 1) * 1e6,
        )


def stamp_of(system: Ours, folder: Path) -> Stamp:
    """Makes receipts of iris as the node's workers would."""
    receipts = Receipts("benchmark", 200, int.from_bytes(os.urandom(3)))
    KeptKeys(folder / "state" / "receipt-keys.json", receipts)
    with urllib.request.urlopen(
        f"http://127.0.0.1:{system.admin_port}/v1/rollouts/iris", timeout=5
    ) as answer:
        stage = json.loads(answer.read())["status"]["stage"]
    return receipts.of("iris", stage)


def lines(stamp: Stamp, count: int, line: Callable[[str, float], bytes]) -> bytes:
    """Outcomes of receipts that are made now."""
    now = time.time()
    return b"\n".join(line(stamp.make("stable", "stable", 0, now).decode(), now) for _ in range(count))


def as_client(receipt: str, _: float) -> bytes:
    """A line as clients tell it."""
    return orjson.dumps({"receipt": receipt, "name": "conversion", "value": 1})


def as_node(receipt: str, now: float) -> bytes:
    """A line as nodes tell it."""
    return line_of(Told("conversion", 1.0, receipt), now).rstrip()


def inference(port: int, seconds: float) -> dict[str, float]:
    """Latencies at the steady rate."""
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "benchmarks.tools.open_loop"]
    load = [str(port), "/v2/models/iris/infer", str(INFERENCE_RATE), f"{seconds:g}"]
    done = subprocess.run([*command, *load], input=IRIS, capture_output=True, check=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    if found["failed"]:
        sys.exit(f"{found['failed']:g} requests of inference failed")
    return found


def arguments(pid: int) -> list[str]:
    """Of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def taker(system: Ours) -> list[int]:
    """The process id of the outcome taker, once control has heard of it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := system.told_of("outcome-taker"):
            return found
        time.sleep(0.1)
    sys.exit("the outcome taker did not come up")


@contextlib.contextmanager
def stopped_control(system: Ours) -> Iterator[None]:
    """Control does nothing until the end of the block."""
    [pid] = [pid for pid in children(system.supervisor) if "control" in arguments(pid)]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def node(folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Rounds of inference without outcomes, and with them."""
    without, beside, tellings = [], [], []
    with ours(folder, ROLLOUTS % "1h", models=ROOT / "models", cores=SERVER_CORE) as system:
        stamp = stamp_of(system, folder)
        bodies = [gzip.compress(lines(stamp, NODE_LINES, as_client), 1) for _ in range(20)]
        takers = [*system.pids["worker"], *taker(system)]

        def make(number: list[int] = [0]) -> tuple[bytes, dict[str, str]]:  # noqa: B006
            number[0] += 1
            return bodies[number[0] % len(bodies)], {"content-encoding": "gzip"}

        with stopped_control(system):
            for _ in range(rounds):
                before = sum(map(cpu_seconds, takers))
                without.append(inference(system.port, seconds))
                alone, before = sum(map(cpu_seconds, takers)) - before, sum(map(cpu_seconds, takers))
                teller = Teller(system.port, "/v1/outcomes", make, NODE_LINES / NODE_RATE, seconds)
                teller.start()
                beside.append(inference(system.port, seconds))
                tellings.append(asdict(teller.found(sum(map(cpu_seconds, takers)) - before - alone)))
    return {"without": without, "with": beside, "telling": tellings}


def control(folder: Path, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """At the steady rate, then at any."""
    with ours(
        folder, ROLLOUTS % "10s", models=ROOT / "models", cores=SERVER_CORE,
        environment={**os.environ, **environment},
    ) as system:  # fmt: skip
        stamp = stamp_of(system, folder)
        pids = set(system.pids["control and supervisor"]) - set(taker(system))
        found = {}
        for name, count, gap in (
            ("steady", CONTROL_LINES, CONTROL_LINES / CONTROL_RATE),
            ("most", MOST_LINES, 0.0),
        ):
            make = lambda count=count: (lines(stamp, count, as_node), {})  # noqa: E731
            before = sum(map(cpu_seconds, pids))
            teller = Teller(system.admin_port, "/v1/sync/outcomes", make, gap, seconds)
            teller.start()
            teller.join()
            found[name] = asdict(teller.found(sum(map(cpu_seconds, pids)) - before))
    return found


@contextlib.contextmanager
def postgres(programs: Path) -> Iterator[tuple[str, str]]:
    """The version, and the URL of a database whose commits are on disk."""
    server = Server(programs)
    try:
        server.stop()
        with (server.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write("fsync = on\n")
        server.start()
        [(version,)] = server.ask("SHOW server_version")
        yield f"PostgreSQL {str(version).split()[0]}", server.new_database()
    finally:
        server.stop()


def measured(seconds: float, rounds: int) -> dict[str, Any]:
    """All of it."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        of_node = node(folder / "node", seconds, rounds)
        found = {"SQLite": control(folder / "sqlite", seconds, {})}
        for programs in filter(None, (PROGRAMS, *newer())):
            with postgres(programs) as (version, url):
                found[version] = control(
                    folder / version.replace(" ", "-"), seconds, {"UNDERSTUDY_DATABASE": url}
                )
    about = {"taken": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}", "load": load, "machine": machine()}
    return {**about, "seconds": seconds, "rounds": rounds, "node": of_node, "control": found}


def page(found: dict[str, Any]) -> str:
    """As Markdown."""
    about = (__doc__ or "").partition("\n\n")[2].strip()
    rounds = [
        f"| {number} | {without['p50_us']:.0f} / {without['p99_us']:.0f} / {without['p99.9_us']:.0f} | "
        f"{beside['p50_us']:.0f} / {beside['p99_us']:.0f} / {beside['p99.9_us']:.0f} | "
        f"{told['accepted'] / told['seconds']:,.0f} | {told['p50_ms']:.1f} / {told['p99_ms']:.1f} / "
        f"{told['most_ms']:.1f} | {told['cpu_us']:.1f} | {told['refused']} |"
        for number, (without, beside, told) in enumerate(
            zip(found["node"]["without"], found["node"]["with"], found["node"]["telling"], strict=True), 1
        )
    ]
    controls = [
        f"| {database} | {what} | {told['accepted'] / told['seconds']:,.0f} | {told['p50_ms']:.0f} / "
        f"{told['p99_ms']:.0f} / {told['most_ms']:.0f} | {told['cpu_us']:.0f} | {told['left_out']} | "
        f"{told['refused']} |"
        for database, figures in found["control"].items()
        for what, told in figures.items()
    ]
    ratios = sorted(
        beside["p99_us"] / without["p99_us"]
        for without, beside in zip(found["node"]["without"], found["node"]["with"], strict=True)
    )
    ratio = statistics.median(ratios)
    return f"""# What telling outcomes costs

{about}

{found["taken"]}, {found["rounds"]} rounds of {found["seconds"]:g} s,
`python -m benchmarks.robustness.outcomes_load`, {found["machine"]}.
Load average before: {found["load"]:.1f}; above 1, other work shared the machine.

## A node

Inference at {INFERENCE_RATE:,}/s, latency p50 / p99 / p99.9 in us; requests of {NODE_LINES:,} outcomes,
p50 / p99 / longest in ms; CPU time of worker and outcome taker beside that of inference.
The p99 of inference with outcomes is {ratio:.2f}x that without (median of the rounds; the least
{ratios[0]:.2f}x, the most {ratios[-1]:.2f}x).

| round | without | with outcomes | outcomes/s | a request of them | CPU, us each | refused |
|---|---|---|---|---|---|---|
{chr(10).join(rounds)}

## Control

Requests of {CONTROL_LINES} at {CONTROL_RATE:,}/s (steady), of {MOST_LINES:,} one after the other (most);
p50 / p99 / longest in ms; CPU time of control and supervisor, entering the sums included.

| database | | outcomes/s | a request | CPU, us each | left out | refused |
|---|---|---|---|---|---|---|
{chr(10).join(controls)}
"""


def main() -> None:
    """Measure, and write the page and its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    add_out(parser)
    chosen = parser.parse_args()
    found = measured(chosen.seconds, chosen.rounds)
    publish(chosen.out, "outcomes-load", found, page(found))


if __name__ == "__main__":
    main()
