"""Models in a store elsewhere, by a store in this process: fetched whole, kept, served while it is away."""

import asyncio
import hashlib
import json
import os
import time
from dataclasses import replace

import obstore
import pytest
from graphs import linear, unary
from obstore.store import MemoryStore

from control.rollouts.catalogue import Catalogue
from router.pinned import PinnedRepository, keep
from router.rollout.parser import parse_one
from serving.errors import InvalidModel, NotFound, Unavailable
from serving.models.files.repository import Repository, read
from serving.places import Origin, Places
from serving.sources.absence import REMEMBERED_SECONDS
from serving.sources.cache import HELD_SECONDS
from serving.sources.fetched import NEW_SECONDS, REST_SECONDS, Fetched
from serving.sources.objects import ObjectRemote
from serving.sources.remote import Away, Changed
from serving.sources.several import Several

URL = "s3://bucket/models"


class Store:
    """A bucket, which can be away and can be told to do something when it is read."""

    def __init__(self):
        self.store = MemoryStore()
        self.remote = ObjectRemote(URL, self.store)
        self.url, self.problems = URL, ()
        self.away = False
        self.asked = 0
        self.read_bytes = 0
        self.on_read = lambda _: None

    def put(self, path, data):
        obstore.put(self.store, path, data)

    def _ask(self):
        self.asked += 1
        if self.away:
            raise Away(f"{URL}: the connection is refused")

    def models(self):
        self._ask()
        found = self.remote.models()
        self.problems = self.remote.problems
        return found

    def files(self, name, version):
        self._ask()
        return self.remote.files(name, version)

    def read(self, file, start=0):
        if self.away:
            raise Away(f"{URL}: the connection is refused")
        self.on_read(file)
        for piece in self.remote.read(file, start):
            self.read_bytes += len(piece)
            yield piece


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def source(store, tmp_path):
    return opened(store, tmp_path)


def opened(store, tmp_path, **how):
    """As a process that starts opens it."""
    origin = Origin(Places((URL,)), tmp_path / "cache", how.pop("most", 10**9))
    return Fetched(store, origin, sleep=lambda _: None, **how)


def keys(entries):
    return [f"{entry.name}/{entry.version}" for entry in entries]


def test_listing_fetches_nothing_and_finding_fetches_one_version_once(store, source):
    store.put("m/1/model.onnx", linear())
    store.put("m/2/model.onnx", unary())
    store.put("m/10/model.onnx", unary())
    store.put("m/config.yaml", b"versions: {latest: 2}\n")
    assert keys(source.discover()) == ["m/1", "m/2", "m/10"]
    assert store.read_bytes == 0
    assert keys(source.served("m")) == ["m/10", "m/2"]
    entry = source.find("m", "1")
    assert read(entry).content == linear()
    assert entry.config.versions == 2
    before = store.read_bytes
    assert source.find("m", "1") == entry
    assert store.read_bytes == before


def test_a_version_that_is_being_uploaded_is_not_there_yet(store, source):
    store.put("m/1/weights.bin", b"w")
    assert source.discover() == ()
    assert source.problems == ("m/1: no model.onnx in it yet",)
    with pytest.raises(NotFound, match=r"s3://bucket/models has files of it, but no model\.onnx yet"):
        source.find("m", "1")


def test_names_that_can_be_no_models_are_problems(store, source):
    store.put("m x/1/model.onnx", linear())
    store.put("m/01/model.onnx", linear())
    assert source.discover() == ()
    assert len(source.problems) == 2
    with pytest.raises(NotFound):
        source.find("../m", "1")


def test_while_the_store_is_away_what_was_fetched_is_served_and_nobody_asks_again(store, source, tmp_path):
    store.put("m/1/model.onnx", linear())
    store.put("m/2/model.onnx", unary())
    store.put("m/config.yaml", b"labels: [a, b]\n")
    source.discover()
    source.find("m", "1")
    store.away = True
    asked = store.asked
    for _ in range(3):  # processes that start
        other = opened(store, tmp_path)
        assert keys(other.discover()) == ["m/1"]
        assert other.problems == (
            "s3://bucket/models: the connection is refused; what was fetched before is there",
        )
        assert keys(other.served("m")) == ["m/1"]
        assert other.served("m")[0].config.labels == ("a", "b")
        assert read(other.find("m", "1")).content == linear()
        with pytest.raises(Unavailable, match="the connection is refused"):
            other.find("m", "2")
    assert store.asked == asked + 1


def test_a_store_that_is_back_is_asked_again_after_a_while(store, source, tmp_path):
    store.away = True
    assert source.discover() == ()
    store.away = False
    store.put("m/1/model.onnx", linear())
    assert source.discover() == ()
    note = next((tmp_path / "cache").glob("*/away"))
    asked = note.stat().st_mtime - REMEMBERED_SECONDS - 1
    os.utime(note, (asked, asked))
    assert keys(source.discover()) == ["m/1"]


