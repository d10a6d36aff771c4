"""The chart by Helm's own library: examples are linted, rendered, validated; their pods are restricted."""

import copy
import json
import re
import subprocess

import pytest
import yaml

from harness.custom_kinds import problems
from harness.fences import fences
from harness.pod_security import beyond, violations
from harness.system import ROOT
from router.rollout.parser import parse
from understudy.bench.manifests import Autoscaler, Plan, manifests_of

CHART = ROOT / "deploy" / "helm"
PYTHON = ROOT / "build" / "servers" / "helm" / "bin" / "python"
EXAMPLES = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "examples").glob("*.yaml"))
}
VERSIONS = ("1.31", "1.34", "1.37")
PAGE = [block for block in fences(ROOT / "docs" / "kubernetes.md") if block.title == "values.yaml"]
EXAMPLES |= {f"page {number}": yaml.safe_load(block.text) for number, block in enumerate(PAGE)}
MINIMAL = EXAMPLES["minimal"]
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def with_value(values, path, value):
    """Values with one more, at a dotted path."""
    changed = copy.deepcopy(values)
    *way, last = path.split(".")
    place = changed
    for step in way:
        place = place.setdefault(step, {})
    place[last] = value
    return changed


@pytest.fixture(scope="module")
def examples(helm):
    return helm(EXAMPLES, VERSIONS)


@pytest.fixture
def example(request, examples):
    return examples[request.param]


def manifests(example):
    """What Kubernetes is given."""
    files = [text for name, text in example["files"].items() if name.endswith(".yaml")]
    return [document for text in files for document in yaml.safe_load_all(text) if document]


def one(example, kind, name):
    [found] = [m for m in manifests(example) if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def workloads(example):
    return [m for m in manifests(example) if m["kind"] in {"Deployment", "StatefulSet"}]


def pods(example):
    return [workload["spec"]["template"]["spec"] for workload in workloads(example)]


every_example = pytest.mark.parametrize("example", EXAMPLES, indirect=True)


@every_example
def test_an_example_passes_lint_and_is_taken_by_three_versions_of_kubernetes(example):
    assert (example["lint"], example["problems"]) == ([], [])
    assert {m["kind"] for m in manifests(example)} >= {"Deployment", "Service", "NetworkPolicy"}


@every_example
def test_what_other_projects_define_is_as_they_define_it(example):
    assert [problem for manifest in manifests(example) for problem in problems(manifest)] == []


@every_example
def test_the_pods_of_an_example_are_restricted(example):
    assert len(pods(example)) == 2
    assert [found for pod in pods(example) for found in [*violations(pod), *beyond(pod)]] == []


@every_example
def test_everything_that_a_pod_mounts_is_there(example):
    claims = {m["metadata"]["name"] for m in manifests(example) if m["kind"] == "PersistentVolumeClaim"}
    for manifest in workloads(example):
        pod = manifest["spec"]["template"]["spec"]
        [container] = pod["containers"]
        templates = {each["metadata"]["name"] for each in manifest["spec"].get("volumeClaimTemplates", ())}
        volumes = [volume["name"] for volume in pod["volumes"]]
        assert len(volumes) == len(set(volumes))
        assert {mount["name"] for mount in container["volumeMounts"]} == {*volumes, *templates}
        places = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(places) == len(set(places))
        for argument in container["args"]:
            if argument.startswith("/"):
                assert any(f"{argument}/".startswith(f"{place}/") for place in places), argument
        used = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]]
        assert set(used) <= claims | {"understudy-models", None}


SELECTORS = {
    "Service": lambda spec: spec["selector"],
    "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
    "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
    "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
}


@every_example
def test_services_and_policies_select_pods_that_exist_and_ports_that_they_have(example):
    templates = [workload["spec"]["template"] for workload in workloads(example)]
    for manifest in manifests(example):
        spec = manifest.get("spec", {})
        if manifest["kind"] not in SELECTORS:
            continue
        wanted = SELECTORS[manifest["kind"]](spec).items()
        [chosen] = [each for each in templates if wanted <= each["metadata"]["labels"].items()]
        ports = {port["name"] for port in chosen["spec"]["containers"][0]["ports"]}
        asked = [port["targetPort"] for port in spec.get("ports", ()) if manifest["kind"] == "Service"]
        asked += [port["port"] for rule in spec.get("ingress", ()) for port in rule["ports"]]
        assert set(asked) <= ports


def test_rules_and_alerts_are_those_of_the_folder_of_prometheus(examples):
    for name in ("recording", "alerts"):
        source = yaml.safe_load((ROOT / "deploy" / "prometheus" / f"{name}.yml").read_text())
        assert one(examples["production"], "PrometheusRule", f"understudy-{name}")["spec"] == source


def test_the_job_by_which_alerts_know_control_is_the_one_that_it_is_scraped_under(examples):
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    monitor = one(examples["production"], "ServiceMonitor", "understudy-control")
    service = one(examples["production"], "Service", "understudy-control")
    [job] = set(re.findall(r'job="(\w+)"', alerts))
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == job


@pytest.mark.parametrize(
    "name", [name for name, values in EXAMPLES.items() if values.get("rollouts", {}).get("inline")]
)
def test_the_rollout_file_of_an_example_is_valid(name, examples):
    data = one(examples[name], "ConfigMap", "understudy-rollouts")["data"]
    assert set(parse(data["rollouts.yaml"], "rollouts.yaml")) == {"digits"}


