"""Models in a real object store (SeaweedFS): pushed, pulled, served, and what happens when it fails."""

import json
import os
import pty
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import obstore
import pytest
from obstore.store import from_url

from harness.command import told
from harness.object_store import object_store
from harness.store_proxy import store_proxy
from harness.system import MODELS, ROOT, running
from serving.errors import Conflict, Unavailable
from serving.models.files.repository import Repository, read
from serving.places import Origin, Places
from serving.sources.fetched import Fetched
from serving.sources.model_files import push
from serving.sources.objects import ObjectRemote

URL = "s3://models/team"
LARGE = 24 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("store")) as store:
        store.bucket("models")
        yield store


@pytest.fixture
def environment(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = from_url("s3://models")
    for batch in obstore.list(bucket):
        obstore.delete(bucket, [meta["path"] for meta in batch])
    return bucket


@pytest.fixture
def proxy(environment, server, monkeypatch):
    with store_proxy(int(server.door.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def fetched(tmp_path):
    return Fetched(ObjectRemote(URL), Origin(Places((URL,)), tmp_path / "cache"), sleep=lambda _: None)


def large(tmp_path):
    """A version with data beside its graph, in a folder."""
    folder = tmp_path / "source" / "m" / "1"
    folder.mkdir(parents=True)
    shutil.copy(MODELS / "iris" / "1" / "model.onnx", folder)
    (folder / "weights.bin").write_bytes(os.urandom(LARGE))
    return Repository(tmp_path / "source").find("m", "1")


def weights(entry):
    return (entry.path.parent / "weights.bin").read_bytes()


def test_pushed_pulled_and_never_overwritten_by_mistake(environment, tmp_path):
    cache = {"UNDERSTUDY_MODEL_CACHE": str(tmp_path / "cache")}
    where = ("--models", URL)

    def models(*words):
        done = told("models", *words, "--json", environment=cache)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    pushed = models("push", "digits/3", URL, "--models", str(MODELS))
    assert pushed["written"][-1] == "digits/3/model.onnx"
    assert models("push", "digits/3", URL, "--models", str(MODELS))["written"] == []
    [listed] = models("list", *where)["models"]
    assert (listed["version"], listed["bytes"]) == ("3", None)
    [row] = models("pull", "digits/3", *where, "--to", str(tmp_path / "here"))
    assert row["sha256"] == read(Repository(MODELS).find("digits", "3")).sha256
    assert (tmp_path / "here" / "digits" / "3" / "model.onnx").exists()
    assert models("check", "digits/3", *where)[0]["ok"]
    obstore.put(environment, "team/digits/3/model.onnx", b"others")
    entry = Repository(MODELS).find("digits", "3")
    with pytest.raises(Conflict, match=r"digits/3/model\.onnx: there with other bytes; nothing was put"):
        push(entry, URL, force=False)
    push(entry, URL, force=True)
    assert read(fetched(tmp_path).find("digits", "3")).content == read(entry).content


def test_a_push_that_is_ended_in_the_middle_is_no_version_and_the_next_one_goes_on(environment, tmp_path):
    entry = large(tmp_path)

    def end(name, _size):
        raise KeyboardInterrupt(name)

    with pytest.raises(KeyboardInterrupt, match=r"weights\.bin"):
        push(entry, URL, force=False, told=end)
    source = fetched(tmp_path)
    assert source.discover() == ()
    assert source.problems == ("m/1: no model.onnx in it yet",)
    done = push(entry, URL, force=False)
    assert (done.written, done.same) == (("m/1/model.onnx",), ("m/1/weights.bin",))
    assert weights(fetched(tmp_path).find("m", "1")) == weights(entry)


def test_on_a_terminal_a_pull_shows_how_far_each_file_is(environment, tmp_path):
    push(large(tmp_path), URL, force=False)
    command = [sys.executable, "-m", "understudy", "models", "pull", "m/1", "--models", URL]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", 0) as screen:
        settings = {"TERM": "xterm", "COLUMNS": "120", "UNDERSTUDY_MODEL_CACHE": str(tmp_path / "cache")}
        pulling = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=theirs
        )
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: nobody writes there any more
            while piece := screen.read(1 << 16):
                shown += piece
        printed = pulling.communicate(timeout=60)[0].decode()
    assert pulling.returncode == 0
    assert b"m/1/weights.bin" in shown
    assert b"25.2/25.2 MB" in shown
    assert printed.startswith("m/1  ")
    assert "\x1b" not in printed


def test_a_download_that_is_cut_goes_on_where_it_was(proxy, tmp_path):
    entry = large(tmp_path)
    push(entry, URL, force=False)
    proxy.sent, proxy.cut_after = 0, 8 << 20
    found = fetched(tmp_path).find("m", "1")
    assert (found.path.parent / "weights.bin").read_bytes() == (
        entry.path.parent / "weights.bin"
    ).read_bytes()
    assert proxy.sent < LARGE * 1.5, "each piece came about once"


def test_bytes_that_were_falsified_on_their_way_are_fetched_again(proxy, tmp_path):
    entry = large(tmp_path)
    push(entry, URL, force=False)
    proxy.falsify = 1
    found = fetched(tmp_path).find("m", "1")
    assert (found.path.parent / "weights.bin").read_bytes() == (
        entry.path.parent / "weights.bin"
    ).read_bytes()
    assert proxy.falsify == 0


def test_a_store_that_hangs_costs_a_start_two_seconds_and_the_next_one_none(proxy, tmp_path):
    push(Repository(MODELS).find("iris", "1"), URL, force=False)
    kept = fetched(tmp_path).find("iris", "1")
    proxy.hang = True
    took = []
    for _ in range(2):
        began = time.monotonic()
        assert read(fetched(tmp_path).find("iris", "1")) == read(kept)
        took.append(time.monotonic() - began)
    assert took[0] < 5
    assert took[1] < 0.5


def test_half_an_upload_is_no_version(environment, tmp_path):
    obstore.put(environment, "team/m/1/weights.bin", b"w")
    source = fetched(tmp_path)
    assert source.discover() == ()
    assert source.problems == ("m/1: no model.onnx in it yet",)


def test_a_key_that_is_revoked_is_said_without_it_and_what_was_fetched_serves(proxy, tmp_path):
    push(Repository(MODELS).find("iris", "1"), URL, force=False)
    fetched(tmp_path).find("iris", "1")
    proxy.refuse = True
    source = fetched(tmp_path)
    assert [entry.name for entry in source.discover()] == ["iris"]
    assert source.problems == (
        f"{URL}: it refuses the credentials of the environment; what was fetched before is there",
    )
    assert source.find("iris", "1")
    with pytest.raises(Unavailable, match="refuses the credentials"):
        fetched(tmp_path).find("iris", "2")


def test_with_everything_away_a_node_starts_with_what_was_accepted(environment, tmp_path, monkeypatch):
    push(Repository(MODELS).find("iris", "1"), URL, force=False)
    rollouts = "iris: {stable: iris/1}\n"
    body = {"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [[5, 3, 1, 0.2]]}]}
    cache = ("--model-cache", str(tmp_path / "cache"))
    with running(tmp_path, rollouts, models=URL, options=cache) as up:
        assert up.client.post("/v2/models/iris/infer", json=body).status_code == 200
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        shutil.rmtree(tmp_path / "cache")
        began = time.monotonic()
        with running(tmp_path, rollouts, models=URL, options=cache) as up:
            assert up.client.post("/v2/models/iris/infer", json=body).status_code == 200
        assert time.monotonic() - began < 30
