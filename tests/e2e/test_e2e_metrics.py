"""/metrics as Prometheus sees it: its own checker, and a real server that scrapes and is asked."""

import contextlib
import shutil
import signal
import subprocess

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.hostile import hostile
from harness.raw import ask_all, request, tally
from harness.rows import DIGITS, body
from harness.system import eventually, free_port, running

ROLLOUT = """
digits:
  stable: digits/4
  canary: {model: digits/2, weight: 50, mirror: 100}
  shadows:
    - {model: digits/3, sample: 100}
  timeout: 2s
hostile:
  stable: digits/1
  canary: {model: digits/2, url: '%s', weight: 50}
"""
DESIGNED = {
    "understudy_requests", "understudy_request_seconds", "understudy_inference_seconds",
    "understudy_queue_seconds", "understudy_batch_size", "understudy_router_overhead_seconds",
    "understudy_failover", "understudy_shadow", "understudy_comparison", "understudy_comparison_distance",
    "understudy_rollout_weight", "understudy_rollout_phase", "understudy_rollout_step",
    "understudy_config_revision", "understudy_config_rejected", "understudy_model_ready",
    "understudy_model_load_seconds", "understudy_ejections",
}  # fmt: skip
SAMPLE = {"counter": "_total", "histogram": "_bucket", "gauge": ""}


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """A node on which something of every kind has happened."""
    with hostile() as server, running(tmp_path_factory.mktemp("metrics"), ROLLOUT % server.url) as up:
        server.manner = "500"
        for path in (DIGITS, "/v2/models/hostile/infer"):
            answers = tally(ask_all(up.port, (request(path, body(n)) for n in range(100)), connections=4))
            assert {status for status, _ in answers} == {200}
        up.edit("digits: {unknown: key}")
        eventually(lambda: up.metric("understudy_config_rejected_total") == 1, "a refused edit")
        eventually(lambda: up.metric("understudy_comparison_total") > 0, "comparisons")
        yield up


@pytest.fixture
def prometheus(up, tmp_path):
    """A Prometheus that scrapes the node; its client."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed (Debian package `prometheus`); CI installs it")
    config, port = tmp_path / "prometheus.yml", free_port()
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n"
        f"  - {{job_name: understudy, static_configs: [{{targets: ['127.0.0.1:{up.admin_port}']}}]}}\n"
    )
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )  # fmt: skip
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
        try:
            yield client
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def test_the_designed_families_are_there_with_help_and_type(up):
    families = {
        family.name: family for family in text_string_to_metric_families(up.admin.get("/metrics").text)
    }
    assert set(families) >= DESIGNED, DESIGNED - set(families)
    for family in families.values():
        assert family.documentation
        assert family.type in SAMPLE


def test_promtool_finds_nothing_to_complain_about(up):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`); CI installs it")
    text = up.admin.get("/metrics").content
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_real_prometheus_scrapes_it_and_has_an_answer_for_every_family(up, prometheus):
    def result(query: str) -> list[dict]:
        answer = prometheus.get("/api/v1/query", params={"query": query}).raise_for_status().json()
        return list(answer["data"]["result"])

    eventually(lambda: result('up{job="understudy"} == 1'), "scraped")
    for family in text_string_to_metric_families(up.admin.get("/metrics").text):
        query = family.name + SAMPLE[family.type]
        assert eventually(lambda: result(query), f"data for {query}")  # noqa: B023
    requests = eventually(lambda: result("sum(understudy_requests_total)"), "a sum")
    assert float(requests[0]["value"][1]) == up.metric("understudy_requests_total")
    quantile = 'histogram_quantile(0.99, sum by (le) (understudy_request_seconds_bucket{model="digits"}))'
    assert float(result(quantile)[0]["value"][1]) > 0
