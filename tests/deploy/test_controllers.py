"""What Argo Rollouts, Flagger and KServe would ask by our manifests, asked of a real control and server.

No controller runs here: their calls are made as their sources make them, from the manifests.
"""

import re
import time

import httpx
import pytest
import yaml

from harness.control import controlling
from harness.custom_kinds import problems
from harness.pod_security import violations
from harness.rows import body
from harness.system import ROOT, eventually, serving
from harness.told import Stamps

DEPLOY = ROOT / "deploy"
ARGO = yaml.safe_load((DEPLOY / "controllers" / "argo-rollouts.yaml").read_text())
FLAGGER = yaml.safe_load((DEPLOY / "controllers" / "flagger.yaml").read_text())
RUNTIME = yaml.safe_load((DEPLOY / "kserve" / "runtime.yaml").read_text())
OPERATOR, VIEWER = "operators-secret", "viewers-secret"
HOST = "understudy-control.ml:9000"
DOCUMENT = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 10},
    "outcomes": {"bought": {"kind": "binary", "within": "1s"}},
    "guards": {"sales": {"outcome": "bought", "maxDrop": "10%"}},
}


@pytest.mark.parametrize("manifest", [ARGO, FLAGGER, RUNTIME], ids=lambda manifest: manifest["kind"])
def test_a_manifest_is_as_its_project_defines_it(manifest):
    assert problems(manifest) == []


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    tokens = {"UNDERSTUDY_TOKEN": OPERATOR, "UNDERSTUDY_VIEWER_TOKEN": VIEWER}
    with controlling(tmp_path_factory.mktemp("controllers"), environment=tokens) as running:
        running.client.headers["authorization"] = f"Bearer {OPERATOR}"
        yield running


@pytest.fixture
def digits(control):
    """A canary, of which nothing is known yet."""
    if control.client.get("/v1/rollouts/digits").status_code == 200:
        control.client.delete("/v1/rollouts/digits").raise_for_status()
    return control.put("digits", DOCUMENT).raise_for_status().json()["revision"]


def argo(control, candidate="digits/2"):
    """One measurement of the template: web request, jsonPath, conditions."""
    [metric] = ARGO["spec"]["metrics"]
    web = metric["provider"]["web"]
    args = {"control": control.url, "model": "digits", "candidate": candidate, "token": VIEWER}
    assert {arg["name"] for arg in ARGO["spec"]["args"]} == set(args)

    def filled(text):
        return re.sub(r"\{\{args\.([\w-]+)\}\}", lambda found: args[found[1]], text)

    headers = {header["key"]: filled(header["value"]) for header in web["headers"]}
    answer = httpx.get(filled(web["url"]), headers=headers, timeout=web["timeoutSeconds"], trust_env=False)
    if answer.status_code // 100 != 2:
        return "Error"
    path = re.fullmatch(r"\{\$\.(\w+)\}", web["jsonPath"])
    result = answer.json()[path[1]]
    for condition, phase in (("failureCondition", "Failed"), ("successCondition", "Successful")):
        words = re.fullmatch(r'result in \[((?:"\w+"(?:, )?)+)\]', metric[condition])
        if result in re.findall(r"\w+", words[1]):
            return phase
    return "Inconclusive"


def flagger(control, hook, token=VIEWER):
    """Whether one of its webhooks is a yes, and what it tells people where it is none."""
    [found] = [each for each in FLAGGER["spec"]["analysis"]["webhooks"] if each["type"] == hook]
    url = found["url"].replace(HOST, f"127.0.0.1:{control.port}").replace("TOKEN", token)
    payload = {"name": "digits-server", "namespace": "ml", "phase": "Progressing", "checksum": "85d557f47b"}
    answer = httpx.post(url, json=payload, timeout=5.0, trust_env=False)
    return answer.status_code <= 202, answer.text


def test_nothing_known_is_neither_a_yes_nor_a_no(control, digits):
    assert argo(control) == "Inconclusive"
    assert flagger(control, "rollback")[0] is False
    good, said = flagger(control, "confirm-promotion")
    assert not good
    assert "digits/2: undecided: " in said


def test_proof_lets_both_go_on(control, digits):
    stamps, stage = Stamps(control), control.view("digits")["status"]["stage"]
    told = [
        {"receipt": stamps.make("digits", stage, side, time.time()), "name": "bought", "value": value}
        for side, value in (("stable", 0), ("canary", 1))
        for _ in range(300)
    ]
    control.client.post("/v1/outcomes", json=told).raise_for_status()
    eventually(lambda: argo(control) == "Successful", "proven")
    assert flagger(control, "confirm-promotion")[0]
    assert not flagger(control, "rollback")[0]
    assert argo(control, "digits/3") == "Inconclusive", "of another release nothing is said"


def test_a_canary_that_was_taken_off_ends_both(control, digits):
    control.act("digits", "abort", digits, "too slow").raise_for_status()
    assert argo(control) == "Failed"
    assert flagger(control, "rollback")[0]
    good, said = flagger(control, "confirm-promotion")
    assert not good
    assert "too slow" in said


def test_without_a_valid_token_there_is_no_verdict(control, digits):
    assert "a valid bearer token is needed" in flagger(control, "confirm-promotion", "wrong")[1]
    url = f"http://any:{VIEWER}@127.0.0.1:{control.port}"
    assert httpx.get(f"{url}/v1/rollouts/digits/verdict", trust_env=False).status_code == 200
    assert httpx.get(f"{url}/v1/rollouts/digits", trust_env=False).status_code == 401, "Basic is for verdicts"
    assert httpx.post(f"{url}/v1/rollouts/digits/abort", trust_env=False).status_code == 401


def test_a_verdict_that_is_not_one_is_refused_and_one_of_no_rollout_is_not_found(control, digits):
    assert control.client.get("/v1/rollouts/digits/verdict", params={"is": "fine"}).status_code == 422
    assert control.client.get("/v1/rollouts/nobody/verdict").status_code == 404
    answer = control.client.get("/v1/rollouts/digits/verdict", params={"is": ["proven", "undecided"]})
    assert answer.json()["verdict"] == "undecided"


# ------------------------------------------------------------------ KServe
def test_the_runtime_of_kserve_is_restricted_and_calls_a_command_that_serves_v2(tmp_path):
    [container] = RUNTIME["spec"]["containers"]
    assert violations(RUNTIME["spec"]) == []
    command, *arguments = container["args"]
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert (command, options["--models"]) == ("serve", "/mnt/models")
    assert options["--port"] == str(container["ports"][0]["containerPort"])
    rest = tuple(each for key, value in options.items() if key == "--log-format" for each in (key, value))
    with serving(tmp_path, options=rest) as server:
        for probe in ("readinessProbe", "livenessProbe"):
            assert server.client.get(container[probe]["httpGet"]["path"]).status_code == 200
        answer = server.client.post("/v2/models/digits/infer", content=body(0))
        assert answer.json()["model_name"] == "digits"
        assert server.client.get("/v1/models/digits").status_code == 200
        assert (
            server.client.get(RUNTIME["spec"]["annotations"]["prometheus.kserve.io/path"]).status_code == 200
        )
