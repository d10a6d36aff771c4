import hashlib
import os
from pathlib import Path

import pytest
from graphs import external, linear, put
from hypothesis import given
from hypothesis import strategies as st

from serving.document import DocumentError
from serving.errors import InvalidModel, NotFound
from serving.models.files.config import ModelConfig, is_version
from serving.models.files.repository import Repository, _locations, read


def keys(entries):
    return [f"{entry.name}/{entry.version}" for entry in entries]


def test_models_are_found_in_the_order_of_names_and_numbers(tmp_path):
    for name, version in (("b", 10), ("b", 9), ("a", 1), ("b", 2)):
        put(tmp_path, name, version, b"x")
    repository = Repository(tmp_path)
    assert keys(repository.discover()) == ["a/1", "b/2", "b/9", "b/10"]
    assert repository.problems == ()
    assert repository.find("b", "10").path == tmp_path / "b" / "10" / "model.onnx"


def test_stray_files_and_hidden_folders_are_ignored_quietly(tmp_path):
    put(tmp_path, "a", 1, b"x")
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / ".git" / "1").mkdir(parents=True)
    (tmp_path / "my notes").mkdir()
    (tmp_path / "a" / "notes").mkdir()
    repository = Repository(tmp_path)
    assert keys(repository.discover()) == ["a/1"]
    assert repository.problems == ()


def test_a_link_that_leads_nowhere_is_a_problem(tmp_path):
    put(tmp_path, "a", 1, b"x")
    (tmp_path / "a" / "2").symlink_to(tmp_path / "not mounted")
    (tmp_path / "b").symlink_to(tmp_path / "not mounted")
    (tmp_path / "c").symlink_to("c")
    (tmp_path / ".d").symlink_to("nowhere")
    repository = Repository(tmp_path)
    assert keys(repository.discover()) == ["a/1"]
    assert repository.problems == tuple(f"{link}: a link that leads nowhere" for link in ("b", "c", "a/2"))


def test_what_looks_like_a_model_and_is_none_is_a_problem(tmp_path):
    put(tmp_path, "good", 1, b"x")
    put(tmp_path, "my model", 1, b"x")
    put(tmp_path, "zeros", "01", b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "1").mkdir(parents=True)
    put(tmp_path, "listed", 1, b"x", "versions: [1, 7]")
    put(tmp_path, "typo", 1, b"x", "version: all")
    repository = Repository(tmp_path)
    assert keys(repository.discover()) == ["good/1", "listed/1"]
    assert repository.problems == (
        "empty: no version folders in it",
        "hollow/1: no model.onnx in it",
        "listed: version 7 is to be served, but absent",
        "'my model': not a name for a model (letters, digits, . _ and -)",
        repository.problems[4],
        "zeros/01: a version is a positive whole number without leading zeros",
    )
    assert repository.problems[4].startswith("typo/config.yaml:1:10: version: unknown key")


def test_what_lies_at_the_wrong_place_is_a_problem(tmp_path):
    put(tmp_path, "good", 1, b"x", "{}")
    put(tmp_path, "good", "latest", b"x")
    put(tmp_path / "nest", "sub", 1, b"x")
    put(tmp_path / "with space", "a", "b", b"x")
    (tmp_path / "flat").mkdir()
    (tmp_path / "other" / "1").mkdir(parents=True)
    for place in ("loose.onnx", "flat/model.onnx", "other/1/net.onnx"):
        (tmp_path / place).write_bytes(b"x")
    (tmp_path / "good" / "config.pbtxt").write_text("max_batch_size: 8")
    (tmp_path / "other" / "config.yml").write_text("{}")
    repository = Repository(tmp_path)
    assert keys(repository.discover()) == ["good/1"]
    layout = "not read; models lie at NAME/VERSION/model.onnx"
    assert set(repository.problems) == {
        f"loose.onnx: {layout}",
        "flat: no version folders in it",
        f"flat/model.onnx: {layout}",
        f"good/latest: {layout}",
        "good/config.pbtxt: not read, as there is a config.yaml",
        "nest: no version folders in it",
        f"nest/sub: {layout}",
        "other/1: no model.onnx in it, but net.onnx",
        "other/config.yml: not read; the file is to be called config.yaml",
    }


