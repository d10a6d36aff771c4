"""What a change touches: documents by what they mean, models by their files, against real commits of git."""

import shutil

import pytest

from harness.git import commit
from harness.system import MODELS
from serving.document import DocumentError
from serving.errors import InvalidInput
from understudy.gate.changes import changes

BEFORE = "digits: {stable: digits/1, canary: {model: digits/2, weight: 5}}\niris: {stable: iris/1}\n"


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("committed")
    shutil.copytree(MODELS / "iris", folder / "models" / "iris")
    (folder / "rollouts.yaml").write_text(BEFORE)
    commit(folder)
    return folder


@pytest.fixture
def repository(committed, tmp_path):
    return shutil.copytree(committed, tmp_path / "repository")


def touched(folder, text=BEFORE, revision="HEAD"):
    (folder / "rollouts.yaml").write_text(text)
    found = changes(revision, folder / "rollouts.yaml", folder / "models")
    return {change.model: change.why for change in found.touched}, found


@pytest.mark.parametrize(
    "text",
    [
        BEFORE,
        (
            "# words\niris: {stable: {model: iris/1}}\n"
            "digits: {canary: {weight: 5.0, model: digits/2}, stable: digits/1}"
        ),
    ],
)
def test_comments_order_and_layout_touch_nothing(repository, text):
    assert touched(repository, text)[0] == {}


def test_a_document_that_means_something_else_is_touched(repository):
    found, _ = touched(repository, BEFORE.replace("weight: 5", "weight: 6"))
    assert found == {"digits": "its document"}


def test_new_removed_and_faulty_rollouts_are_told_apart(repository):
    text = "other: {stable: other/1}\niris: {stabel: iris/1}\n"
    found, all_of_it = touched(repository, text)
    assert found == {"other": "it is new", "iris": "it is at fault"}
    assert all_of_it.removed == ("digits",)
    assert "rollouts.yaml:2:" in str(all_of_it.touched[1].fault)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("iris/1/model.onnx", {"iris": "files of iris/1"}), ("iris/config.yaml", {"iris": "files of iris/1"}),
        ("iris/1/new.bin", {"iris": "files of iris/1"}), ("iris/heldout.npz", {}), ("README.md", {}),
    ],
)  # fmt: skip
def test_other_files_of_a_model_touch_the_rollouts_that_name_it(repository, path, found):
    (repository / "models" / path).write_bytes(b"other")
    assert touched(repository)[0] == found


def test_models_elsewhere_are_not_compared_and_that_is_said(repository, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    found = changes("HEAD", repository / "rollouts.yaml", tmp_path / "elsewhere")
    assert "which models are other is not known" in found.notes[0]


def test_a_file_that_the_base_does_not_have_is_all_new(repository):
    (repository / "new.yaml").write_text(BEFORE)
    found = changes("HEAD", repository / "new.yaml", repository / "models")
    assert [change.why for change in found.touched] == ["it is new", "it is new"]


@pytest.mark.parametrize("revision", ["nowhere", "--help", ""])
def test_a_revision_that_is_none_is_told_with_the_remedy(repository, revision):
    with pytest.raises(InvalidInput, match=r"--base: there is no revision .* shallow clone"):
        touched(repository, revision=revision)


def test_outside_of_a_repository_and_without_a_file_it_is_told(repository, tmp_path):
    (tmp_path / "rollouts.yaml").write_text(BEFORE)
    with pytest.raises(InvalidInput, match=r"--base: "):
        changes("HEAD", tmp_path / "rollouts.yaml", repository / "models")
    with pytest.raises(InvalidInput, match="name the rollout file by --rollouts"):
        changes("HEAD", repository / "none.yaml", repository / "models")


def test_a_file_that_is_no_mapping_is_told_by_its_place(repository):
    with pytest.raises(DocumentError, match=r"rollouts\.yaml:1:1"):
        touched(repository, "- a\n")
