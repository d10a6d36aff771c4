"""A real Prometheus beside a system under test."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.system import eventually, free_port

BINARY = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    BINARY is None, reason="no `prometheus` here (the Debian package of that name); CI installs it"
)


class Prometheus:
    """A server that scrapes one admin door. It is started later, so that its URL may be told before.

    Args:
        folder: configuration, data and log go there.
        rules: rule files that it evaluates every second.
        interval: between two scrapes, as Prometheus writes it.
    """

    def __init__(self, folder: Path, rules: tuple[Path, ...] = (), interval: str = "1s") -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._folder, self._rules, self._interval = folder, rules, interval
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, admin_port: int) -> None:
        """Start, and wait until the door was scraped."""
        assert BINARY is not None
        target = {"job_name": "understudy", "static_configs": [{"targets": [f"127.0.0.1:{admin_port}"]}]}
        every = {"scrape_interval": self._interval, "scrape_timeout": self._interval}
        config = {
            "global": {**every, "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in self._rules],
            "scrape_configs": [target],
        }
        (self._folder / "prometheus.yml").write_text(json.dumps(config))
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    BINARY,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: self.value("up{job='understudy'}") == 1.0, "the node is scraped")

    def result(self, query: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        parameters = {"query": query, "time": str(time.time())}
        answer = httpx.get(f"{self.url}/api/v1/query", params=parameters, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"]["result"])

    def value(self, query: str) -> float:
        """The first of them."""
        return float(self.result(query)[0]["value"][1])

    def kill(self) -> None:
        """At once; it may not have been started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def scraping(folder: Path, admin_port: int, rules: tuple[Path, ...] = ()) -> Iterator[Prometheus]:
    """A Prometheus that scrapes this door five times a second, killed afterwards."""
    server = Prometheus(folder, rules, "200ms")
    try:
        server.start(admin_port)
        yield server
    finally:
        server.kill()
