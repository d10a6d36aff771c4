"""What runs goes on whatever becomes of its store of models: killed, slow, silent, with another key, or away.

SeaweedFS, which asks for a secret, and systems as users start them under a light load.
"""

import json
import os
import shutil
import threading
from contextlib import contextmanager

import pytest

from harness.control import controlling, following
from harness.load import Load
from harness.object_store import object_store
from harness.store_proxy import store_proxy
from harness.system import MODELS, eventually, running, serving
from serving.models.files.repository import Repository
from serving.sources.model_files import push

URL = "s3://models/team"
SECRET, ANOTHER = "a-secret-of-tests", "another-secret-of-tests"
SEVERAL_MB = 8 << 20
BODY = b'{"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [%s]}]}' % (
    b",".join([b"0"] * 64)
)
BACK_SECONDS = 90.0
"""SeaweedFS starts slowly after a kill; for 15 s nobody asks a store that was away; and nodes pause."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store"), secret=SECRET) as server:
        server.bucket("models")
        yield server


@pytest.fixture
def store(server, monkeypatch):
    """With four versions of a model in it."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for version in "1234":
        push(Repository(MODELS).find("digits", version), URL, force=False)
    return server


@contextmanager
def asked(system, rate=20):
    """Requests to a system all the while, each of which is answered well."""
    load = Load(
        f"{system.url}/v2/models/digits/infer", rate, lambda _: ({"content-type": "application/json"}, BODY)
    )
    with load:
        yield load.ledger
    assert load.ledger.sent > 0
    assert set(load.ledger.statuses) == {200}, load.ledger.errors


def stable(version):
    return f"digits: {{stable: digits/{version}}}\n"


def in_force(up, version):
    eventually(
        lambda: up.view("digits")["serving"]["stable"] == f"digits/{version}" and up.all_targets_ready(),
        f"digits/{version} in force",
        BACK_SECONDS,
    )


def refused(up, why):
    def words():
        answer = up.admin.get("/readyz")
        return answer.status_code == 503 and why in answer.json()["detail"]

    eventually(words, why)


def whole(cache):
    """The versions in a cache, of which each is what was pushed, byte for byte."""
    found = set()
    for file in cache.glob("*/digits@*/[!.]*/digits/*/model.onnx"):
        version = file.parent.name
        assert file.read_bytes() == (MODELS / "digits" / version / "model.onnx").read_bytes()
        found.add(version)
    return found


def test_a_node_whose_store_is_killed_or_wants_another_key_serves_on_and_follows_when_it_can(store, tmp_path):
    cache = tmp_path / "cache"
    options = ("--model-cache", str(cache), "--workers", "1")
    with running(tmp_path, stable(1), models=URL, options=options) as up, asked(up):
        up.edit(stable(2))
        in_force(up, 2)
        up.edit(stable(1))
        in_force(up, 1)
        store.kill()
        up.edit(stable(2))
        in_force(up, 2)  # it was fetched before
        up.edit(stable(3))
        refused(up, f"{URL}: the connection is refused")
        assert up.view("digits")["serving"]["stable"] == "digits/2"
        store.start()
        in_force(up, 3)  # by itself
        store.ask_for(ANOTHER)
        up.edit(stable(4))
        refused(up, f"{URL}: it refuses the credentials of the environment")
        assert up.view("digits")["serving"]["stable"] == "digits/3"
        assert whole(cache) == {"1", "2", "3"}
        store.ask_for(SECRET)
        in_force(up, 4)
    said = up.process.log.read_text()
    assert "a store of models is away" in said
    assert not any(secret in said for secret in (SECRET, ANOTHER, "AWS4-HMAC", "Signature="))


def test_a_node_that_its_store_refuses_keeps_its_route_and_changes_it_when_it_may(
    store, tmp_path, monkeypatch
):
    def there(version):
        """Whether all workers have a version ready; why not."""
        view = control.view("digits")
        [row] = [row for row in view["targets"] if row["target"] == f"digits/{version}"]
        return bool(row["ready"]) and all(row["ready"].values()), json.dumps(
            control.client.get("/v1/nodes").json()
        )

    port = int(store.door.rpartition(":")[2])
    with store_proxy(port) as proxy, controlling(tmp_path) as control:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        control.put("digits", {"stable": "digits/1"}).raise_for_status()
        with following(tmp_path, control, models=URL) as node, asked(node) as ledger:
            proxy.refuse = True
            control.put("digits", {"stable": "digits/2"}).raise_for_status()
            eventually(lambda: "it refuses the credentials" in there(2)[1], "the reason")
            assert not there(2)[0]
            assert set(ledger.targets) == {"digits/1"}
            proxy.refuse = False
            eventually(lambda: there(2)[0], "digits/2", BACK_SECONDS)
            eventually(lambda: "digits/2" in ledger.targets, "its answers")


def test_serve_reloads_from_a_store_that_is_slow_silent_or_away_without_missing_a_request(
    store, tmp_path, monkeypatch
):
    cache = tmp_path / "cache"
    options = ("--model-cache", str(cache), "--allow-load")
    with store_proxy(int(store.door.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with serving(tmp_path, models=URL, options=options) as server, asked(server) as ledger:
            assert highest(server) == "4"
            put_version(tmp_path, "5", store, monkeypatch)
            proxy.bytes_per_second = SEVERAL_MB // 2
            reload = threading.Thread(target=load, args=(server, 200))
            reload.start()
            before = ledger.sent
            eventually(lambda: ledger.sent > before + 10, "answers meanwhile")
            assert highest(server) == "4", "not half a model"
            reload.join()
            assert highest(server) == "5"
            put_version(tmp_path, "6", store, monkeypatch)
            proxy.hang = True
            load(server, 200)
            assert highest(server) == "5", "what was fetched before"
        proxy.close()
        store.kill()
        with serving(tmp_path, models=URL, options=options) as server, asked(server):
            assert highest(server) == "5", "from the cache, with everything away"
            load(server, 200)
        assert "it does not answer in time" in server.process.log.read_text()


def put_version(tmp_path, version, store, monkeypatch):
    """Push a version with much beside its graph, past the proxy."""
    folder = tmp_path / "source" / "digits" / version
    shutil.copytree(MODELS / "digits" / "1", folder)
    (folder / "beside.bin").write_bytes(os.urandom(SEVERAL_MB))
    with monkeypatch.context() as directly:
        directly.setenv("AWS_ENDPOINT_URL", store.door)
        push(Repository(tmp_path / "source").find("digits", version), URL, force=False)


def load(server, status):
    answer = server.client.post("/v2/repository/models/digits/load", timeout=60)
    assert answer.status_code == status, answer.text


def highest(server):
    return server.client.get("/v2/models/digits").json()["versions"][-1]
