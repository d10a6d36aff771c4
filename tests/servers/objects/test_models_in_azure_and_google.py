"""Models in the stores of Azure and Google, as far as Azurite and fake-gcs-server are like them."""

import json
from base64 import b64encode
from uuid import uuid4

import pytest

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
NOBODY = "http://127.0.0.1:9"


class Place:
    """A bucket of an emulator behind a proxy."""

    def __init__(self, emulator, proxy):
        self.emulator, self.proxy = emulator, proxy
        self.bucket = ""

    @property
    def url(self):
        return f"{self.emulator.scheme}://{self.bucket}/team"

    def put(self, name, data):
        self.emulator.put(self.bucket, f"team/{name}", data)


@pytest.fixture(scope="module", params=[Azurite, FakeGcs], ids=["azure", "google"])
def emulated(request, tmp_path_factory):
    if request.param is Azurite and not AZURITE.exists():
        pytest.skip("Azurite is not there: npm installs it")
    port = free_port()
    with store_proxy(port) as proxy:
        emulator = request.param(tmp_path_factory.mktemp("emulator"), port, proxy.url)
        yield Place(emulator, proxy)
        emulator.kill()


@pytest.fixture
def place(emulated, monkeypatch):
    """One of the two, with a bucket that is empty."""
    lead(monkeypatch, emulated, emulated.proxy.url)
    emulated.bucket = f"models-{uuid4().hex}"
    emulated.emulator.bucket(emulated.bucket)
    yield emulated
    emulated.proxy.cut_after = None


def lead(monkeypatch, place, door):
    for name, value in place.emulator.settings(door).items():
        monkeypatch.setenv(name, value)


OF_AZURE = pytest.mark.parametrize("emulated", [Azurite], indirect=True, ids=["azure"])


def fetched(place, tmp_path, **how):
    return Fetched(ObjectRemote(place.url), Origin(Places((place.url,)), tmp_path / "cache"), **how)


def test_versions_are_found_whole_followed_and_served_while_it_is_away(place, tmp_path, monkeypatch):
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
    lead(monkeypatch, place, NOBODY)
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


@OF_AZURE
def test_pushed_pulled_and_never_overwritten_by_mistake_in_azure(place, tmp_path):
    environment = {"UNDERSTUDY_MODEL_CACHE": str(tmp_path / "cache")}

    def models(*words):
        done = told("models", *words, "--json", environment=environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    pushed = models("push", "digits/3", place.url, "--models", str(MODELS))
    assert pushed["written"][-1] == "digits/3/model.onnx"
    assert models("push", "digits/3", place.url, "--models", str(MODELS))["written"] == []
    [row] = models("pull", "digits/3", "--models", place.url, "--to", str(tmp_path / "here"))
    entry = Repository(MODELS).find("digits", "3")
    assert row["sha256"] == read(entry).sha256
    assert models("check", "digits/3", "--models", place.url)[0]["ok"]
    place.put("digits/3/model.onnx", b"others")
    with pytest.raises(Conflict, match=r"digits/3/model\.onnx: there with other bytes; nothing was put"):
        push(entry, place.url, force=False)
    push(entry, place.url, force=True)
    assert read(fetched(place, tmp_path).find("digits", "3")).content == read(entry).content


@OF_AZURE
def test_a_wrong_key_is_said_without_it(place, tmp_path, monkeypatch):
    wrong = b64encode(b"another key").decode()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    source = fetched(place, tmp_path)
    assert source.discover() == ()
    [problem] = source.problems
    assert "it refuses the credentials of the environment" in problem
    with pytest.raises(Conflict, match="it refuses the credentials") as refused:
        push(Repository(MODELS).find("iris", "1"), place.url, force=False)
    assert not any(key in str(refused.value) + problem for key in (wrong, KEY))
