import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from serving.document import parse

MODELS = Path(__file__).parents[2] / "models"
PATHS = sorted(MODELS.glob("*/*/model.onnx"))
NAMES = [f"{path.parent.parent.name}/{path.parent.name}" for path in PATHS]
CLASSES = {"digits": 10, "digits-cnn": 10, "cancer": 2, "iris": 3}
INPUTS = {
    "digits": ("pixels", [64]),
    "digits-cnn": ("image", [1, 8, 8]),
    "cancer": ("features", [30]),
    "iris": ("features", [4]),
    "diabetes": ("features", [10]),
}

every_model = pytest.mark.parametrize("model", NAMES)
every_name = pytest.mark.parametrize("name", sorted(INPUTS))


def _session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(MODELS / model / "model.onnx", options, providers=["CPUExecutionProvider"])


def _held_out(name):
    with np.load(MODELS / name / "heldout.npz") as rows:
        return rows["inputs"], rows["labels"]


def _answers(model):
    """The label or prediction for every held-out row."""
    session = _session(model)
    inputs, _ = _held_out(model.partition("/")[0])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0].ravel()


def _agreement(one, other):
    return np.mean(_answers(one) == _answers(other))


def _readme_rows(columns):
    lines = (MODELS / "README.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: row for row in cells if len(row) == columns and re.match(r"[a-z-]+/\d", row[0])}


def test_every_promised_model_is_there_and_they_are_small():
    assert set(NAMES) == {
        *(f"digits/{version}" for version in (1, 2, 3, 4)),
        *("cancer/1", "cancer/2", "digits-cnn/1", "diabetes/1", "iris/1"),
    }
    assert sum(path.stat().st_size for path in MODELS.glob("*/**/*") if path.is_file()) < 2_000_000


@every_model
def test_the_signature_is_the_one_stated(model):
    session = _session(model)
    name = model.partition("/")[0]
    found = [
        (value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())
    ]
    feature, shape = INPUTS[name]
    outputs = [("prediction", "tensor(float)", ["batch", 1])]
    if name in CLASSES:
        outputs = [
            ("label", "tensor(int64)", ["batch"]),
            ("probabilities", "tensor(float)", ["batch", CLASSES[name]]),
        ]
    assert found == [(feature, "tensor(float)", ["batch", *shape]), *outputs]


@every_model
def test_the_score_is_the_one_in_the_readme(model):
    answers, (_, labels) = _answers(model), _held_out(model.partition("/")[0])
    stated = _readme_rows(6)[model][2]
    if stated.startswith("R²"):
        residual = np.sum((labels - answers) ** 2) / np.sum((labels - labels.mean()) ** 2)
        assert 1 - residual == pytest.approx(float(stated[3:]), abs=5.1e-4)
    else:
        assert 100 * np.mean(answers == labels) == pytest.approx(float(stated.rstrip("%")), abs=5.1e-3)


@every_model
def test_rows_alone_and_together_get_the_same_answers(model):
    session = _session(model)
    inputs, _ = _held_out(model.partition("/")[0])
    name = session.get_inputs()[0].name
    together = session.run(None, {name: inputs[:8]})
    alone = [session.run(None, {name: inputs[index : index + 1]}) for index in range(8)]
    for index, values in enumerate(together):
        np.testing.assert_allclose(
            values, np.concatenate([run[index] for run in alone]), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("model", [name for name in NAMES if name.partition("/")[0] in CLASSES])
def test_the_label_is_the_most_probable_class(model):
    session = _session(model)
    inputs, _ = _held_out(model.partition("/")[0])
    labels, probabilities = session.run(None, {session.get_inputs()[0].name: inputs})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))


@every_name
def test_the_config_names_the_digest_of_every_version_and_every_class(name):
    config = parse((MODELS / name / "config.yaml").read_bytes(), f"{name}/config.yaml").value
    digests = {version: node.value for version, node in config["sha256"].value.items()}
    found = {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in PATHS
        if name in path.parts
    }
    assert digests == found
    assert config["versions"].value == "all"
    assert ("labels" in config) == (name in CLASSES)
    assert name not in CLASSES or len(config["labels"].value) == CLASSES[name]


@every_name
def test_held_out_rows_are_what_a_request_needs(name):
    inputs, labels = _held_out(name)
    assert inputs.dtype == np.float32
    assert list(inputs.shape) == [len(labels), *INPUTS[name][1]]
    assert labels.dtype == (np.int64 if name in CLASSES else np.float32)
    assert set(labels) == set(range(CLASSES[name])) if name in CLASSES else np.isfinite(labels).all()


def test_the_second_digits_is_better_and_agrees_and_the_third_does_not():
    _, labels = _held_out("digits")
    better = np.mean(_answers("digits/2") == labels) - np.mean(_answers("digits/1") == labels)
    assert better >= 0.015
    assert _agreement("digits/1", "digits/2") >= 0.95
    assert 0.85 <= _agreement("digits/1", "digits/3") <= 0.93


@pytest.mark.parametrize("pair", [row for row in _readme_rows(2) if ", " in row])
def test_the_agreement_is_the_one_in_the_readme(pair):
    stated = float(_readme_rows(2)[pair][1].rstrip("%"))
    assert 100 * _agreement(*pair.split(", ")) == pytest.approx(stated, abs=5.1e-3)


def test_a_rebuild_gives_the_same_models_and_notices_one_that_was_exchanged(tmp_path):
    copy = shutil.copytree(MODELS, tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(copy / "digits" / "3" / "model.onnx", copy / "digits" / "1" / "model.onnx")
    (copy / "iris" / "1" / "model.onnx").write_bytes(b"not a model")
    done = subprocess.run(
        [sys.executable, copy / "build.py", "--check"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines()[:-1])
    assert done.returncode == 1, done.stderr
    assert {place for place, text in said.items() if text.startswith("DIFFERS")} == {"digits/1", "iris/1"}
    assert said["digits/1"].startswith("DIFFERS, score: 0.8943 committed, 0.9680 rebuilt; ")
    assert "config.yaml has another sha256" in said["digits/1"]
    assert said.keys() == {*NAMES, *(f"{name}/heldout.npz" for name in INPUTS)}
