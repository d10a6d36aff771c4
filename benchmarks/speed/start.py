"""From the start of `understudy up` to the first answer of each of five models; the memory of its processes.

First with an empty state folder, so that every model is verified in a process of its own, then again with
what that start remembered, as after a restart of the machine. All processes on all cores.
"""

import json
import statistics
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from sys import executable

from benchmarks.tools.bench import DOCS, ROOT, free_port, machine, resident_bytes

ROUNDS = 7
DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.01
KINDS = {"router.worker": "worker", "router.sandbox": "sandbox", "control": "control"}


@dataclass(frozen=True, slots=True)
class Start:
    """One start.

    Attributes:
        seconds: until the public door said ready for every model of the rollout file.
        bytes: resident memory of each kind of process once all are up (the largest of a kind); its shared
            pages (libraries) are counted in full.
    """

    seconds: float
    bytes: dict[str, int]


def main() -> None:
    """Measure and write docs/benchmarks/start.md."""
    results: dict[str, list[Start]] = {"the first start": [], "a start with the same state": []}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            for runs in results.values():
                runs.append(_start(Path(folder)))
                print(runs[-1], flush=True)
    _write(results)


def _start(folder: Path) -> Start:
    port, admin = free_port(), free_port()
    command = [
        executable, "-m", "understudy", "up", "--models", "models", "--rollouts", "rollouts.yaml", "--host",
        "127.0.0.1", "--port", str(port), "--admin-port", str(admin), "--state-dir", str(folder),
        "--log-level", "error",
    ]  # fmt: skip
    models = _models()
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        while models:
            if time.monotonic() - began > DEADLINE_SECONDS or process.poll() is not None:
                raise SystemExit(f"not ready: {', '.join(models)}")
            models = [model for model in models if not _is_ready(port, model)]
            if models:
                time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - began
        return Start(seconds, _memory(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def _models() -> list[str]:
    """The public names in the bundled rollout file."""
    lines = (ROOT / "rollouts.yaml").read_text().splitlines()
    return [line.removesuffix(":") for line in lines if line[:1].isalpha()]


def _is_ready(port: int, model: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/{model}/ready", timeout=1) as answer:
            return json.loads(answer.read()).get("ready") is not False
    except OSError:
        return False


def _memory(supervisor: int) -> dict[str, int]:
    """Resident bytes of the supervisor and of the largest of each kind of its children."""
    found = {"supervisor": resident_bytes(supervisor)}
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for child in children:
        arguments = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        kind = next((name for module, name in KINDS.items() if module in arguments), None)
        if kind is not None:
            found[kind] = max(found.get(kind, 0), resident_bytes(int(child)))
    return found


def _write(results: dict[str, list[Start]]) -> None:
    raw = {name: [asdict(run) for run in runs] for name, runs in results.items()}
    (DOCS / "start.json").write_text(json.dumps(raw, indent=1) + "\n")
    lines = [
        "# Start and memory",
        "",
        "`make bench PARTS=start` wrote this page and `start.json` (the raw figures): `understudy up` with",
        f"the bundled models and rollouts ({len(_models())} public names), {ROUNDS} times each, all cores.",
        "Ready is when the public door says so of every model: verified in another process, loaded, warm.",
        "",
        f"Machine: {machine()}.",
        "",
        "| | median | slowest |",
        "|---|---|---|",
    ]
    for name, runs in results.items():
        seconds = [run.seconds for run in runs]
        lines.append(f"| {name} | {statistics.median(seconds):.2f} s | {max(seconds):.2f} s |")
    lines += ["", "| process | resident memory, most |", "|---|---|"]
    runs = [run for several in results.values() for run in several]
    for kind in ("worker", "sandbox", "control", "supervisor"):
        most = max(run.bytes.get(kind, 0) for run in runs)
        lines.append(f"| {kind} | {most / 1e6:.0f} MB |")
    (DOCS / "start.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
