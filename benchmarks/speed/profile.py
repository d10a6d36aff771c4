"""`python -m benchmarks.speed.profile`: where a request's CPU time goes, into docs/benchmarks/profile.md.

Beside the goals that are missed stands here what the processes in question did: perf samples their CPU clock
while wrk drives them, and each sample belongs to the library it fell into. The CPU time a request is measured
in the same seconds, so shares become microseconds. Needs Debian's linux-perf, haproxy and wrk.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from sys import executable

import numpy as np

from benchmarks.batching.load import questions
from benchmarks.batching.models import MLP_WIDTHS, mlp, put
from benchmarks.proxies.peers import Ports, haproxy
from benchmarks.tools.bench import DOCS, LOAD_CORE, ROOT, free_port, machine, server, wrk
from benchmarks.tools.ours import children, ours

SECONDS = 6
INFER = "/v2/models/iris/infer"
KINDS = {
    "kernel": r"^\[",
    "onnxruntime": r"onnxruntime",
    "interpreter": r"^(lib)?python",
    "event loop": r"^loop\.",
    "C library": r"^(libc|ld-linux|libpthread|libm)[-.]",
}
"""What a library is called in the table; all others are `other`."""


@dataclass(slots=True)
class Profile:
    """One kind of process under one load.

    Attributes:
        title: of the row.
        cpu_us: a request, of all its threads.
        shares: of the samples, by kind; they add up to 1.
        symbols: the functions most often met, as perf names them.
    """

    title: str
    cpu_us: float
    shares: dict[str, float] = field(default_factory=dict)
    symbols: list[str] = field(default_factory=list)


def main() -> None:
    """Profile and write."""
    for program in ("perf", "wrk", "haproxy"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is needed: apt-get install linux-perf wrk haproxy")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for profile in (*_hot_path(Path(folder)), *_hop(Path(folder)), *_batches(Path(folder))):
            print(profile.title, f"{profile.cpu_us:.1f} us", profile.shares, flush=True)
            found.append(profile)
    _write(found)


# ---------------------------------------------------------------------- what is profiled


def _hot_path(folder: Path) -> Iterator[Profile]:
    with ExitStack() as stack:
        url = f"http://127.0.0.1:{(port := free_port())}{INFER}"
        floor = stack.enter_context(server([executable, "benchmarks/speed/floor.py", str(port)], url))
        yield _profile("floor, c=32", [floor.pid], url, 32)
        system = stack.enter_context(
            ours(folder / "hot", "iris: {stable: iris/1}\n", models=ROOT / "models", workers=1)
        )
        url = f"http://127.0.0.1:{system.port}{INFER}"
        for connections in (32, 1):
            yield _profile(
                f"worker, model in process, c={connections}", system.pids["worker"], url, connections
            )


def _hop(folder: Path) -> Iterator[Profile]:
    with ExitStack() as stack:
        ports = Ports(free_port(), free_port(), free_port())
        numbers = [str(port) for port in (ports.stable, ports.canary, ports.mirror)]
        command = ["taskset", "-c", LOAD_CORE, executable, "-m", "benchmarks.proxies.backend", *numbers]
        stack.enter_context(server(command, f"http://127.0.0.1:{ports.stable}{INFER}"))
        url = f"http://127.0.0.1:{(port := free_port())}{INFER}"
        proxy = stack.enter_context(server(haproxy(folder, port, ports), url))
        yield _profile("HAProxy as a hop, c=16", [proxy.pid, *children(proxy.pid)], url, 16)
        (folder / "none").mkdir()
        stable = f"stable: {{model: iris/1, url: 'http://127.0.0.1:{ports.stable}'}}"
        canary = f"canary: {{model: iris/2, url: 'http://127.0.0.1:{ports.canary}', weight: 10}}"
        shadow = f"shadows: [{{model: iris/3, url: 'http://127.0.0.1:{ports.mirror}', sample: 100}}]"
        hop = stack.enter_context(
            ours(folder / "hop", f"iris: {{{stable}, {canary}, timeout: 10s}}\n", models=folder / "none")
        )
        url = f"http://127.0.0.1:{hop.port}{INFER}"
        yield _profile("worker as a hop, c=16", hop.pids["worker"], url, 16)
        mirror = stack.enter_context(
            ours(
                folder / "mirror",
                f"iris: {{{stable}, {shadow}, timeout: 10s}}\n",
                models=folder / "none",
                sandboxes=1,
            )
        )
        url = f"http://127.0.0.1:{mirror.port}{INFER}"
        for kind in ("worker", "sandbox"):
            yield _profile(f"{kind}, all mirrored, paced", mirror.pids[kind], url, 64, "paced.lua")


def _batches(folder: Path) -> Iterator[Profile]:
    model = put(mlp(*MLP_WIDTHS), folder / "models", "mlp") / "model.onnx"
    with ours(folder / "batches", "mlp: {stable: mlp/1}\n", models=model.parents[2]) as system:
        url = f"http://127.0.0.1:{system.port}/v2/models/mlp/infer"
        [question] = questions(model, [np.ones((1, MLP_WIDTHS[0]), np.float32)])
        (folder / "body").write_bytes(question.body)
        os.environ["BENCH_BODY"] = str(folder / "body")
        os.environ["BENCH_JSON_LENGTH"] = str(question.json_length)
        yield _profile("worker, large MLP, c=32", system.pids["worker"], url, 32, "batching.lua")


# ---------------------------------------------------------------------- profiling


def _profile(
    title: str, pids: Sequence[int], url: str, connections: int, script: str = "request.lua"
) -> Profile:
    """Sample these processes while wrk drives them; the first second is not theirs alone, as perf starts."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "perf.data")
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "397", "-p", ",".join(map(str, pids))]
        with subprocess.Popen(
            ["taskset", "-c", LOAD_CORE, *command, "-o", data], stdout=subprocess.DEVNULL
        ) as recording:
            run = wrk(url, connections, SECONDS, pids, script)
            recording.terminate()
        libraries = _report(data, "dso")
        symbols = _report(data, "dso,symbol")
    shares = dict.fromkeys([*KINDS, "other"], 0.0)
    for percent, library in libraries:
        kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, library)), "other")
        shares[kind] += percent / 100
    whole = sum(shares.values()) or 1.0
    names = [f"{percent:.1f}% {name}" for percent, name in symbols[:25]]
    return Profile(title, run.cpu_us, {kind: share / whole for kind, share in shares.items()}, names)