def test_a_version_that_changes_while_it_comes_is_taken_as_it_is_afterwards(store, source):
    store.put("m/1/model.onnx", linear())
    store.put("m/1/weights.bin", b"old")
    store.on_read = lambda file: file.size == 3 and store.put("m/1/weights.bin", b"newer")
    folder = source.find("m", "1").path.parent
    assert (folder / "weights.bin").read_bytes() == b"newer"


def test_a_version_that_never_rests_is_not_taken(store, source):
    store.put("m/1/model.onnx", linear())
    numbers = iter(range(100))
    store.on_read = lambda _: store.put("m/1/weights.bin", b"%d" % next(numbers))
    with pytest.raises(Unavailable, match="changes while it is fetched"):
        source.find("m", "1")


def test_files_that_are_put_one_after_the_other_are_not_met_in_between(store, tmp_path):
    store.put("m/1/model.onnx", linear())
    store.put("m/1/weights.bin", b"old")
    opened(store, tmp_path).find("m", "1")
    store.put("m/1/weights.bin", b"new")
    waited = []

    def sleep(seconds):
        if seconds and not waited:
            store.put("m/1/model.onnx", unary())
        waited.append(seconds)

    origin = Origin(Places((URL,)), tmp_path / "cache")
    entry = Fetched(store, origin, sleep=sleep).find("m", "1")
    assert (read(entry).content, (entry.path.parent / "weights.bin").read_bytes()) == (unary(), b"new")
    assert len(waited) == 2
    assert max(waited) <= REST_SECONDS


@pytest.mark.parametrize("case", ["one file", "put long ago", "never overwritten"])
def test_what_cannot_be_between_two_uploads_is_taken_at_once(case, store, tmp_path):
    store.put("m/1/model.onnx", linear())
    if case != "one file":
        store.put("m/1/weights.bin", b"w")
    files = store.files
    put_at = {"one file": time.time(), "put long ago": time.time() - NEW_SECONDS - 1}.get(case, 0.0)
    store.files = lambda *key: tuple(replace(file, put_at=put_at) for file in files(*key))
    waited = []
    Fetched(store, Origin(Places((URL,)), tmp_path / "cache"), sleep=waited.append).find("m", "1")
    assert waited == [0.0]


def test_a_file_that_changed_is_no_reason_not_to_ask_the_store_again(store, source):
    store.put("m/1/model.onnx", linear())
    files, answers = store.files, [Changed("changed")]
    store.files = lambda *key: _raised(answers.pop()) if answers else files(*key)
    with pytest.raises(Changed):
        source.find("m", "1")
    assert read(source.find("m", "1")).content == linear()


def _raised(error):
    raise error


def test_a_new_configuration_comes_without_the_model(store, source):
    data = linear()
    store.put("m/1/model.onnx", data)
    store.put("m/config.yaml", b"queue: 3\n")
    source.find("m", "1")
    store.read_bytes = 0
    store.put("m/config.yaml", b"queue: 4\n")
    assert source.configured("m", "1").config.queue == 4
    assert source.find("m", "1").config.queue == 4
    assert store.read_bytes < len(data)


def test_bytes_other_than_the_configuration_says_are_refused_and_fetched_anew(store, source):
    store.put("m/1/model.onnx", unary())
    digest = hashlib.sha256(linear()).hexdigest()
    store.put("m/config.yaml", f"sha256: {{'1': {digest}}}\n".encode())
    for _ in range(2):
        with pytest.raises(InvalidModel, match=r"its SHA-256 is .*, but config\.yaml says"):
            source.find("m", "1")
    store.put("m/1/model.onnx", linear())
    assert read(source.find("m", "1")).sha256 == digest


def test_what_the_configuration_warms_with_comes_too_and_nothing_else_beside(store, source):
    store.put("m/1/model.onnx", linear())
    store.put("m/config.yaml", b"warmup: rows/warm.npz\n")
    store.put("m/rows/warm.npz", b"npz")
    store.put("m/heldout.npz", b"large")
    root = source.find("m", "1").root
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert found == [".files.json", "m/1/model.onnx", "m/config.yaml", "m/rows/warm.npz"]


def test_a_store_that_lists_paths_elsewhere_is_refused(store, source):
    class Hostile(Store):
        def files(self, name, version):
            files = super().files(name, version)
            return (*files, replace(files[0], path="m/../../../evil"))

    hostile = Hostile()
    hostile.put("m/1/model.onnx", linear())
    source._remote = hostile
    with pytest.raises(InvalidModel, match="no path of it"):
        source.find("m", "1")


