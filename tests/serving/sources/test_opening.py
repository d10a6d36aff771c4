"""A source of the tests' own, zip files that are unpacked on demand: for runtime, pinning and control."""

import asyncio
import shutil
import zipfile

import pytest
from graphs import linear, put, unary

from control.rollouts.catalogue import Catalogue
from router.pinned import PinnedRepository, keep
from router.rollout.parser import parse_one
from serving.errors import InvalidModel, NotFound
from serving.models.files.repository import ModelEntry, Repository, read
from serving.models.runtime import Runtime
from serving.sources.opening import open_source
from serving.telemetry.cells import Metrics


class Zips:
    """`<name>-<version>.zip`, each with what a version's folder holds."""

    def __init__(self, folder, cache):
        self.folder = folder
        self.cache = Repository(cache)
        self.problems = ()
        self.fetched = []

    def discover(self):
        keys = sorted(file.stem.rsplit("-", 1) for file in self.folder.glob("*.zip"))
        return tuple(self.listed(*key) for key in keys)

    def listed(self, name, version):
        path = self.cache.root / name / version / "model.onnx"
        return ModelEntry(name, version, path, Repository(self.folder)._config(name, []), self.cache.root)

    def served(self, name):
        return tuple(entry for entry in reversed(self.discover()) if entry.name == name)[:1]

    def configured(self, name, version):
        return self.listed(name, version)

    def find(self, name, version):
        file = self.folder / f"{name}-{version}.zip"
        if not file.exists():
            raise NotFound(f"no model {name!r} version {version!r}")
        self.fetched.append(f"{name}/{version}")
        zipfile.ZipFile(file).extractall(self.cache.root / name / version)
        return self.cache.find(name, version)


@pytest.fixture
def zips(tmp_path):
    def pack(name, version, data):
        folder = put(tmp_path / "unpacked", name, version, data)
        shutil.make_archive(str(tmp_path / "zips" / f"{name}-{version}"), "zip", folder)

    pack("m", 1, linear())
    pack("m", 2, unary())
    pack("n", 1, b"junk")
    shutil.rmtree(tmp_path / "unpacked")
    return Zips(tmp_path / "zips", tmp_path / "cache")


def test_a_folder_is_a_source(tmp_path):
    put(tmp_path, "m", 1, linear())
    source = open_source(tmp_path)
    [listed] = source.discover()
    assert source.served("m") == (listed,) == (source.find("m", "1"),)
    assert source.problems == ()


def test_a_runtime_loads_what_another_source_fetches_when_it_is_asked_for(zips, tmp_path):
    metrics = Metrics(tmp_path / "metrics", "test")

    async def main():
        runtime = Runtime(zips, metrics, tmp_path / "verified", 1)
        assert [f"{entry.name}/{entry.version}" for entry in zips.discover()] == ["m/1", "m/2", "n/1"]
        assert zips.fetched == [], "listing fetches nothing"
        await runtime.verify_ahead(["m/1", "n/1", "absent/1"])
        assert zips.fetched == ["m/1", "n/1"]
        await runtime.load("m", "1")
        await runtime.refresh(zips.served("m"))
        with pytest.raises(InvalidModel, match="it is no ONNX file"):
            await runtime.load("n", "1")
        with pytest.raises(NotFound):
            await runtime.load("absent", "1")
        assert sorted(runtime.ready) == ["m/1", "m/2"]
        await runtime.close()

    asyncio.run(main())
    metrics._index.close()


def test_bytes_of_another_source_are_kept_by_their_digest_and_served_when_it_is_away(zips, tmp_path):
    digest = read(zips.find("m", "1")).sha256
    kept = PinnedRepository(zips, tmp_path / "kept", digest)
    with pytest.raises(InvalidModel, match="not those that were accepted"):
        keep(kept, "m", "2")
    keep(kept, "m", "1")
    shutil.rmtree(zips.folder)
    shutil.rmtree(zips.cache.root)
    keep(kept, "m", "1")
    assert read(kept.find("m", "1")).sha256 == digest


def test_control_checks_a_rollout_by_what_another_source_fetches(zips, tmp_path):
    catalogue = Catalogue(tmp_path / "nowhere", tmp_path / "verified")
    catalogue.source = zips
    digests = asyncio.run(catalogue.check(parse_one("m", b"{stable: m/1}", "m")))
    assert digests == {"m/1": read(zips.find("m", "1")).sha256}