def test_a_configuration_of_triton_is_read_where_there_is_none_of_ours(tmp_path):
    put(tmp_path, "m", 1, b"x")
    put(tmp_path, "m", 2, b"x")
    (tmp_path / "m" / "config.pbtxt").write_text(
        "max_batch_size: 8 version_policy { all {} } model_warmup { name: 'w' }"
    )
    repository = Repository(tmp_path)
    assert keys(repository.discover()) == ["m/1", "m/2"]
    assert repository.find("m", "1").config == ModelConfig(versions="all", most_rows=8)
    assert repository.problems == ("m/config.pbtxt:1: model_warmup is not used: it has no counterpart here",)


def test_a_repository_that_does_not_exist_is_a_problem_and_no_error(tmp_path):
    repository = Repository(tmp_path / "nowhere")
    assert repository.discover() == ()
    assert repository.problems == ("the model repository is not a folder",)


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (None, ["10"]),
        ("versions: all", ["10", "9", "2"]),
        ("versions: {latest: 2}", ["10", "9"]),
        ("versions: {latest: 99}", ["10", "9", "2"]),
        ("versions: [2, '9', 7]", ["9", "2"]),
        ("versions: [7]", []),
    ],
)
def test_the_policy_chooses_the_versions_highest_first(tmp_path, policy, chosen):
    for version in (2, 9, 10):
        put(tmp_path, "m", version, b"x", policy)
    assert [entry.version for entry in Repository(tmp_path).served("m")] == chosen


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("..", "1"), (".", "1"), ("m/../m", "1"), ("/etc", "1"), ("m\0", "1"), ("%2e%2e", "1"), ("", "1"),
        ("m\n", "1"), ("\uff4d", "1"), ("m" * 129, "1"), ("m", ""), ("m", "0"), ("m", "01"), ("m", "-1"),
        ("m", "1.0"), ("m", "\uff11"), ("m", "1\n"), ("m", ".."), ("m", "9" * 500), ("m", "2"), ("x", "1"),
    ],
)  # fmt: skip
def test_names_and_versions_of_a_hostile_kind_are_simply_not_found(tmp_path, name, version):
    put(tmp_path, "m", 1, b"x")
    with pytest.raises(NotFound) as caught:
        Repository(tmp_path).find(name, version)
    assert str(tmp_path) not in str(caught.value)
    assert len(str(caught.value)) < 400
    if version == "1":
        with pytest.raises(NotFound):
            Repository(tmp_path).served(name)


@given(st.integers(min_value=-5, max_value=10**10), st.text(max_size=3))
def test_a_version_is_the_text_of_a_positive_number_and_nothing_else(number, other):
    assert is_version(str(number)) == (0 < number < 10**10)
    assert is_version(other) == (other.isascii() and other.isdigit() and other[0] != "0")


# ------------------------------------------------------------------ links


def test_links_within_the_root_are_followed_as_volumes_need_it(tmp_path):
    put(tmp_path, "..2026", 1, linear(), "labels: [a]")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").symlink_to("../../..data/1/model.onnx")
    (tmp_path / "m" / "config.yaml").symlink_to("../..data/config.yaml")
    (tmp_path / "alias").symlink_to("m")
    [alias, entry] = Repository(tmp_path).discover()
    assert (alias.name, entry.config.labels) == ("alias", ("a",))
    assert read(entry).content == linear()


@pytest.mark.parametrize("place", ["m", "m/1", "m/1/model.onnx"])
def test_links_that_lead_outside_the_root_are_refused(tmp_path, place):
    root = tmp_path / "root"
    put(tmp_path / "out", "m", 1, linear())
    path = root / place
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "out" / place)
    repository = Repository(root)
    assert repository.discover() == ()
    assert repository.problems == ("m/1/model.onnx: a link in its path leads outside",)
    with pytest.raises(InvalidModel, match="leads outside"):
        repository.find("m", "1")


def test_a_configuration_outside_the_root_is_refused(tmp_path):
    put(tmp_path / "root", "m", 1, linear())
    (tmp_path / "config.yaml").write_text("labels: [secret]")
    (tmp_path / "root" / "m" / "config.yaml").symlink_to(tmp_path / "config.yaml")
    with pytest.raises(InvalidModel, match=r"^m/config.yaml: a link in its path leads outside$"):
        Repository(tmp_path / "root").find("m", "1")


