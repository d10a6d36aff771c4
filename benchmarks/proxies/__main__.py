"""`python -m benchmarks.proxies.__main__`: us as a pure hop beside nginx, HAProxy and Envoy.

Writes docs/benchmarks/proxies.md.

All stand in front of the same backend, are started once, and take turns: a machine whose speed drifts slows
them alike. The backend counts what reached it, so a split or a mirror that did not happen fails the run.
"""

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from string import Template
from sys import executable

from benchmarks.proxies.peers import Ports, envoy, haproxy, nginx, versions
from benchmarks.tools.bench import DOCS, LOAD_CORE, ROOT, cpu_seconds, free_port, machine, server, wrk
from benchmarks.tools.ours import children, ours

ROUNDS = 3
SECONDS = 2.0
LOADS = {
    "c=1": (1, "request.lua"),
    "c=16": (16, "request.lua"),
    "c=64": (64, "request.lua"),
    "paced": (64, "paced.lua"),
}
"""Connections, and how each asks: again as soon as it has its answer, or at a steady rate."""
WHOLE = ("c=1", "paced")
"""Loads that leave CPU for a shadow; under the others ours drops, and a ratio would compare unlike things."""
MIRRORED = 0.95
"""With less of the requests mirrored by ours there is no ratio either."""
INFER = "/v2/models/iris/infer"
OURS, DIRECT = "understudy", "none"


@dataclass(frozen=True, slots=True)
class Door:
    """One thing to measure.

    Attributes:
        name: of the proxy.
        task: "split" (90% and 10% to two doors of the backend) or "mirror" (all to one, and to another).
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
        requests: that the backend counted.
        requests_per_second: answered with 200; anything else fails the benchmark.
        p50_us, p99_us: latency.
        cpu_us: CPU time a request of each kind of process, user and system.
        canary_share, mirrored: of the requests that the backend counted, 0 to 1.
    """

    requests: int
    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: dict[str, float]
    canary_share: float
    mirrored: float


Results = dict[str, dict[str, dict[str, list[Sample]]]]
"""By task, name and load."""


