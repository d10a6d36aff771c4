"""`python -m benchmarks.proxies`: us as a pure hop beside nginx, HAProxy and Envoy, into docs/benchmarks/proxies.md.

All stand in front of the same backend, are started once, and take turns: a machine whose speed drifts slows
them alike. The backend counts what reached it, so a split or a mirror that did not happen fails the run.
"""

import json
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median
from sys import executable, exit

from benchmarks.bench import DOCS, LOAD_CORE, cpu_seconds, free_port, machine, server, wrk
from benchmarks.proxies_peers import Ports, envoy, haproxy, nginx, versions

ROUNDS = 1
SECONDS = 2.0
LOADS = {"c=1": (1, "request.lua"), "c=16": (16, "request.lua"), "c=64": (64, "request.lua"), "paced": (64, "paced.lua")}
"""Connections, and how each asks: again as soon as it has its answer, or at a steady rate."""
WHOLE = ("c=1", "paced")
"""Loads under which every request must have been mirrored; under the others we drop what there is no CPU for."""
INFER = "/v2/models/iris/infer"
OURS, DIRECT = "understudy", "none"


@dataclass(frozen=True, slots=True)
class Door:
    """One thing to measure.

    Attributes:
        name: of the proxy.
        task: "split" (90% and 10% to two doors of the backend) or "mirror" (all to one, and again to another).
        url: where it listens.
        pids: its processes, by what they are for.
    """

    name: str
    task: str
    url: str
    pids: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of wrk through one door.

    Attributes:
        requests_per_second: answered with 200; anything else fails the benchmark.
        p50_us, p99_us: latency.
        cpu_us: CPU time a request of each kind of process, user and system.
        canary_share, mirrored: of the requests that the backend counted, 0 to 1.
    """

    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: dict[str, float]
    canary_share: float
    mirrored: float

    @property
    def all_cpu_us(self) -> float:
        """Of all processes together."""
        return sum(self.cpu_us.values())


Results = dict[str, dict[str, dict[str, list[Sample]]]]
"""By task, name and load."""


def main() -> None:
    """Measure and write docs/benchmarks/proxies.md."""
    results: Results = {"split": {}, "mirror": {}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ports = Ports(free_port(), free_port(), free_port())
        numbers = [str(port) for port in (ports.stable, ports.canary, ports.mirror)]
        command = ["taskset", "-c", LOAD_CORE, executable, "-m", "benchmarks.proxies_backend", *numbers]
        stack.enter_context(server(command, _url(ports.stable)))
        doors = [Door(DIRECT, "split", _url(ports.stable), {}), *_start(stack, Path(folder), ports)]
        for _ in range(ROUNDS):
            for door in doors:
                for load in LOADS:
                    sample = _measure(door, load, ports)
                    results[door.task].setdefault(door.name, {}).setdefault(load, []).append(sample)
                    print(door.name, door.task, load, sample, flush=True)
    _write(results)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}{INFER}"


# ---------------------------------------------------------------------- starting


def _start(stack: ExitStack, folder: Path, ports: Ports) -> list[Door]:
    """Start every proxy; each is there when this returns."""
    doors = []
    foreign = {
        ("nginx", "split"): lambda port: nginx(folder, port, ports, mirror=False),
        ("HAProxy", "split"): lambda port: haproxy(folder, port, ports),
        ("Envoy", "split"): lambda port: envoy(folder, port, ports, mirror=False),
        ("nginx", "mirror"): lambda port: nginx(folder, port, ports, mirror=True),
        ("Envoy", "mirror"): lambda port: envoy(folder, port, ports, mirror=True),
    }
    for (name, task), command in foreign.items():
        port = free_port()
        process = stack.enter_context(server(command(port), _url(port)))
        doors.append(Door(name, task, _url(port), {"proxy": [process.pid, *_children(process.pid)]}))
    stable = f"stable: {{model: iris/1, url: 'http://127.0.0.1:{ports.stable}'}}"
    canary = f"canary: {{model: iris/2, url: 'http://127.0.0.1:{ports.canary}', weight: 10}}"
    shadow = f"shadows: [{{model: iris/3, url: 'http://127.0.0.1:{ports.mirror}', sample: 100}}]"
    for task, others in (("split", canary), ("mirror", shadow)):
        doors.append(_start_ours(stack, folder / task, task, f"iris: {{{stable}, {others}}}\n"))
    return doors


def _start_ours(stack: ExitStack, folder: Path, task: str, rollouts: str) -> Door:
    (folder / "models").mkdir(parents=True)
    (folder / "rollouts.yaml").write_text(rollouts)
    port, admin = free_port(), free_port()
    command = [
        executable, "-m", "understudy", "up", "--models", str(folder / "models"),
        "--rollouts", str(folder / "rollouts.yaml"), "--host", "127.0.0.1", "--port", str(port),
        "--admin-port", str(admin), "--state-dir", str(folder / "state"), "--log-level", "error",
    ]  # fmt: skip
    process = stack.enter_context(server(command, _url(port)))
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/v1/nodes") as answer:
        rows = json.loads(answer.read())
    pids: dict[str, list[int]] = {"worker": [], "sandbox": []}
    for row in rows:
        if row["kind"] in pids:
            pids[row["kind"]].append(int(row["instance"].rpartition("/")[2]))
    known = [pid for kind in pids.values() for pid in kind]
    pids["control and supervisor"] = [
        pid for pid in (process.pid, *_children(process.pid)) if pid not in known
    ]
    return Door(OURS, task, _url(port), pids)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *_children(child)]
    return found


# ---------------------------------------------------------------------- measuring


def _measure(door: Door, load: str, ports: Ports) -> Sample:
    counts = _counts(ports)
    cpu = {kind: _cpu(pids) for kind, pids in door.pids.items()}
    connections, script = LOADS[load]
    run = wrk(door.url, connections, SECONDS, [], script)
    cpu = {kind: _cpu(pids) - cpu[kind] for kind, pids in door.pids.items()}
    counts = {name: number - counts[name] for name, number in _counts(ports).items()}
    requests = counts["stable"] + counts["canary"]
    sample = Sample(
        run.requests_per_second,
        run.p50_us,
        run.p99_us,
        {kind: seconds / requests * 1e6 for kind, seconds in cpu.items()},
        counts["canary"] / requests,
        counts["mirror"] / requests,
    )
    _check(door, load, sample)
    return sample


def _cpu(pids: Sequence[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)


def _counts(ports: Ports) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.stable}/counts") as answer:
        return dict(json.loads(answer.read()))


def _check(door: Door, load: str, sample: Sample) -> None:
    """A proxy that did not do its task has no figure."""
    split = door.task == "split" and door.name != DIRECT
    if split and not 0.08 < sample.canary_share < 0.12:
        exit(f"{door.name}: {sample.canary_share:.1%} reached the canary, not 10%")
    if door.task == "mirror" and load in WHOLE and not 0.95 < sample.mirrored < 1.05:
        exit(f"{door.name}: {sample.mirrored:.1%} were mirrored, not all")


# ---------------------------------------------------------------------- writing
def _write(results):
    pass


if __name__ == "__main__":
    main()