@pytest.mark.parametrize("target", ["gone", "model.onnx"])
def test_links_that_lead_nowhere_or_in_a_circle_are_refused(tmp_path, target):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").symlink_to(target)
    with pytest.raises(InvalidModel, match="leads nowhere"):
        Repository(tmp_path).find("m", "1")


def test_a_link_swapped_after_discovery_is_refused_when_it_is_read(tmp_path):
    folder = put(tmp_path / "root", "m", 1, linear())
    entry = Repository(tmp_path / "root").find("m", "1")
    (tmp_path / "out.onnx").write_bytes(linear())
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(tmp_path / "out.onnx")
    with pytest.raises(InvalidModel, match="leads outside"):
        read(entry)


def test_a_named_pipe_or_a_folder_as_model_is_refused_without_waiting(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "2" / "model.onnx").mkdir(parents=True)
    os.mkfifo(tmp_path / "m" / "1" / "model.onnx")
    for version in ("1", "2"):
        with pytest.raises(InvalidModel, match=r"^m/\d/model.onnx: (not a regular file|cannot be read)"):
            read(Repository(tmp_path).find("m", version))


# ------------------------------------------------------------------ reading


def test_a_file_is_read_whole_and_its_digest_is_checked(tmp_path):
    data = linear()
    digest = hashlib.sha256(data).hexdigest()
    put(tmp_path, "m", 1, data, f"sha256: {{1: {digest.upper()}}}")
    files = read(Repository(tmp_path).find("m", "1"))
    assert (files.content, files.external, files.sha256, files.size) == (data, {}, digest, len(data))
    put(tmp_path, "m", 1, data + b"\0")
    with pytest.raises(InvalidModel, match=f"but config.yaml says {digest}"):
        read(Repository(tmp_path).find("m", "1"))


