"""Models in the stores of Azure and Google, as far as Azurite and fake-gcs-server are like them."""

import json
from base64 import b64encode
from contextlib import contextmanager

import obstore
import pytest
from obstore.store import from_url

from harness.command import told
from harness.emulators import AZURITE, KEY, Azurite, FakeGcs
from harness.store_proxy import store_proxy
from harness.system import MODELS, free_port
from serving.errors import Conflict, Unavailable
from serving.models.files.repository import Repository, read
from serving.places import Origin, Places
from serving.sources.fetched import Fetched
from serving.sources.model_files import push
from serving.sources.objects import ObjectRemote

LARGE = bytes(range(256)) * (1 << 15)
"""8 MiB."""


class Azure:
    """A container behind a proxy, and how it is filled."""

    url = "az://models/team"

    def __init__(self, folder, proxy, port):
        self.emulator, self.proxy = Azurite(folder, port), proxy
        self.settings = self.emulator.settings(proxy.url)

    def make(self):
        self.emulator.container("models")

    def put(self, name, data):
        obstore.put(from_url("az://models"), f"team/{name}", data)

    def end(self):
        self.proxy.close()
        self.emulator.kill()


class Google(Azure):
    """A bucket; obstore cannot fill the emulator's, which does not take uploads by the XML API."""

    url = "gs://models/team"

    def __init__(self, folder, proxy, port):
        self.emulator, self.proxy = FakeGcs(folder, port, proxy.url.removeprefix("http://")), proxy
        self.settings = self.emulator.settings(proxy.url)

    def make(self):
        self.emulator.bucket("models")

    def put(self, name, data):
        self.emulator.put("models", f"team/{name}", data)


@contextmanager
def opened(kind, folder, monkeypatch):
    if kind is Azure and not AZURITE.exists():
        pytest.skip("Azurite is not there: npm installs it")
    port = free_port()
    with store_proxy(port) as proxy:
        place = kind(folder, proxy, port)
        try:
            for name, value in place.settings.items():
                monkeypatch.setenv(name, value)
            place.make()
            yield place
        finally:
            place.end()


@pytest.fixture(params=[Azure, Google], ids=["azure", "google"])
def place(request, tmp_path, monkeypatch):
    with opened(request.param, tmp_path, monkeypatch) as place:
        yield place


@pytest.fixture
def azure(tmp_path, monkeypatch):
    with opened(Azure, tmp_path, monkeypatch) as place:
        yield place


def fetched(place, tmp_path, **how):
    return Fetched(ObjectRemote(place.url), Origin(Places((place.url,)), tmp_path / "cache"), **how)


def test_versions_are_found_whole_followed_and_served_while_it_is_away(place, tmp_path):
    model, other = ((MODELS / "digits" / version / "model.onnx").read_bytes() for version in "12")
    for name, data in {"m/1/model.onnx": model, "m/config.yaml": b"queue: 3\n", "m/2/w.bin": b"w"}.items():
        place.put(name, data)
    source = fetched(place, tmp_path)
    assert [f"{entry.name}/{entry.version}" for entry in source.discover()] == ["m/1"]
    assert source.problems == ("m/2: no model.onnx in it yet",)
    entry = source.find("m", "1")
    assert (read(entry).content, entry.config.queue) == (model, 3)
    place.put("m/1/model.onnx", other)
    place.put("m/config.yaml", b"queue: 4\n")
    entry = source.find("m", "1")
    assert (read(entry).content, entry.config.queue) == (other, 4)
    place.end()
    anew = fetched(place, tmp_path)
    assert read(anew.find("m", "1")).content == other
    assert [entry.name for entry in anew.discover()] == ["m"]
    assert anew.problems == (f"{place.url}: the connection is refused; what was fetched before is there",)
    with pytest.raises(Unavailable, match="the connection is refused"):
        fetched(place, tmp_path).find("m", "2")


def test_a_download_that_is_cut_goes_on_and_one_of_a_file_that_changed_begins_anew(place, tmp_path):
    place.put("m/1/model.onnx", (MODELS / "iris" / "1" / "model.onnx").read_bytes())
    place.put("m/1/w.bin", LARGE)
    changed = []

    def change(file, done):
        if file.path == "m/1/w.bin" and done and not changed:
            changed.append(done)
            place.put("m/1/w.bin", later)

    def found(cache, **how):
        entry = fetched(place, tmp_path / cache, sleep=lambda _: None, **how).find("m", "1")
        return (entry.path.parent / "w.bin").read_bytes()

    place.proxy.cut_after, place.proxy.sent = 3 << 20, 0
    assert found("one") == LARGE
    assert place.proxy.sent < 1.5 * len(LARGE), "each piece came about once"
    later = LARGE[::-1]
    assert found("another", progress=change) == later
    assert 0 < changed[0] < len(LARGE)


def test_pushed_to_azure_pulled_and_never_overwritten_by_mistake(azure, tmp_path):
    environment = {"UNDERSTUDY_MODEL_CACHE": str(tmp_path / "cache")}

    def models(*words):
        done = told("models", *words, "--json", environment=environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    pushed = models("push", "digits/3", azure.url, "--models", str(MODELS))
    assert pushed["written"][-1] == "digits/3/model.onnx"
    assert models("push", "digits/3", azure.url, "--models", str(MODELS))["written"] == []
    [row] = models("pull", "digits/3", "--models", azure.url, "--to", str(tmp_path / "here"))
    entry = Repository(MODELS).find("digits", "3")
    assert row["sha256"] == read(entry).sha256
    assert models("check", "digits/3", "--models", azure.url)[0]["ok"]
    azure.put("digits/3/model.onnx", b"others")
    with pytest.raises(Conflict, match=r"digits/3/model\.onnx: there with other bytes; nothing was put"):
        push(entry, azure.url, force=False)
    push(entry, azure.url, force=True)
    assert read(fetched(azure, tmp_path).find("digits", "3")).content == read(entry).content


def test_a_wrong_key_of_azure_is_said_without_it(azure, tmp_path, monkeypatch):
    wrong = b64encode(b"another key").decode()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    source = fetched(azure, tmp_path)
    assert source.discover() == ()
    [problem] = source.problems
    assert "it refuses the credentials of the environment" in problem
    with pytest.raises(Conflict, match="it refuses the credentials") as refused:
        push(Repository(MODELS).find("iris", "1"), azure.url, force=False)
    assert not any(key in str(refused.value) + problem for key in (wrong, KEY))
