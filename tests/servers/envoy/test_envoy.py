"""Envoy in front of a node, and between a node and a server, with credentials and certificates."""

import httpx
import pytest

from conftest import cluster, listener, of_authority, only_with
from harness.certificates import Authority
from harness.hostile import hostile
from harness.load import Load
from harness.pilot import Pilot, piloted
from harness.rows import DIGITS, body, outputs_of
from harness.system import eventually, free_port, running, serving

TOKEN = "s3cret-that-nobody-may-see"


def test_in_front_it_keeps_its_connections_to_a_node(node, envoy):
    port = free_port()
    statistic = envoy([listener(port, [], "node", timeout="20s")], [cluster("node", node.port)])
    with piloted(node, "behind-envoy", {"stable": "digits/1"}) as pilot:
        eventually(pilot.ready, "ready")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False) as client:
            for number in range(50):
                answer = client.post(pilot.infer, content=body(number))
                assert answer.status_code == 200
                assert answer.headers["x-understudy-target"] == "digits/1"
                assert answer.json()["outputs"][0]["data"] == [int(outputs_of("digits/1")["label"][number])]
        assert pilot.metric("requests_total", code="200") == 50
        assert statistic("cluster.node.upstream_cx_total") < 10, "kept alive"
        assert statistic("cluster.node.upstream_rq_retry") == 0


def test_its_retry_after_a_503_of_ours_is_a_request_of_its_own(node, envoy):
    port = free_port()
    again = {"retry_on": "5xx", "num_retries": 1}
    envoy([listener(port, [], "node", timeout="20s", retry_policy=again)], [cluster("node", node.port)])
    with hostile() as server:
        document = {"stable": {"model": "digits/1", "url": server.url, "server": {"eject": {"after": 100}}}}
        with piloted(node, "retried", document) as pilot:
            eventually(pilot.ready, "ready")
            server.manner = "503"
            answer = httpx.post(f"http://127.0.0.1:{port}{pilot.infer}", content=body(0), trust_env=False)
            assert answer.status_code == 503
            assert pilot.metric("requests_total", code="503") == server.asked == 2


@pytest.fixture
def files(tmp_path):
    """What a node has for its servers, and its authority."""
    folder = tmp_path / "files"
    folder.mkdir()
    certificate, key, _ = Authority(folder).issue()
    (folder / "us.pem").write_bytes(certificate)
    (folder / "us.key").write_bytes(key)
    (folder / "token").write_text("not yet the right one")
    return folder


def test_between_it_is_shown_certificates_and_a_token_that_nobody_sees(envoy, files, tmp_path):
    with serving(tmp_path) as server:
        port = free_port()
        tls = of_authority(files / "us.pem", files / "us.key", files / "ca.pem")
        envoy([listener(port, [only_with(TOKEN)], "server", tls)], [cluster("server", server.port)])
        asked = (
            "{tls: {ca: ca.pem, certificate: us.pem, key: us.key, name: localhost}, bearer: {file: token},"
            " health: {interval: 200ms}}"
        )
        target = f"model: digits/1, url: 'https://127.0.0.1:{port}', server: {asked}"
        rollouts = f"digits:\n  stable: digits/2\n  canary: {{{target}, weight: 50}}\n  timeout: 20s\n"
        up_options = ("--target-files", str(files))
        (files / "token").write_text(TOKEN)
        with running(tmp_path, rollouts, options=up_options) as up:
            pilot = Pilot(up, "digits")
            seen = {up.client.post(DIGITS, content=body(n)).headers["x-understudy-target"] for n in range(40)}
            assert seen == {"digits/1", "digits/2"}
            with Load(up.url + DIGITS, 20, lambda number: ({}, body(number))) as load:
                (files / "token").write_text("of-yesterday")
                eventually(lambda: "403" in _problems(pilot), "the reason is told")
                (files / "token").write_text(TOKEN)
                eventually(pilot.ready, "the token is taken again")
            assert load.ledger.statuses.keys() == {200}, load.ledger.errors
            shown = [
                up.admin.get(path).text
                for path in ("/v1/rollouts", "/v1/rollouts/digits/history", "/v1/nodes", "/metrics")
            ]
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.parent != files]
        mine = [
            each for each in kept if f'"exact": "Bearer {TOKEN}"'.encode() not in each
        ]  # Envoy's own file
        assert len(mine) == len(kept) - 1
        assert TOKEN not in "".join(shown)
        assert not [each for each in mine if TOKEN.encode() in each]


def _problems(pilot):
    return str([each["problems"] for each in pilot.view["targets"]])