def test_external_data_is_read_with_the_model_and_covered_by_its_digest(tmp_path):
    folder = put(tmp_path, "m", 1, external("deep/w.bin"))
    (folder / "deep").mkdir()
    (folder / "deep" / "w.bin").write_bytes(bytes(16))
    (folder / "unrelated.bin").write_bytes(bytes(16))
    entry = Repository(tmp_path).find("m", "1")
    files = read(entry)
    assert files.external == {"deep/w.bin": bytes(16)}
    sums = [hashlib.sha256(data).hexdigest() for data in (files.content, bytes(16))]
    printed = f"{sums[0]}  model.onnx\n{sums[1]}  deep/w.bin\n"
    assert files.sha256 == hashlib.sha256(printed.encode()).hexdigest()
    (folder / "deep" / "w.bin").write_bytes(bytes(15) + b"\1")
    assert read(entry).sha256 != files.sha256


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "deep/../../w.bin", "/dev/zero", "link.bin", "linked/w.bin", ".", "model.onnx", "gone"],
)
def test_external_data_behind_links_or_outside_is_not_read(tmp_path, location):
    folder = put(tmp_path, "m", 1, external(location))
    (folder / "deep").mkdir()
    for place in (folder.parent, folder, folder / "deep"):
        (place / "w.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to("w.bin")
    (folder / "linked").symlink_to("deep")
    assert read(Repository(tmp_path).find("m", "1")).external == {}


@given(st.text(min_size=1, max_size=300).filter(lambda text: text.encode("utf-8", "ignore").decode() == text))
def test_no_location_of_external_data_is_overlooked(location):
    assert location in _locations(external(location))


def test_the_warmup_is_read_with_the_model_and_belongs_to_its_identity(tmp_path):
    put(tmp_path, "m", 1, linear(), "warmup: rows.npz")
    (tmp_path / "m" / "rows.npz").write_bytes(b"abc")
    entry = Repository(tmp_path).find("m", "1")
    files = read(entry)
    assert files.warmup == b"abc"
    (tmp_path / "m" / "rows.npz").write_bytes(b"abd")
    assert (read(entry).sha256 == files.sha256, read(entry).identity == files.identity) == (True, False)
    (tmp_path / "m" / "rows.npz").unlink()
    (tmp_path / "m" / "rows.npz").symlink_to(tmp_path / "outside.npz")
    (tmp_path / "outside.npz").write_bytes(b"abc")
    with pytest.raises(InvalidModel, match=r"m/rows\.npz: a link in its path leads outside"):
        read(entry)


# ------------------------------------------------------------------ configuration


def config(tmp_path, text):
    put(tmp_path, "digits", 1, b"x", text)
    return Repository(tmp_path).find("digits", "1").config


def test_every_field_of_a_configuration_is_read(tmp_path):
    text = f"""
versions: all
sha256: {{1: "{"ab" * 32}"}}
labels: ["no", "yes"]
execution: pooled
batching: {{max: 32, independent: true}}
threads: 2
providers: [CPUExecutionProvider]
queue: 64
timeout: 250ms
check: {{memory: 512MiB, time: 5s}}
warmup: samples/rows.npz
spinning: true
optimization: extended
"""
    assert config(tmp_path, text) == ModelConfig(
        versions="all",
        sha256={"1": "ab" * 32},
        labels=("no", "yes"),
        execution="pooled",
        batching=32,
        independent=True,
        threads=2,
        queue=64,
        timeout=0.25,
        check_memory=512 << 20,
        check_time=5.0,
        warmup="samples/rows.npz",
        spinning=True,
        optimization="extended",
    )
    assert config(tmp_path, "batching: {max: auto}") == ModelConfig()


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("versions: some", "1:11", "expected one of all"),
        ("versions: {latest: 0}", "1:20", "expected 1 to"),
        ("versions: {newest: 1}", "1:20", "unknown key"),
        ("versions: []", "1:11", "at least one version"),
        ("versions: [1, '02']", "1:15", "without leading zeros"),
        ("versions: [true]", "1:12", "a version is"),
        ("sha256: {1: abc}", "1:13", "64 hexadecimal"),
        ("sha256: {x: '" + "a" * 64 + "'}", "1:13", "a version is"),
        ("labels: yes", "1:9", "expected a list"),
        ("labels:\n- a\n- 1", "3:3", "expected text"),
        ("execution: fast", "1:12", "expected one of auto, inline, pooled"),
        ("batching: {max: 0}", "1:17", "expected 1 to"),
        ("batching: {max: lots}", "1:17", "expected one of auto"),
        ("batching: 4", "1:11", "expected a mapping"),
        ("batching: {independent: maybe}", "1:25", "expected true or false"),
        ("threads: 0", "1:10", "expected 1 to"),
        ("providers: []", "1:12", "one or more"),
        ("providers: [NoSuchProvider]", "1:13", "expected one of"),
        ("providers: [CPUExecutionProvider, CPUExecutionProvider]", "1:12", "different providers"),
        ("queue: 0", "1:8", "expected 1 to"),
        ("timeout: 5", "1:10", "expected a duration"),
        ("check: {memory: 0}", "1:17", "expected 1 to"),
        ("check: {time: 2h}", "1:15", "expected"),
        ("check: {cpu: 1}", "1:14", "unknown key"),
        ("warmup: ../rows.npz", "1:9", "inside the model's folder"),
        ("warmup: /rows.npz", "1:9", "inside the model's folder"),
        ("warmup: rows.npy", "1:9", "an .npz"),
        ("spinning: maybe", "1:11", "true or false"),
        ("optimization: fast", "1:15", "none, basic, extended, layout, all"),
        ("labels: [a]\nlabels: [b]", "2:1", "duplicate key"),
    ],
)
def test_every_bad_field_is_refused_with_its_position(tmp_path, text, place, message):
    with pytest.raises(DocumentError, match=message) as caught:
        config(tmp_path, text)
    faults = str(caught.value).splitlines()
    assert any(fault.startswith(f"digits/config.yaml:{place}: ") for fault in faults)
    assert str(tmp_path) not in str(caught.value)


def test_listing_survives_a_folder_that_cannot_be_read(tmp_path):
    put(tmp_path, "a", 1, b"x")
    (tmp_path / "b").write_text("no folder")
    assert keys(Repository(Path(os.path.relpath(tmp_path))).discover()) == ["a/1"]
