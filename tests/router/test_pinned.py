"""Accepted bytes are kept by their digest, and nothing else takes their place."""

import hashlib
import shutil

import pytest
from graph_folders import put_graph, scaler
from graphs import zipmap

from harness.system import MODELS
from router.pinned import PinnedRepository, keep
from serving.errors import InvalidModel, NotFound
from serving.models.files.graph_bytes import unfolded
from serving.models.files.repository import Repository, read


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path):
    shutil.copytree(MODELS / "digits" / "1", tmp_path / "models" / "digits" / "1")
    return tmp_path / "models"


@pytest.fixture
def digest(source):
    return sha(source / "digits" / "1" / "model.onnx")


def test_kept_bytes_outlive_their_source(tmp_path, source, digest):
    repository = PinnedRepository(Repository(source), tmp_path / "kept", digest)
    keep(repository, "digits", "1")
    shutil.rmtree(source)
    keep(repository, "digits", "1")
    assert read(repository.find("digits", "1")).sha256 == digest


def test_a_source_that_is_written_in_place_does_not_reach_what_is_kept(tmp_path, source, digest):
    repository = PinnedRepository(Repository(source), tmp_path / "kept", digest)
    keep(repository, "digits", "1")
    (source / "digits" / "1" / "model.onnx").write_bytes(b"other bytes")
    keep(repository, "digits", "1")
    assert read(repository.find("digits", "1")).sha256 == digest


def test_other_bytes_are_refused_in_words(tmp_path, source, digest):
    (source / "digits" / "1" / "model.onnx").write_bytes(b"other bytes")
    repository = PinnedRepository(Repository(source), tmp_path / "kept", digest)
    with pytest.raises(
        InvalidModel, match=f"not those that were accepted .*{digest[:12]}.*apply the rollout"
    ):
        keep(repository, "digits", "1")
    assert not (tmp_path / "kept").exists()


def test_bytes_that_went_bad_where_they_are_kept_are_taken_anew(tmp_path, source, digest):
    repository = PinnedRepository(Repository(source), tmp_path / "kept", digest)
    keep(repository, "digits", "1")
    (repository.root / "digits" / "1" / "model.onnx").write_bytes(b"rotten")
    keep(repository, "digits", "1")
    assert read(repository.find("digits", "1")).sha256 == digest
    (repository.root / "digits" / "1" / "model.onnx").write_bytes(b"rotten")
    shutil.rmtree(source)
    with pytest.raises(NotFound):
        keep(repository, "digits", "1")


def test_the_configuration_is_followed_unless_it_speaks_of_other_bytes(tmp_path, source, digest):
    repository = PinnedRepository(Repository(source), tmp_path / "kept", digest)
    keep(repository, "digits", "1")
    config = source / "digits" / "config.yaml"
    config.write_text("queue: 7\n")
    keep(repository, "digits", "1")
    assert repository.find("digits", "1").config.queue == 7
    config.write_text(f'queue: 9\nsha256: {{"1": "{"0" * 64}"}}\n')
    keep(repository, "digits", "1")
    assert repository.find("digits", "1").config.queue == 7
    assert repository.find("digits", "1").config.sha256 == {"1": digest}


def test_versions_and_models_of_the_same_bytes_are_kept_beside_each_other(tmp_path, source, digest):
    shutil.copytree(source / "digits" / "1", source / "digits" / "2")
    shutil.copytree(source / "digits" / "1", source / "figures" / "1")
    repository = PinnedRepository(Repository(source), tmp_path / "kept", digest)
    same = [("digits", "1"), ("digits", "2"), ("figures", "1")]
    for name, version in same:
        keep(repository, name, version)
    shutil.rmtree(source)
    (repository.root / "digits" / "1" / "model.onnx").write_bytes(b"rotten")
    with pytest.raises(NotFound):
        keep(repository, "digits", "1")
    for name, version in same[1:]:
        assert read(repository.find(name, version)).sha256 == digest


def test_a_classifier_that_ends_in_a_zipmap_is_kept_as_it_is_on_disk(tmp_path, source):
    model = source / "digits" / "1" / "model.onnx"
    model.write_bytes(zipmap(["a", "b"]))
    repository = PinnedRepository(Repository(source), tmp_path / "kept", sha(model))
    keep(repository, "digits", "1")
    shutil.rmtree(source)
    kept = read(repository.find("digits", "1"))
    assert kept.sha256 == repository.root.name
    assert unfolded(kept.content)[1] == ("a", "b")


def test_of_a_graph_all_its_models_are_kept_and_another_one_is_refused(tmp_path):
    folder = put_graph(tmp_path / "models", "fraud", 1)
    accepted = read(Repository(tmp_path / "models").find("fraud", "1"))
    repository = PinnedRepository(Repository(tmp_path / "models"), tmp_path / "kept", accepted.sha256)
    keep(repository, "fraud", "1")
    (folder / "scaler/1/model.onnx").write_bytes(scaler(0.75))
    kept = read(repository.find("fraud", "1"))
    assert (kept.sha256, kept.external) == (accepted.sha256, accepted.external)
    elsewhere = PinnedRepository(Repository(tmp_path / "models"), tmp_path / "elsewhere", accepted.sha256)
    with pytest.raises(InvalidModel, match="not those that were accepted"):
        keep(elsewhere, "fraud", "1")
    shutil.rmtree(tmp_path / "models")
    (repository.root / "fraud" / "1" / "risk/1/model.onnx").unlink()  # what went bad is not there any more
    with pytest.raises(NotFound):
        keep(repository, "fraud", "1")