def test_the_cache_keeps_its_bound_by_what_was_used_longest_ago(store, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.sources.cache.HELD_SECONDS", 0.0)
    size = 40_000
    for version in (1, 2, 3):
        store.put(f"m/{version}/model.onnx", linear())
        store.put(f"m/{version}/weights.bin", bytes(size))
    source = opened(store, tmp_path, most=2 * size + 10_000)
    source.find("m", "1")
    source.find("m", "2")
    source.find("m", "1")
    source.find("m", "3")
    assert source._cache.versions(URL) == [("m", "1"), ("m", "3")]
    tight = opened(store, tmp_path / "tight", most=1000)
    with pytest.raises(
        InvalidModel, match=r"m/1: it has .* kB, the cache takes at most .*--model-cache-size"
    ):
        tight.find("m", "1")


def test_listing_is_no_use_of_what_is_kept(store, tmp_path):
    for version in (1, 2, 3):
        store.put(f"m/{version}/model.onnx", linear())
        store.put(f"m/{version}/weights.bin", bytes(40_000))
    source = opened(store, tmp_path, most=90_000)
    source.find("m", "2")
    source.find("m", "1")
    long_ago = time.time() - HELD_SECONDS - 10
    for number, version in enumerate("21"):
        [folder] = (tmp_path / "cache").glob(f"*/m@{version}/[!.]*/")
        os.utime(folder, (long_ago + number, long_ago + number))
    source.discover()
    source.served("m")
    source.find("m", "3")
    assert source._cache.versions(URL) == [("m", "1"), ("m", "3")]


def test_what_a_version_had_before_stays_while_only_another_file_of_it_comes(store, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.sources.cache.HELD_SECONDS", 0.0)
    for version in (1, 2):
        store.put(f"m/{version}/model.onnx", linear())
        store.put(f"m/{version}/weights.bin", bytes(40_000))
    opened(store, tmp_path, most=90_000).find("m", "1")
    store.put("m/1/model.onnx", unary())

    def meanwhile(file):
        store.on_read = lambda _: None
        with pytest.raises(InvalidModel, match="are in use"):
            opened(store, tmp_path, most=60_000).find("m", "2")

    store.on_read = meanwhile
    entry = opened(store, tmp_path, most=90_000).find("m", "1")
    assert (read(entry).content, len((entry.path.parent / "weights.bin").read_bytes())) == (unary(), 40_000)


def test_what_a_process_holds_is_not_evicted(store, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.sources.cache.HELD_SECONDS", 0.0)
    for version in (1, 2, 3):
        store.put(f"m/{version}/model.onnx", linear())
        store.put(f"m/{version}/weights.bin", bytes(40_000))
    holder = opened(store, tmp_path, most=90_000, lasting=True)
    holder.find("m", "1")
    other = opened(store, tmp_path, most=90_000)
    other.find("m", "2")
    other.find("m", "3")
    assert other._cache.versions(URL) == [("m", "1"), ("m", "3")]
    holder.find("m", "3")
    with pytest.raises(InvalidModel, match="are in use"):
        other.find("m", "2")


def test_accepted_bytes_start_with_store_and_cache_away(store, source, tmp_path):
    store.put("m/1/model.onnx", linear())
    store.put("m/config.yaml", b"queue: 3\n")
    catalogue = Catalogue(tmp_path, tmp_path / "verified")
    catalogue.source = source
    digests = asyncio.run(catalogue.check(parse_one("m", b"{stable: m/1}", "m")))
    kept = PinnedRepository(source, tmp_path / "kept", digests["m/1"])
    keep(kept, "m", "1")
    store.put("m/config.yaml", b"queue: 4\n")
    keep(kept, "m", "1")
    assert kept.find("m", "1").config.queue == 4
    store.away = True
    nothing = opened(store, tmp_path / "anew")
    keep(PinnedRepository(nothing, tmp_path / "kept", digests["m/1"]), "m", "1")
    with pytest.raises(Unavailable):
        asyncio.run(catalogue_of(nothing, tmp_path).check(parse_one("m", b"{stable: m/1}", "m")))


def catalogue_of(source, tmp_path):
    catalogue = Catalogue(tmp_path, tmp_path / "verified")
    catalogue.source = source
    return catalogue


def test_of_several_places_the_first_that_has_a_name_gives_all_of_it(store, source, tmp_path):
    for path, data in (("m/1", unary()), ("n/1", linear())):
        (tmp_path / "folder" / path).mkdir(parents=True)
        (tmp_path / "folder" / path / "model.onnx").write_bytes(data)
    store.put("m/2/model.onnx", linear())
    several = Several({URL: source, "folder": Repository(tmp_path / "folder")})
    assert keys(several.discover()) == ["m/2", "n/1"]
    assert several.problems == (f"folder: m is not taken from here; {URL} has it",)
    assert keys(several.served("m")) == ["m/2"]
    assert read(several.find("n", "1")).content == linear()
    with pytest.raises(NotFound):
        several.find("m", "1")
    with pytest.raises(NotFound):
        several.find("absent", "1")
    store.away = True
    assert read(several.find("n", "1")).content == linear(), "the store said before that it has no n"
    anew = Several({URL: opened(store, tmp_path / "anew"), "folder": Repository(tmp_path / "folder")})
    with pytest.raises(Unavailable):
        anew.find("m", "1")
    assert json.loads(next((tmp_path / "cache").glob("*/names.json")).read_bytes()) == ["m"]
