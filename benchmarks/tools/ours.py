"""`understudy up` as the benchmarks of proxies, shadows and workers start it; the CPU time of its parts."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.tools.bench import ROOT, cpu_seconds, free_port

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ours:
    """A system that runs.

    Attributes:
        port, admin_port: of its doors, on 127.0.0.1.
        pids: its processes by what they are for: worker, sandbox, control and supervisor.
        supervisor: the process that started them.
    """

    port: int
    admin_port: int
    pids: Mapping[str, Sequence[int]]
    supervisor: int

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far of each kind of process, user and system."""
        return {kind: sum(cpu_seconds(pid) for pid in pids) for kind, pids in self.pids.items()}

    def ready(self, kind: str) -> list[int]:
        """Process ids of its workers or sandboxes that are ready, and say of no problem."""
        return _ready_pids(self.admin_port)[kind]

    def told_of(self, kind: str) -> list[int]:
        """Process ids of another kind that control has heard of."""
        return [pid for found, pid, _ in _heard(self.admin_port) if found == kind]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples on /metrics of this name and with these labels, among others."""
        text = _get(f"http://127.0.0.1:{self.admin_port}/metrics").decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@contextmanager
def ours(
    folder: Path,
    rollouts: str,
    *,
    models: Path,
    cores: str = "0",
    workers: int = 1,
    sandboxes: int = 0,
    tree: Path = ROOT,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    grpc_port: int | None = None,
) -> Iterator[Ours]:
    """A system on these cores, from when every target of the rollouts is ready until the end of the block.

    Args:
        folder: for what it writes; made here.
        rollouts: the rollout file's text.
        models: the repository.
        cores: as taskset takes them, for all its processes.
        workers: how many.
        sandboxes: how many the rollouts need.
        tree: the checkout whose code runs.
        options: of `understudy up`, beside those that follow from the rest.
        environment: of its processes; that of this one where None.
        grpc_port: where one worker more speaks gRPC; None for no such one.
    """
    if grpc_port is not None:
        options = (*options, "--grpc-workers", "1", "--grpc-port", str(grpc_port))
    folder.mkdir(parents=True)
    (folder / "rollouts.yaml").write_text(rollouts)
    port, admin = free_port(), free_port()
    command = [
        "taskset", "-c", cores, sys.executable, "-m", "understudy", "up", "--models", str(models),
        "--rollouts", str(folder / "rollouts.yaml"), "--host", "127.0.0.1", "--port", str(port),
        "--admin-port", str(admin), "--state-dir", str(folder / "state"), "--log-level", "error",
        "--workers", str(workers), *options,
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tree, env=environment, start_new_session=True
        )
        try:
            wanted = workers + (grpc_port is not None)
            yield Ours(port, admin, _ready(process, admin, wanted, sandboxes), process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _ready(
    process: subprocess.Popen[bytes], admin: int, workers: int, sandboxes: int
) -> dict[str, list[int]]:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        pids = _ready_pids(admin)
        if len(pids["worker"]) == workers and len(pids["sandbox"]) == sandboxes:
            known = {*pids["worker"], *pids["sandbox"]}
            rest = [pid for pid in (process.pid, *children(process.pid)) if pid not in known]
            return {**pids, "control and supervisor": rest}
        time.sleep(0.1)
    sys.exit("understudy up did not become ready")


def _ready_pids(admin: int) -> dict[str, list[int]]:
    pids: dict[str, list[int]] = {"worker": [], "sandbox": []}
    with suppress(OSError):
        for kind, pid, row in _heard(admin):
            if kind in pids and row["ready"] and not row["problems"]:
                pids[kind].append(pid)
    return pids


def _heard(admin: int) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Kind, id and report of each process."""
    for row in json.loads(_get(f"http://127.0.0.1:{admin}/v1/nodes")):
        yield row["kind"], int(row["instance"].rpartition("/")[2]), row


def children(pid: int) -> list[int]:
    """Processes that this one started, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children(child)]
    return found


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())