def _report(data: str, sort: str) -> list[tuple[float, str]]:
    """Percent and name, the most first."""
    command = [
        "perf",
        "report",
        "-i",
        data,
        "--stdio",
        "--sort",
        sort,
        "-F",
        f"overhead,{sort}",
        "-w",
        "0,0,0",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"^\s*([\d.]+)%\s+(.+?)\s*$", text, re.MULTILINE)
    return [(float(percent), re.sub(r"\s+", " ", name)) for percent, name in lines]


# ---------------------------------------------------------------------- writing


def _write(found: Sequence[Profile]) -> None:
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "profile.json").write_text(json.dumps([asdict(profile) for profile in found], indent=1) + "\n")
    kinds = [*KINDS, "other"]
    page = [
        "# Where the CPU time goes", "",
        "`make bench PARTS=profile` wrote this page and `profile.json` (with the functions most often met).",
        str(__doc__).split("\n\n", 1)[1].strip(), "",
        f"One core, {SECONDS} s each. {datetime.now(UTC):%Y-%m-%d}. Machine: {machine()}.", "",
        "| CPU time a request, us | " + " | ".join(["all", *kinds]) + " |",
        "|---" * (len(kinds) + 2) + "|",
        *(_row(profile, kinds) for profile in found), "",
        "The interpreter runs our code; what httptools, orjson and numpy take is in `other`.", "",
    ]  # fmt: skip
    (DOCS / "profile.md").write_text("\n".join(page))
    print("\n".join(page))


def _row(profile: Profile, kinds: Sequence[str]) -> str:
    cells = [f"{profile.cpu_us * profile.shares[kind]:.1f}" for kind in kinds]
    return f"| {profile.title} | {profile.cpu_us:.1f} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
