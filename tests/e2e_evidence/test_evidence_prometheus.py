"""PromQL guards against a real Prometheus that scrapes the node."""

import json
import shutil
import subprocess
import time

import httpx
import pytest

from harness.pilot import piloted, rollout
from harness.system import eventually, free_port, running

BINARY = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(BINARY is None, reason="there is no `prometheus` binary on this machine")


class Prometheus:
    """A server that scrapes one admin door every second."""

    def __init__(self, folder, port):
        self.url = f"http://127.0.0.1:{port}"
        self._folder, self._port = folder, port
        self._process = None

    def start(self, admin_port):
        target = {"job_name": "understudy", "static_configs": [{"targets": [f"127.0.0.1:{admin_port}"]}]}
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}
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

    def value(self, query):
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query, "time": time.time()})
        return float(answer.raise_for_status().json()["data"]["result"][0]["value"][1])

    def kill(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    server = Prometheus(folder, free_port())
    environment = {"UNDERSTUDY_PROMETHEUS": server.url}
    with running(folder, "digits: {stable: digits/1}", environment=environment) as up:
        try:
            server.start(up.admin_port)
            yield server, up
        finally:
            server.kill()


def guarded(query, **bounds):
    """A guard on errors that any traffic proves, and one on a value."""
    guard = {"promql": query, "interval": "1s", "mode": "enforce", **bounds}
    guards = {"errors": {"max": "50%"}, "scraped": guard}
    return rollout("digits/2", guards, {"prove": {}}, {"pause": {}}, weight=50)


def test_a_value_within_bounds_lets_the_rollout_go_on(both):
    _, up = both
    query = "sum(understudy_config_revision)"
    with piloted(up, "within", guarded(query, min=1)) as pilot, pilot.load(50):
        pilot.wait_step(3)
        assert pilot.status["phase"] == "paused"
        assert "scraped: proven" in pilot.history[0]["reason"]


def test_a_value_out_of_bounds_takes_the_canary_off(both):
    _, up = both
    with piloted(up, "beyond", guarded("sum(understudy_config_revision)", max=0)) as pilot:
        status = pilot.wait_phase("rolled_back")
        assert "wanted at most 0" in status["reason"]


@pytest.mark.parametrize("query", ["vector(0) / vector(0)", "understudy_no_such_metric"])
def test_a_value_that_is_none_decides_nothing(both, query):
    _, up = both
    with piloted(up, "nan", guarded(query, min=1)) as pilot:
        with pilot.load(50):
            eventually(lambda: pilot.guard("errors").get("verdict") == "proven", "the other guard is proven")
        eventually(lambda: "had no value" in pilot.judgement.get("reason", ""), "measured")
        pilot.look()
        assert pilot.status["phase"] == "progressing"
        assert pilot.judgement["verdict"] == "undecided"


def test_a_prometheus_that_goes_away_decides_nothing(both):
    server, up = both
    with piloted(up, "down", guarded("sum(up)", min=1)) as pilot:  # without requests it stays at its step
        eventually(lambda: pilot.guard("scraped").get("verdict") == "proven", "in bounds while it is up")
        server.kill()
        eventually(lambda: pilot.guard("scraped")["verdict"] == "undecided", "undecided")
        pilot.look()
        assert "had no value" in pilot.guard("scraped")["reason"]
        assert pilot.status["phase"] == "progressing"
        server.start(up.admin_port)
