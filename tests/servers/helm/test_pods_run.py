"""The pods of the chart as processes: with the arguments, variables, files and probes that it renders."""

import contextlib
import hashlib
import ssl

import httpx
import pytest
import yaml
from pods import Pod

from harness.certificates import Authority
from harness.rows import DIGITS, body
from harness.system import START_SECONDS, eventually
from serving.admission.api_keys import line_of, new_key

WORKLOADS = {"Deployment", "StatefulSet"}
KEY, PERSON = new_key(), "anns-token"
VALUES = {
    "image": {"repository": "images.example.org/ml/understudy"},
    "tokens": {"secret": "tokens"},
    "models": {"claim": "models"},
    "rollouts": {"inline": {"digits": {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 10}}}},
    "control": {
        "tls": {"secret": "control-tls", "caKey": "ca.crt"},
        "files": {"tokens": {"secret": "people", "key": "people.yaml"}},
        "settings": {"UNDERSTUDY_LOG_LEVEL": "warning"},
    },
    "node": {
        "workers": 1,
        "drainSeconds": 1,
        "graceSeconds": 5,
        "state": {"size": "1Gi"},
        "tls": {"secret": "public-tls"},
        "files": {"api-keys": {"secret": "keys", "key": "api-keys"}},
        "settings": {"UNDERSTUDY_MAX_WAIT_SECONDS": "5"},
    },
}


@pytest.fixture(scope="module")
def files(helm, tmp_path_factory):
    """What the chart renders, and the Secrets and ConfigMaps that its pods mount."""
    rendered = helm({"all": VALUES})["all"]["files"]
    documents = [
        document
        for name, text in rendered.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]
    authority = Authority(tmp_path_factory.mktemp("authority"))
    certificate, key, _ = authority.issue()
    tls = {"tls.crt": certificate.decode(), "tls.key": key.decode(), "ca.crt": authority.ca.read_text()}
    person = {"ann": {"sha256": hashlib.sha256(PERSON.encode()).hexdigest(), "roles": ["viewer"]}}
    secrets = {
        "tokens": {"understudy_token": "operators-secret", "understudy_viewer_token": "viewers-secret"},
        "control-tls": tls,
        "public-tls": tls,
        "people": {"people.yaml": yaml.safe_dump(person)},
        "keys": {"api-keys": f"{line_of('shop', KEY)}\n"},
    }
    maps = {each["metadata"]["name"]: each["data"] for each in documents if each["kind"] == "ConfigMap"}
    return documents, {**secrets, **maps}, ssl.create_default_context(cafile=authority.ca)


@contextlib.contextmanager
def running(files, name, folder, hosts=()):
    """A pod whose readiness probe is answered, ended as the kubelet does."""
    documents, texts, trusted = files
    [workload] = [d for d in documents if d["metadata"]["name"] == name and d["kind"] in WORKLOADS]
    pod = Pod(workload, folder, texts, dict(hosts))
    with httpx.Client(verify=trusted, timeout=10.0, trust_env=False) as client:
        try:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                if kind in pod.container:
                    url = pod.probe(kind)
                    eventually(lambda url=url: client.get(url).status_code == 200, kind, START_SECONDS)
            yield pod, client
        except BaseException:
            print(pod.process.log.read_text()[-4000:])
            raise
        finally:
            code = pod.end()
    assert code == 0, pod.process.log.read_text()[-4000:]


def test_control_and_a_node_run_as_the_chart_says(files, tmp_path):
    for part in ("control", "node"):
        (tmp_path / part).mkdir()
    with running(files, "understudy-control", tmp_path / "control") as (control, client):
        admin = control.url("admin")
        assert client.get(f"{admin}/v1/rollouts").status_code == 401
        for token in ("operators-secret", "viewers-secret", PERSON):
            headers = {"authorization": f"Bearer {token}"}
            [rollout] = eventually(
                lambda headers=headers: client.get(f"{admin}/v1/rollouts", headers=headers).json(), "the file"
            )
            assert rollout["serving"]["canary"] == "digits/2"
        assert (
            client.get(f"{admin}/metrics", headers={"authorization": "Bearer viewers-secret"}).status_code
            == 200
        )

        hosts = {"https://understudy-control:9000": admin}
        with running(files, "understudy-node", tmp_path / "node", hosts) as (node, _):
            answer = client.post(f"{node.url('http')}{DIGITS}", content=body(0))
            assert answer.status_code == 401
            answer = client.post(
                f"{node.url('http')}{DIGITS}", content=body(0), headers={"authorization": f"Bearer {KEY}"}
            )
            assert answer.raise_for_status().json()["model_name"] == "digits"
            assert client.get(f"{node.url('metrics')}/metrics").status_code == 200
            nodes = client.get(f"{admin}/v1/nodes", headers=headers).raise_for_status().json()
            assert {row["node"] for row in nodes} == {"a-pod"}