def main() -> None:
    """Measure and write docs/benchmarks/proxies.md."""
    results: Results = {"split": {}, "mirror": {}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ports = Ports(free_port(), free_port(), free_port())
        numbers = [str(port) for port in (ports.stable, ports.canary, ports.mirror)]
        command = ["taskset", "-c", LOAD_CORE, executable, "-m", "benchmarks.proxies.backend", *numbers]
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
        doors.append(Door(name, task, _url(port), {"proxy": [process.pid, *children(process.pid)]}))
    stable = f"stable: {{model: iris/1, url: 'http://127.0.0.1:{ports.stable}'}}"
    canary = f"canary: {{model: iris/2, url: 'http://127.0.0.1:{ports.canary}', weight: 10}}"
    shadow = f"shadows: [{{model: iris/3, url: 'http://127.0.0.1:{ports.mirror}', sample: 100}}]"
    for task, others in (("split", canary), ("mirror", shadow)):
        (folder / "models").mkdir(exist_ok=True)  # all that is served is elsewhere
        system = stack.enter_context(
            ours(
                folder / task,
                f"iris: {{{stable}, {others}, timeout: 10s}}\n",
                models=folder / "models",
                sandboxes=int(task == "mirror"),
            )
        )
        doors.append(Door(OURS, task, _url(system.port), system.pids))
    return doors


# ---------------------------------------------------------------------- measuring


def _measure(door: Door, load: str, ports: Ports) -> Sample:
    counts = _counts(ports)
    cpu = {kind: _cpu(pids) for kind, pids in door.pids.items()}
    connections, script = LOADS[load]
    run = wrk(door.url, connections, SECONDS, [], script)
    _settle(ports)  # what is mirrored late costs CPU too
    cpu = {kind: _cpu(pids) - cpu[kind] for kind, pids in door.pids.items()}
    counts = {name: number - counts[name] for name, number in _counts(ports).items()}
    requests = counts["stable"] + counts["canary"]
    sample = Sample(
        requests,
        run.requests_per_second,
        run.p50_us,
        run.p99_us,
        {kind: seconds / requests * 1e6 for kind, seconds in cpu.items()},
        counts["canary"] / requests,
        counts["mirror"] / requests,
    )
    _check(door, load, sample)
    return sample


def _settle(ports: Ports) -> None:
    """Wait until what the run before left to be mirrored has been."""
    before = _counts(ports)
    for _ in range(100):
        time.sleep(0.1)
        now = _counts(ports)
        if now == before:
            return
        before = now
    sys.exit("requests reach the backend though nobody sends any")


def _cpu(pids: Sequence[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)


def _counts(ports: Ports) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.stable}/counts") as answer:
        return dict(json.loads(answer.read()))


def _check(door: Door, load: str, sample: Sample) -> None:
    """A proxy that did not do its task has no figure."""
    split = door.task == "split" and door.name != DIRECT
    chance = 5 * (0.09 / sample.requests) ** 0.5  # five standard deviations of a draw of 10%
    if split and abs(sample.canary_share - 0.1) > chance + 0.002:
        sys.exit(f"{door.name}: {sample.canary_share:.1%} reached the canary, not 10%")
    if door.task == "mirror" and door.name != OURS and load in WHOLE and sample.mirrored < MIRRORED:
        sys.exit(f"{door.name}: {sample.mirrored:.1%} were mirrored, not all")


# ---------------------------------------------------------------------- writing
def _write(results: Results) -> None:
    raw = {
        task: {
            name: {load: [asdict(s) for s in found] for load, found in loads.items()}
            for name, loads in doors.items()
        }
        for task, doors in results.items()
    }
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "proxies.json").write_text(json.dumps(raw, indent=1) + "\n")
    fields = {"versions": versions(), "machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    fields |= {"rounds": str(ROUNDS), "seconds": f"{SECONDS:g}"}
    fields |= {f"{task}_table": "\n".join(_table(doors)) for task, doors in results.items()}
    fields |= {f"{task}_ratios": "\n".join(_ratios(task, doors)) for task, doors in results.items()}
    template = Template((ROOT / "benchmarks" / "proxies" / "page.md").read_text())
    (DOCS / "proxies.md").write_text(template.substitute(fields))
    print((DOCS / "proxies.md").read_text())


def _table(doors: Mapping[str, Mapping[str, Sequence[Sample]]]) -> list[str]:
    lines = [
        "| proxy | load | requests/s | p50 | p99 | CPU a request | of it: worker, sandbox, rest | mirrored |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, loads in doors.items():
        for load, samples in loads.items():
            cpu = _middle_cpu(samples)
            parts = ", ".join(f"{us:.1f}" for us in cpu.values()) if name == OURS else ""
            rate, p50, p99 = (
                median(getattr(s, figure) for s in samples)
                for figure in ("requests_per_second", "p50_us", "p99_us")
            )
            lines.append(
                f"| {name} | {load} | {rate:,.0f} | {p50:,.0f} us | {p99:,.0f} us "
                f"| {f'{sum(cpu.values()):.1f} us' if cpu else ''} | {parts} "
                f"| {median(s.mirrored for s in samples):.0%} |"
            )
    return lines


def _middle_cpu(samples: Sequence[Sample]) -> dict[str, float]:
    return {kind: median(s.cpu_us[kind] for s in samples) for kind in samples[0].cpu_us}


def _ratios(task: str, doors: Mapping[str, Mapping[str, Sequence[Sample]]]) -> list[str]:
    """Our CPU time a request over that of each other proxy, worker alone and all processes."""
    loads = WHOLE if task == "mirror" else tuple(LOADS)
    lines = ["| our CPU a request against | " + " | ".join(loads) + " |", "|---" * (len(loads) + 1) + "|"]
    for name in doors:
        if name in (OURS, DIRECT):
            continue
        for kind in ("worker alone", "all our processes"):
            cells = []
            for load in loads:
                cpu = _middle_cpu(doors[OURS][load])
                mine = cpu["worker"] if kind == "worker alone" else sum(cpu.values())
                mirrored = median(s.mirrored for s in doors[OURS][load])
                if task == "mirror" and mirrored < MIRRORED:
                    cells.append(f"none: {mirrored:.0%} mirrored")
                else:
                    cells.append(f"{mine / sum(_middle_cpu(doors[name][load]).values()):.2f}x")
            lines.append(f"| {name}, {kind} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
