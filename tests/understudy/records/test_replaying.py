"""Recorded requests once more, by real onnxruntime and the bytes that the row names."""

import hashlib
import shutil
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.digit_models import failing_digits
from harness.record_files import HOUR, write_rows
from harness.system import MODELS
from router.record.files.rows import Row
from serving.errors import Conflict, InvalidInput, InvalidModel, NotFound
from serving.models.checking.verify import verify
from serving.models.files.repository import Repository, read
from serving.models.kinds import load
from serving.wire.bf16 import rounded
from understudy.records.place import Folder, Wanted
from understudy.records.replaying import held, replay
from understudy.records.rows import find

ENTRY = Repository(MODELS).find("digits", "1")
SHA256 = read(ENTRY).sha256
DONE = {
    "kind": "request", "receipt": "r", "request_time": HOUR, "role": "stable", "target": "digits/1",
    "digest": SHA256, "status_code": 200, "duration_us": 900, "forced": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def pixels():
    return np.load(MODELS / "digits" / "heldout.npz")["inputs"][:3].astype(np.float32)


@pytest.fixture(scope="module")
def outputs(verified, pixels):
    [report] = verify([ENTRY], 1, verified)
    model = load(ENTRY, 1, report)
    names = [spec.name for spec in model.signature.outputs]
    return dict(zip(names, model.run({"pixels": pixels}, names), strict=True))


@pytest.fixture
def state(tmp_path, verified):
    """A node's state folder, which has the memory of what passed its check."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "verified").symlink_to(verified)
    return folder


@pytest.fixture
def again(tmp_path, state):
    """Write a row, look it up and replay it."""

    def replayed(tensors, models=MODELS, **values):
        row = Row("digits", "i", HOUR, DONE | values, tensors, 100)
        write_rows(tmp_path / "records", "a", [row])
        found = find(Folder(tmp_path / "records"), Wanted(), "r")
        return replay(found.answer, Repository(models), state, threads=1)

    return replayed


def columns(pixels, outputs):
    return {"input_pixels": pixels} | {f"output_{name}": array for name, array in outputs.items()}


def test_what_was_answered_comes_again_bit_for_bit(again, pixels, outputs):
    found = again(columns(pixels, outputs))
    assert found.verdict == "equal"
    assert [output.name for output in found.outputs] == sorted(outputs)


@pytest.mark.parametrize(
    ("shared", "verdict"), [(True, "rounding"), (None, "rounding"), (False, "different")]
)
def test_what_ran_alone_has_to_be_equal_to_the_bit(shared, verdict):
    one, other = np.array([[1.0, 2.0]]), np.array([[1.0, 2.000001]])
    assert held("x", one, other, shared=shared).verdict == verdict
    assert held("x", one, one.copy(), shared=shared).verdict == "equal"


def test_rounding_and_other_answers_are_told_apart(again, pixels, outputs):
    name = next(name for name, array in outputs.items() if array.dtype == np.float32)
    near = outputs | {name: outputs[name] * np.float32(1 + 1e-6)}
    assert again(columns(pixels, near)).verdict == "rounding"
    far = outputs | {name: outputs[name] + np.float32(0.01)}
    found = again(columns(pixels, far))
    assert found.verdict == "different"
    assert {output.verdict for output in found.outputs if output.name != name} == {"equal"}


def test_a_request_without_a_head_is_read_as_the_model_reads_it(again, pixels, outputs):
    one = {name: array[:1] for name, array in outputs.items()}
    tensors = {f"output_{name}": array for name, array in one.items()}
    assert again(tensors, input_raw=pixels[:1].tobytes()).verdict in {"equal", "rounding"}


def test_bytes_that_a_node_keeps_come_before_the_models(again, state, tmp_path, pixels, outputs):
    kept = state / "models" / SHA256
    shutil.copytree(MODELS / "digits" / "1", kept / "digits" / "1")
    other = tmp_path / "models" / "digits" / "1"
    other.mkdir(parents=True)
    shutil.copy(MODELS / "digits" / "2" / "model.onnx", other)
    assert again(columns(pixels, outputs), models=tmp_path / "models").verdict == "equal"
    shutil.rmtree(kept)
    with pytest.raises(InvalidModel, match=f"bytes of SHA-256 {SHA256[:12]}; --models has"):
        again(columns(pixels, outputs), models=tmp_path / "models")
    with pytest.raises(NotFound, match=r"neither kept by a node \(--state-dir\) nor a model of --models"):
        again(columns(pixels, outputs), models=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"digest": None}, "no digest was recorded, as of a target behind a URL"),
        ({"status_code": 504, "error": "too_late: no answer"}, "status 504 .* not the model's doing"),
        ({"logging_error": "outputs: no JSON"}, "could not keep all of it"),
        ({}, r"input 'pixels' is not in the log: the rollout redacts it"),
    ],
)
def test_what_cannot_be_run_again_is_refused_in_words(again, outputs, values, words):
    with pytest.raises(Conflict, match=words):
        again({f"output_{name}": array for name, array in outputs.items()}, **values)


def test_a_request_on_which_the_model_failed_fails_again_or_does_not(again, tmp_path, pixels):
    folder = tmp_path / "models" / "digits" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(failing_digits())
    digest = hashlib.sha256(failing_digits()).hexdigest()
    failed = {"status_code": 500, "error": "failed: the model failed"}
    found = again({"input_pixels": pixels[:1]}, models=tmp_path / "models", digest=digest, **failed)
    assert found.failed
    assert found.verdict == "equal"
    assert again({"input_pixels": pixels[:1]}, **failed).verdict == "different"


def test_a_row_is_found_by_each_of_its_names_and_only_alone(tmp_path):
    rows = [
        DONE | {"receipt": name, "request_id": "twice", "client_request_id": f"id-{name}"} for name in "xy"
    ]
    for hour, values in enumerate(rows):
        at = HOUR + timedelta(hours=hour)
        write_rows(tmp_path, "a", [Row("digits", "i", at, values, {}, 1)])
    place = Folder(tmp_path)
    assert find(place, Wanted(), "x").answer.file.hour == HOUR
    assert find(place, Wanted(), "id-y").answer.values["receipt"] == "y"
    with pytest.raises(InvalidInput, match="2 records of 'twice'; name one by its receipt: y, x"):
        find(place, Wanted(), "twice")
    with pytest.raises(NotFound, match="no record of 'z'"):
        find(place, Wanted(), "z")


floats = st.lists(st.floats(width=32) | st.just(0.0), min_size=1, max_size=6)


@given(floats)
def test_every_tensor_equals_itself_and_not_another(values):
    for array in (np.array([values], np.float32), rounded(np.array([values], np.float32))):
        assert held("x", array, array.copy()).verdict == "equal"
    wide = np.array(values, np.float64)
    assert held("x", wide, wide[:, None]).verdict == "different"
    assert held("x", wide, wide.astype(np.float32)).verdict == "different"


def test_nothing_but_finite_numbers_is_rounded():
    nan, one = np.array([np.nan, 1.0]), np.array([1.0, 1.0])
    assert held("x", nan, one).verdict == "different"
    assert held("x", np.array([np.inf]), np.array([-np.inf])).verdict == "different"
    assert held("x", np.array([0.0]), np.array([-0.0])).verdict == "rounding"
    assert held("x", np.array(["a"], object), np.array(["b"], object)).verdict == "different"
    assert held("x", np.array([[0.0, 1e-9]]), np.array([[1e-6, 1e-9]])).verdict == "different"
