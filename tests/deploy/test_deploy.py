"""What is in deploy/: checked by the tools that read it, and against a real system that it would watch."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.custom_kinds import problems
from harness.hostile import hostile
from harness.pod_security import beyond, violations
from harness.prometheus import needs_prometheus, scraping
from harness.raw import ask_all, request
from harness.rows import DIGITS, body
from harness.system import ROOT, eventually, running
from router.rollout.parser import parse
from understudy.bench.manifests import Autoscaler, Plan, manifests_of
from understudy.settings import UpSettings

DEPLOY = ROOT / "deploy"
RULES = tuple(DEPLOY / "prometheus" / name for name in ("recording.yml", "alerts.yml"))
RULES_TESTS = tuple(DEPLOY / "prometheus" / name for name in ("rules_test.yml", "rules_hours_test.yml"))
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
    tool("promtool", "test", "rules", *RULES_TESTS)


def test_every_alert_has_cases_of_both_kinds_and_a_section_in_the_page_of_alerts():
    alerts = {
        rule["alert"]
        for group in yaml.safe_load(RULES[1].read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    cases = [test for file in RULES_TESTS for test in yaml.safe_load(file.read_text())["tests"]]
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


@needs_prometheus
def test_what_autoscalers_ask_is_a_number_from_a_real_system(prometheus):
    """As a bench writes it, without the labels that Kubernetes gives."""
    plan = Plan(0.7, 2, 8, ())
    keda, hpa = (
        manifests_of(autoscaler, plan, "Deployment", "ml") for autoscaler in (Autoscaler.keda, Autoscaler.hpa)
    )
    of_keda = yaml.safe_load(keda)["spec"]["triggers"][0]["metadata"]["query"]
    [rule] = yaml.safe_load(list(yaml.safe_load_all(hpa))[1]["data"]["rules.yaml"])
    of_adapter = rule["metricsQuery"].replace("<<.Series>>", "understudy_saturation")
    of_adapter = of_adapter.replace("<<.LabelMatchers>>", "").replace("<<.GroupBy>>", "job")
    for query in (re.sub(r"\{.*\}", "", of_keda), of_adapter):
        [found] = eventually(lambda: prometheus.result(query), query)  # noqa: B023
        assert 0 <= float(found["value"][1]) <= 1


BASE = DEPLOY / "kubernetes"
NO_MANIFESTS = {"kustomization.yaml", "values.yaml", "rollouts.yaml"}


def manifests() -> list[dict]:
    return [
        document
        for path in sorted(BASE.glob("*.yaml"))
        if path.name not in NO_MANIFESTS
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
    paths = {"/readyz/lead", "/healthz", "/v2/health/ready", "/v2/health/live", "/metrics"}
    text = "".join(path.read_text() for path in BASE.glob("*.yaml"))
    assert set(re.findall(r"\bpath: (/[\w/]+)[,}\n]", text)) == paths
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


def test_every_secret_of_a_manifest_is_one_that_the_product_reads():
    mounts = [mount["mountPath"] for container in containers()[:-1] for mount in container["volumeMounts"]]
    secrets = {Path(mount).name for mount in mounts if mount.startswith("/run/secrets/")}
    assert secrets == {"understudy_token", "understudy_viewer_token"}
    assert {name.removeprefix("understudy_") for name in secrets} <= set(UpSettings.model_fields)


def test_the_pods_of_the_base_are_restricted():
    pods = [m["spec"]["template"]["spec"] for m in manifests() if m["kind"] == "Deployment"]
    assert [found for pod in pods for found in [*violations(pod), *beyond(pod)]] == []


def test_what_the_base_asks_of_other_projects_is_as_they_define_it():
    kinds = {m["kind"] for m in manifests()}
    assert kinds >= {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    assert [problem for manifest in manifests() for problem in problems(manifest)] == []


def test_the_base_of_kustomize_names_files_that_are_there_and_makes_the_config_map_that_control_mounts():
    base = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert all((BASE / name).exists() for name in base["resources"])
    [generated] = base["configMapGenerator"]
    [control] = [
        m for m in manifests() if m["metadata"]["name"] == "understudy-control" and m["kind"] == "Deployment"
    ]
    volumes = control["spec"]["template"]["spec"]["volumes"]
    assert {"name": "rollouts", "configMap": {"name": generated["name"]}} in volumes
    assert base["generatorOptions"] == {"disableNameSuffixHash": True}
    [file] = generated["files"]
    assert set(parse((BASE / file).read_text(), file)) == {"digits"}


def test_the_files_that_compose_mounts_exist():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source == "state" or (DEPLOY / source).exists(), source
    dashboards = next(iter(Path(DEPLOY / "grafana/provisioning/dashboards").glob("*.yml"))).read_text()
    assert "/var/lib/grafana/dashboards" in dashboards
