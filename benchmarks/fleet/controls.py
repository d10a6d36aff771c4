"""What the simulated hosts speak to: control on a core of its own, PostgreSQL, and HAProxy in front."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from benchmarks.tools.bench import ROOT, SERVER_CORE, cpu_seconds, resident_bytes

sys.path.insert(0, str(ROOT / "tests"))

from harness.postgres import Server
from harness.system import eventually, free_port

HAPROXY = """
defaults
  mode tcp
  timeout connect 1s
  timeout client 1m
  timeout server 1m
  timeout check 2s
listen nodes
  bind 127.0.0.1:{port}
  maxconn 4000
  option httpchk GET /readyz/lead
  default-server check inter 100ms fall 1 rise 1 on-marked-down shutdown-sessions
{servers}
"""
"""A connection goes to whichever control leads, which is asked ten times a second."""


class Control:
    """`understudy control` on the core for it.

    Args:
        folder: of its state and log.
        database: URL.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._database = database
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        words = [
            "taskset", "-c", SERVER_CORE, sys.executable, "-m", "understudy", "control",
            "--models", str(ROOT / "models"), "--state-dir", str(self._folder / "state"),
            "--rollouts", str(self._folder / "none.yaml"), "--admin-port", str(self.port),
        ]  # fmt: skip
        environment = {**os.environ, "UNDERSTUDY_DATABASE": self._database}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT, env=environment)

    def leads(self) -> bool:
        """Whether it says that it leads, and has taken up what is stored."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz/lead", timeout=5.0, trust_env=False).status_code == 200
        return False

    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return cpu_seconds(self._process.pid)

    def memory_mb(self) -> float:
        """What of it is resident."""
        return resident_bytes(self._process.pid) / 1e6

    def log(self) -> str:
        """The end of what it has logged."""
        return (self._folder / "log").read_text()[-4000:]

    def kill(self) -> None:
        """As if its machine had crashed."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """In order."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def database() -> Iterator[str]:
    """An empty one, of a PostgreSQL server of its own on the caller's core."""
    server = Server()
    try:
        yield server.new_database()
    finally:
        server.stop()
        shutil.rmtree(server.folder)


@contextmanager
def controls(folder: Path, database: str, number: int) -> Iterator[list[Control]]:
    """So many over one database, of which the first leads."""
    found: list[Control] = []
    try:
        for each in range(number):
            found.append(control := Control(folder / f"control-{each}", database))
            if each == 0:
                eventually(control.leads, "control leads", 120)
        yield found
    except BaseException:
        for each in found:
            print(each.log(), file=sys.stderr)
        raise
    finally:
        for each in found:
            each.end()


@contextmanager
def balanced(folder: Path, found: list[Control]) -> Iterator[str]:
    """The URL of HAProxy in front of these."""
    port = free_port()
    servers = "\n".join(f"  server c{each.port} 127.0.0.1:{each.port}" for each in found)
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, servers=servers))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(folder / "haproxy.cfg")])
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: httpx.get(f"{url}/healthz", trust_env=False).status_code == 200, "HAProxy")
        yield url
    finally:
        process.terminate()
        process.wait(30)
