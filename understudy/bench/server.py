"""The server under load: one that is started here, or one that runs already at a URL."""

import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from serving.admission.saturation import SATURATION
from serving.errors import InvalidInput
from serving.host.usage import process_load
from serving.places import Origin
from understudy.bench.steps import Usage

START_SECONDS = 60.0


class Server:
    """What answers.

    Args:
        url: of the public door.
        pid: of its first process when it runs here; its children are looked at too.
        metrics: URL of its metrics; empty where nobody said.
    """

    def __init__(self, url: str, pid: int | None = None, metrics: str = "") -> None:
        self.url = url
        self._pid = pid
        self._metrics = metrics
        self._began = (0.0, 0.0)

    def begin(self) -> None:
        """A step begins: remember what was used until now."""
        self._began = (time.monotonic(), self._cpu_seconds())

    def usage(self) -> Usage | None:
        """Since `begin`; None for a server elsewhere."""
        if self._pid is None:
            return None
        began, cpu = self._began
        seconds = max(time.monotonic() - began, 1e-9)
        loads = [load for pid in _tree(self._pid) if (load := process_load(pid))]
        return Usage(max(0.0, self._cpu_seconds() - cpu) / seconds, sum(load.memory_bytes for load in loads))

    def saturation(self) -> float | None:
        """Its `understudy_saturation` just now; None where it does not say."""
        if not self._metrics:
            return None
        try:
            text = httpx.get(self._metrics, trust_env=False).raise_for_status().text
        except httpx.HTTPError as error:
            raise InvalidInput(f"--metrics: {self._metrics}: {error}") from None
        found = re.search(rf"^{SATURATION.name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def _cpu_seconds(self) -> float:
        if self._pid is None:
            return 0.0
        return sum(load.cpu_seconds for pid in _tree(self._pid) if (load := process_load(pid)))


class OwnServer(Server):
    """`understudy up` with a rollout file, or `understudy serve` without, on free ports, until `end`.

    Args:
        models: where they come from.
        rollouts: the rollout file; None serves every model under its own name.
        options: further command-line options.

    Raises:
        InvalidInput: it did not become ready; with the end of what it printed.
    """

    def __init__(self, models: Origin, rollouts: Path | None, options: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="understudy-bench-")
        self._log = Path(self._folder.name) / "log"
        port, admin_port = _free_port(), _free_port()
        places = [word for place in models.places.named for word in ("--models", place)]
        command = ["serve", *places, "--model-cache", str(models.cache)]
        if rollouts is not None:
            command = ["up", *command[1:], "--rollouts", str(rollouts)]
            command += ["--admin-port", str(admin_port)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--state-dir", self._folder.name, *options]
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(  # noqa: S603  (our own command)
                [sys.executable, "-m", "understudy", *command], stdout=log, stderr=subprocess.STDOUT
            )
        shown = port if rollouts is None else admin_port
        super().__init__(f"http://127.0.0.1:{port}", self._popen.pid, f"http://127.0.0.1:{shown}/metrics")
        try:
            self._wait_ready(f"http://127.0.0.1:{admin_port}" if rollouts is not None else "")
        except BaseException:
            self.end()
            raise

    def _wait_ready(self, admin_url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._popen.poll() is not None:
                raise InvalidInput(f"the server ended: {self._said()}")
            if self._ready(admin_url):
                return
            time.sleep(0.05)
        raise InvalidInput(f"the server was not ready in {START_SECONDS:g} s: {self._said()}")

    def _ready(self, admin_url: str) -> bool:
        try:
            if httpx.get(f"{self.url}/v2/health/ready", trust_env=False).status_code != 200:
                return False
            if not admin_url:
                return True
            views = httpx.get(f"{admin_url}/v1/rollouts", trust_env=False).json()
            targets = [target for view in views for target in view["targets"]]
            return all(target["ready"] and all(target["ready"].values()) for target in targets)
        except httpx.HTTPError:
            return False

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-500:].strip()

    def end(self) -> None:
        """End it, and remove what it kept."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(30)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._folder.cleanup()


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                yield from _tree(int(child))
    except OSError:
        return  # it ended meanwhile


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
