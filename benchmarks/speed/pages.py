"""Open pages: what 50 of them cost control, and whether the data plane notices.

A page is a stream of `/v1/events` with the topics that the browser's page asks for, read to its end as the
page reads it; what the browser draws of it costs the machine of whoever looks. Windows with and without
pages take turns. Everything of Understudy runs on core 0, wrk and the readers on core 1; the data plane is
driven over one connection in a closed loop, so that whatever takes core 0 from the worker shows in its p99.

PAGES (50), PAGES_ROUNDS (7), PAGES_SECONDS (15, of one window).
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from sys import executable

import aiohttp

from benchmarks.tools.bench import DOCS, LOAD_CORE, ROOT, Run, free_port, machine, server, wrk
from serving.host.usage import process_load

PAGES = int(os.environ.get("PAGES", "50"))
ROUNDS = int(os.environ.get("PAGES_ROUNDS", "7"))
SECONDS = float(os.environ.get("PAGES_SECONDS", "15"))
ROLLOUTS = """\
iris:
  stable: iris/1
  canary: {model: iris/2, weight: 10, mirror: 20}
  guards: {errors: {max: 50%}, latency: {maxRatio: 100}}
"""
TOPICS = ("overview", "rollout:iris")
"""Half the pages show all rollouts, half of them one."""


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of load.

    Attributes:
        run: of the data plane.
        control_cpu: CPU seconds that control used in a second.
    """

    run: Run
    control_cpu: float


def main() -> None:
    """Measure and write docs/benchmarks/pages.md."""
    windows: dict[str, list[Window]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _models(folder / "models")
        (folder / "rollouts.yaml").write_text(ROLLOUTS)
        port, admin = free_port(), free_port()
        url = f"http://127.0.0.1:{port}/v2/models/iris/infer"
        command = [
            executable, "-m", "understudy", "up", "--models", str(folder / "models"), "--rollouts",
            str(folder / "rollouts.yaml"), "--host", "127.0.0.1", "--port", str(port), "--admin-port",
            str(admin), "--state-dir", str(folder / "state"), "--log-level", "error",
        ]  # fmt: skip
        with server(command, url):
            pids = _pids(admin)
            for _ in range(ROUNDS):
                windows["without"].append(_window(url, pids))
                with _open_pages(admin):
                    windows["with"].append(_window(url, pids))
                print({kind: found[-1] for kind, found in windows.items()}, flush=True)
    _write(windows)


def _models(folder: Path) -> None:
    """Iris twice, so that the candidate costs what stable costs."""
    for number in ("1", "2"):
        path = folder / "iris" / number / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes((ROOT / "models" / "iris" / "1" / "model.onnx").read_bytes())
    (folder / "iris" / "config.yaml").write_text("versions: all\n")


def _pids(admin: int) -> dict[str, int]:
    """Kind -> process id, once every process has reported."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/v1/load") as answer:
            found = {
                row["kind"]: row["pid"] for node in json.loads(answer.read()) for row in node["processes"]
            }
        if {"control", "worker", "sandbox"} <= found.keys():
            return found
        time.sleep(0.2)
    sys.exit("the node did not report its processes")


def _window(url: str, pids: dict[str, int]) -> Window:
    before, began = process_load(pids["control"]), time.monotonic()
    run = wrk(url, 1, SECONDS, [pids["worker"]])
    after, seconds = process_load(pids["control"]), time.monotonic() - began
    if before is None or after is None:
        sys.exit("control ended")
    return Window(run, (after.cpu_seconds - before.cpu_seconds) / seconds)


@contextmanager
def _open_pages(admin: int) -> Iterator[None]:
    """Pages in a process of their own, from when each has got its first digest; none may have stopped."""
    arguments = [executable, "-m", "benchmarks.speed.pages", "read", f"http://127.0.0.1:{admin}/v1/events"]
    readers = subprocess.Popen(
        ["taskset", "-c", LOAD_CORE, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert readers.stdout is not None
        if readers.stdout.readline() != "open\n":
            sys.exit("the pages did not open")
        yield
        if readers.poll() is not None:
            sys.exit("a page's stream ended")
    finally:
        readers.kill()
        readers.wait()


async def _read(url: str) -> None:
    waiting = PAGES
    opened = asyncio.Event()

    async def one(session: aiohttp.ClientSession, topic: str) -> None:
        nonlocal waiting
        first = True
        async with session.get(url, params={"topic": topic}) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if first and line.startswith(b"data: "):
                    json.loads(line[6:])
                    first, waiting = False, waiting - 1
                    if not waiting:
                        opened.set()
        raise EOFError

    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=1 << 20) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(PAGES):
            group.create_task(one(session, TOPICS[number % len(TOPICS)]))
        async with asyncio.timeout(60):
            await opened.wait()
        print("open", flush=True)


def _write(windows: dict[str, list[Window]]) -> None:
    raw = {kind: [asdict(window) for window in found] for kind, found in windows.items()}
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "pages.json").write_text(json.dumps(raw, indent=1) + "\n")
    rows = []
    for kind, found in windows.items():
        p50s, p99s = ([getattr(window.run, key) for window in found] for key in ("p50_us", "p99_us"))
        cpu = [100 * window.control_cpu for window in found]
        name = f"{PAGES} pages open" if kind == "with" else "no page open"
        rows.append(f"| {name} | {_spread(p50s)} us | {_spread(p99s)} us | {_spread(cpu)}% |")
    lines = [
        "# Open pages",
        "",
        "`make bench PARTS=pages` wrote this page and `pages.json` (the raw figures). Control, worker,",
        "sandbox and supervisor share core 0; wrk (one connection, closed loop) and the readers of the",
        f"pages' streams are on core 1. {ROUNDS} windows of {SECONDS:g} s each, in turn: median (lowest to",
        "highest). A page is its stream of events, read to the end; the browser's own work is not in it.",
        "",
        f"Machine: {machine()}.",
        "",
        "| | data plane p50 | data plane p99 | control's CPU, of one core |",
        "|---|---|---|---|",
        *rows,
    ]
    (DOCS / "pages.md").write_text("\n".join(lines) + "\n")


def _spread(values: list[float]) -> str:
    middle, low, high = (
        f"{one:,.0f}" if one >= 100 else f"{one:.3g}" for one in (median(values), min(values), max(values))
    )
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        asyncio.run(_read(sys.argv[2]))
    else:
        main()
