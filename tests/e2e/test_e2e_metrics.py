"""/metrics as Prometheus sees it: its own checker, and a real server that scrapes and is asked."""

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.hostile import hostile
from harness.pilot import piloted
from harness.prometheus import needs_prometheus, scraping
from harness.raw import ask_all, request, tally
from harness.rows import body
from harness.shared import BASE
from harness.system import eventually

MEASURED = {
    "stable": "digits/4",
    "canary": {"model": "digits/2", "weight": 50, "mirror": 100},
    "shadows": [{"model": "digits/3", "sample": 100}],
    "guards": {"agreement": {"output": "label", "min": "50%", "mode": "observe"}},
    "timeout": "2s",
}
OURS = {"measured", "erring"}
EVIDENCE = 'understudy_guard_evidence{direction="harm",guard="agreement:label",model="measured"}'
DESIGNED = {
    "understudy_requests", "understudy_request_seconds", "understudy_inference_seconds",
    "understudy_queue_seconds", "understudy_batch_size", "understudy_router_overhead_seconds",
    "understudy_failover", "understudy_shadow", "understudy_comparison", "understudy_comparison_distance",
    "understudy_rollout_weight", "understudy_rollout_phase", "understudy_rollout_step",
    "understudy_guard_evidence",
    "understudy_config_revision", "understudy_config_rejected", "understudy_model_ready",
    "understudy_model_load_seconds", "understudy_ejections",
}  # fmt: skip
SAMPLE = {"counter": "_total", "histogram": "_bucket", "gauge": ""}


@pytest.fixture(scope="module")
def up(node):
    """A node on which something of every kind has happened."""
    rejected = node.metric("understudy_config_rejected_total")
    with hostile() as server:
        failing = {"stable": "digits/1", "canary": {"model": "digits/2", "url": server.url, "weight": 50}}
        server.manner = "500"
        with piloted(node, "measured", MEASURED) as measured, piloted(node, "erring", failing) as erring:
            eventually(measured.ready, "ready")
            for path in (measured.infer, erring.infer):
                asked = (request(path, body(n)) for n in range(100))
                assert {status for status, _ in tally(ask_all(node.port, asked, connections=4))} == {200}
            node.edit("digits: {unknown: key}")
            refused = lambda: node.metric("understudy_config_rejected_total") == rejected + 1  # noqa: E731
            eventually(refused, "a refused edit")
            eventually(lambda: measured.metric("comparison_total") > 0, "comparisons")
            eventually(lambda: EVIDENCE in node.admin.get("/metrics").text, "evidence")
            yield node
            node.edit(BASE)
            eventually(lambda: node.admin.get("/readyz").status_code == 200, "accepted again")


@pytest.fixture
def prometheus(up, tmp_path):
    """A Prometheus that scrapes the node."""
    with scraping(tmp_path, up.admin_port) as server:
        yield server


def test_the_designed_families_are_there_with_help_and_type(up):
    families = {
        family.name: family for family in text_string_to_metric_families(up.admin.get("/metrics").text)
    }
    assert set(families) >= DESIGNED, DESIGNED - set(families)
    of_ours = {
        name
        for name, family in families.items()
        if any(sample.labels.get("model", "measured") in OURS for sample in family.samples)
    }
    assert of_ours >= DESIGNED, DESIGNED - of_ours
    for family in families.values():
        assert family.documentation
        assert family.type in SAMPLE


def test_no_name_that_clients_make_up_gets_into_the_metrics(up):
    for number in range(3):
        name = f"madeup-{number}"
        up.client.post(f"/v2/models/{name}/infer", content=body(number), headers={"x-user-id": name})
        up.client.post(f"/v2/models/digits/versions/{number + 100}/infer", content=body(number))
        up.client.request(f"MADEUP{number}", f"/{name}")
        told = [{"receipt": name, "name": name, "value": 1}]
        up.client.post("/v1/outcomes", json=told)
        up.admin.post("/v1/outcomes", json=told)
    text = up.admin.get("/metrics").text
    assert "madeup" not in text.lower()
    assert 'target="digits/10' not in text, "of versions that nobody has"


def test_promtool_finds_nothing_to_complain_about(up):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`); CI installs it")
    text = up.admin.get("/metrics").content
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@needs_prometheus
def test_a_real_prometheus_scrapes_it_and_has_an_answer_for_every_family(up, prometheus):
    for family in text_string_to_metric_families(up.admin.get("/metrics").text):
        if not any(sample.labels.get("model", "measured") in OURS for sample in family.samples):
            continue  # of rollouts of tests before, which go
        query = family.name + SAMPLE[family.type]
        assert eventually(lambda: prometheus.result(query), f"data for {query}")  # noqa: B023
    name = "understudy_requests_total"
    eventually(lambda: prometheus.value(f"sum({name})") == up.metric(name), "the same sum")
    quantile = 'histogram_quantile(0.99, sum by (le) (understudy_request_seconds_bucket{model="measured"}))'
    eventually(lambda: prometheus.value(quantile) > 0, "a quantile")