# ------------------------------------------------------------------ scaling
PLAN = Plan(0.62, 2, 8, ("A reason.",))
SCALED = {"enabled": True, "saturation": 0.62, "minReplicas": 2, "maxReplicas": 8}
WORKLOADS = {"Deployment": {}, "StatefulSet": {"state": {"size": "1Gi"}}}


@pytest.mark.parametrize(("by", "autoscaler"), [("saturation", Autoscaler.hpa), ("keda", Autoscaler.keda)])
@pytest.mark.parametrize("kind", WORKLOADS)
def test_what_a_bench_writes_is_what_the_chart_makes_of_the_same_figures(by, autoscaler, kind, helm):
    values = {**MINIMAL, "node": {**WORKLOADS[kind], "autoscaling": {**SCALED, "by": by}}}
    text = manifests_of(autoscaler, PLAN, kind, "ml")
    found = helm({"chart": values}, VERSIONS, {"bench": text})
    assert (found["chart"]["lint"], found["chart"]["problems"], found["bench"]["problems"]) == ([], [], [])
    written = next(yaml.safe_load_all(text))
    assert problems(written) == []
    assert one(found["chart"], written["kind"], "understudy-node")["spec"] == written["spec"]


# ------------------------------------------------------------------ what is refused
REFUSED = {
    "nothing said": ({}, "image/repository"),
    "no models": ({**MINIMAL, "models": {"claim": ""}}, "where are the models?"),
    "a key in a place": ({**MINIMAL, "models": {"places": ["s3://key:secret@team"]}}, "models/places"),
    "no such setting": (with_value(MINIMAL, "node.settings", {"UNDERSTUDY_RATE": "1"}), "UNDERSTUDY_RATE"),
    "the chart's setting": (with_value(MINIMAL, "node.settings", {"UNDERSTUDY_TOKEN": "x"}), "TOKEN"),
    "a misspelt value": (with_value(MINIMAL, "node.replica", 3), "replica"),
    "two controls on SQLite": (with_value(MINIMAL, "control.replicas", 2), "database.secret"),
    "two rollout files": ({**MINIMAL, "rollouts": {"configMap": "a", "inline": {"b": {}}}}, "one of them"),
    "TLS behind a route": (with_value(EXAMPLES["gateway"], "node.tls.secret", "tls"), "end TLS"),
    "monitors that are kept out": (with_value(MINIMAL, "monitoring.monitors", True), "who is Prometheus?"),
    "a volume that nobody uses": (
        with_value(EXAMPLES["production"], "control.state.claim", "state"), "nothing is kept there",
    ),
    "from more to less": (
        with_value(MINIMAL, "node.autoscaling", {"enabled": True, "minReplicas": 9, "maxReplicas": 3}),
        "minReplicas",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def refusals(helm):
    return helm({name: values for name, (values, _) in REFUSED.items()})


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_with_its_place(name, refusals):
    assert REFUSED[name][1] in refusals[name]["refused"]


# ------------------------------------------------------------------ no value is ignored
def leaves(schema, path=""):
    """Each value that a person may give, with one that is not the default."""
    if schema.get("examples"):
        yield path, schema["examples"][0]
    else:
        for name, child in schema["properties"].items():
            yield from leaves(child, f"{path}.{name}" if path else name)


LEAVES = dict(leaves(SCHEMA))
MANY = {
    **EXAMPLES["production"],
    "hooks": {"secret": "hooks"},
    "mlflowWebhooks": {"secret": "mlflow"},
    "models": {"claim": "models", "places": ["s3://team/models"]},
    "gateway": {"parentRefs": [{"name": "public"}]},
}
WATCHED = with_value(
    with_value(MINIMAL, "node.autoscaling", {"enabled": True}), "networkPolicy.metrics", [{"podSelector": {}}]
)
CONTEXTS = {"least": MINIMAL, "many": MANY, "watched": WATCHED}


@pytest.fixture(scope="module")
def with_each_value(helm):
    asked = dict(CONTEXTS)
    for path, value in LEAVES.items():
        asked |= {f"{name} {path}": with_value(values, path, value) for name, values in CONTEXTS.items()}
    return helm(asked)


@pytest.mark.parametrize("path", LEAVES)
def test_no_value_is_ignored(path, with_each_value):
    changed = [
        found["files"] != with_each_value[name]["files"]
        for name in CONTEXTS
        if "files" in (found := with_each_value[f"{name} {path}"])
    ]
    assert any(changed)


# ------------------------------------------------------------------ the base of Kustomize
def test_the_base_of_kustomize_is_what_the_chart_says(tmp_path):
    done = subprocess.run(
        [str(PYTHON), str(CHART / "kustomize.py"), str(tmp_path)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(written) == {"control.yaml", "monitoring.yaml", "network.yaml", "node.yaml"}
    base = ROOT / "deploy" / "kubernetes"
    assert {name: (base / name).read_text() for name in written} == written, "make kustomize"


def test_the_base_is_taken_by_three_versions_of_kubernetes(helm):
    values = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "values.yaml").read_text())
    base = helm({"base": values}, VERSIONS)["base"]
    assert (base["lint"], base["problems"]) == ([], [])


def test_the_job_that_scores_every_night_is_what_kubernetes_takes(helm):
    text = (ROOT / "deploy" / "scoring" / "cronjob.yaml").read_text()
    assert helm({}, VERSIONS, {"job": text})["job"]["problems"] == []
    wrong = text.replace("Forbid", "7").replace("restartPolicy", "restart")
    assert helm({}, VERSIONS[:1], {"job": wrong})["job"]["problems"]
