"""What is in deploy/: checked by the tools that read it, and against a real system that it would watch."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.hostile import hostile
from harness.prometheus import needs_prometheus, scraping
from harness.raw import ask_all, request
from harness.rows import DIGITS, body
from harness.system import ROOT, eventually, running
from router.rollout.parser import parse
from understudy.settings import UpSettings

DEPLOY = ROOT / "deploy"
RULES = tuple(DEPLOY / "prometheus" / name for name in ("recording.yml", "alerts.yml"))
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/understudy.json").read_text())

ROLLOUTS = """
digits:
  stable: digits/4
  canary: {model: digits/2, mirror: 100, steps: [{setWeight: 50}, {prove: {}}]}
  shadows: [{model: digits/3, sample: 100}]
  compare: {label: exact}
  guards: {errors: {max: 1%%}}
  outcomes: {done: {kind: binary, within: 1s}}
broken:
  stable: {model: digits/2, url: '%(url)s'}
failing:
  stable: digits/1
  canary: {model: digits/2, url: '%(url)s', weight: 50}
"""


def tool(name: str, *arguments: object) -> None:
    binary = shutil.which(name)
    if binary is None:
        pytest.skip(f"no `{name}` here; CI installs it")
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_where_it_should_and_only_there():
    tool("promtool", "check", "rules", *RULES)
    tool("promtool", "test", "rules", DEPLOY / "prometheus" / "rules_test.yml")


def test_every_alert_has_cases_of_both_kinds_and_a_section_in_the_page_of_alerts():
    alerts = {
        rule["alert"]
        for group in yaml.safe_load(RULES[1].read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    cases = yaml.safe_load((DEPLOY / "prometheus/rules_test.yml").read_text())["tests"]
    tried = [case for test in cases for case in test.get("alert_rule_test", ())]
    assert {case["alertname"] for case in tried if case["exp_alerts"]} == alerts
    silent = {case["alertname"] for case in tried if not case["exp_alerts"]}
    several = {"QueueSaturated"}  # its one case has a series that must not fire beside two that must
    assert silent | several == alerts
    sections = set(re.findall(r"^#+ (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE))
    assert alerts <= sections


def test_alertmanager_takes_its_example():
    tool("amtool", "check-config", DEPLOY / "alertmanager" / "alertmanager.yml")


def queries() -> list[str]:
    """Every expression of the dashboard, as Grafana would send it with all models chosen."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [query.replace("$model", ".*").replace("$__rate_interval", "10s") for query in found]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """It has seen answers, failures, failovers, comparisons, outcomes and a verdict under way."""
    folder = tmp_path_factory.mktemp("deploy")
    with (
        hostile() as server,
        running(folder, ROLLOUTS % {"url": server.url}) as up,
        scraping(folder, up.admin_port, RULES) as prometheus,
    ):
        server.manner = "500"
        receipts: list[str] = []
        paths = [DIGITS.replace("digits", model) for model in ("digits", "broken", "failing")]

        def failed_answers_have_a_rate():
            list(ask_all(up.port, (request(path, body(n)) for n in range(30) for path in paths), 4))
            receipts.append(up.client.post(DIGITS, content=body(0)).headers["x-understudy-receipt"])
            told = [{"receipt": receipt, "name": "done", "value": 1} for receipt in receipts]
            up.admin.post("/v1/outcomes", json=told).raise_for_status()
            if not prometheus.result('rate(understudy_outcomes_total{result="late"}[10s]) > 0'):
                return None
            return prometheus.result('rate(understudy_requests_total{code=~"5.."}[10s]) > 0')

        eventually(failed_answers_have_a_rate, "scraped twice while answers failed")
        yield prometheus


@needs_prometheus
def test_every_query_of_the_dashboard_has_data(prometheus):
    assert len(queries()) > 20
    for query in queries():
        eventually(lambda: prometheus.result(query), query)  # noqa: B023  (waited for before the next)


@needs_prometheus
def test_every_recording_rule_gives_data_from_a_real_system(prometheus):
    recorded = [
        rule["record"] for group in yaml.safe_load(RULES[0].read_text())["groups"] for rule in group["rules"]
    ]
    for name in recorded:
        eventually(lambda: prometheus.result(name), name)  # noqa: B023


def manifests() -> list[dict]:
    return [
        document
        for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def containers() -> list[dict]:
    pods = [m["spec"]["template"]["spec"] for m in manifests() if m["kind"] == "Deployment"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["understudy"]
    own = {"args": compose["command"], "env": [{"name": name} for name in compose["environment"]]}
    return [container for pod in pods for container in pod["containers"]] + [own]


@pytest.mark.parametrize("container", containers(), ids=lambda c: c["args"][0])
def test_every_option_and_variable_of_a_manifest_exists(container, understudy_help):
    command, *arguments = container["args"]
    known = understudy_help(command)
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert re.search(rf"{option}\b", known), f"{command} has no {option}"
    variables = {f"UNDERSTUDY_{name.upper()}" for name in UpSettings.model_fields}
    assert {entry["name"] for entry in container.get("env", ())} <= variables


@pytest.fixture(scope="module")
def understudy_help():
    def of(command):
        import typer
        from typer.testing import CliRunner

        from understudy.cli import app

        assert isinstance(app, typer.Typer)
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"]).output

    return of


def test_probes_and_monitors_ask_for_ports_and_paths_that_exist():
    paths = {"/readyz", "/healthz", "/v2/health/ready", "/v2/health/live", "/metrics"}
    text = "".join(path.read_text() for path in (DEPLOY / "kubernetes").glob("*.yaml"))
    assert set(re.findall(r"path: (/[\w/]+)[,}\n]", text)) <= paths
    for container in containers()[:-1]:
        ports = {port["name"] for port in container["ports"]}
        probes = [value["httpGet"]["port"] for key, value in container.items() if key.endswith("Probe")]
        assert probes
        assert set(probes) <= ports


def test_a_pod_has_the_time_that_its_settings_need_to_end():
    settings = UpSettings()
    [node] = [
        m for m in manifests() if m["metadata"]["name"] == "understudy-node" and m["kind"] == "Deployment"
    ]
    pod = node["spec"]["template"]["spec"]
    [drain] = [e["value"] for e in pod["containers"][0]["env"] if e["name"] == "UNDERSTUDY_DRAIN_SECONDS"]
    assert pod["terminationGracePeriodSeconds"] > float(drain) + settings.grace_seconds + 5


def test_the_rollouts_of_the_config_map_are_valid():
    [config] = [m for m in manifests() if m["kind"] == "ConfigMap"]
    rollouts = parse(config["data"]["rollouts.yaml"], "rollouts.yaml")
    assert set(rollouts) == {"digits"}


def test_the_files_that_compose_mounts_exist():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source == "state" or (DEPLOY / source).exists(), source
    dashboards = next(iter(Path(DEPLOY / "grafana/provisioning/dashboards").glob("*.yml"))).read_text()
    assert "/var/lib/grafana/dashboards" in dashboards
