"""Drift of live traffic on a real node: each kind of fault names its feature first, wherever it is shown."""

import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.command import told
from harness.fences import fences, matches
from harness.system import MODELS, ROOT, eventually, running
from router.record.eligible import encoded

ROWS = 200
FAULTS = ("none", "units", "missing", "category", "creeping")
ROLLOUTS = "".join(
    f"{name}: {{stable: tabular/{2 if name == 'creeping' else 1}, record: {{}}}}\n" for name in FAULTS
)
PAGE = list(fences(ROOT / "docs" / "drift.md"))
FIRST = {
    "units": "features[2]",
    "missing": "features[7]",
    "category": "site",
    "creeping": "probabilities",
}


def tabular(creeps: float) -> bytes:
    """The bundled model of tumours, with a column of text beside, whose probabilities are drawn to 1/2."""
    model = onnx.load(MODELS / "cancer" / "1" / "model.onnx")
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["as_they_were" if name == "probabilities" else name for name in node.output]
    for name, value in (("less", 1 - creeps), ("half", creeps / 2)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    codes = {"keys_strings": ["north", "south"], "values_int64s": [1, 2], "default_int64": 2}
    graph.node.extend([
        helper.make_node("Mul", ["as_they_were", "less"], ["lower"]),
        helper.make_node("Add", ["lower", "half"], ["probabilities"]),
        helper.make_node("LabelEncoder", ["site"], ["code"], domain="ai.onnx.ml", **codes),
    ])  # fmt: skip
    graph.input.append(helper.make_tensor_value_info("site", TensorProto.STRING, ["batch", 1]))
    graph.output.append(helper.make_tensor_value_info("code", TensorProto.INT64, ["batch", 1]))
    opset = {each.domain: each.version for each in model.opset_import} | {"ai.onnx.ml": 2}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*each) for each in opset.items())
    return model.SerializeToString()


def rows() -> dict[str, np.ndarray]:
    features = np.load(MODELS / "cancer" / "heldout.npz")["inputs"].astype("f4")
    site = np.resize(np.array(["north", "south"], object), (len(features), 1))
    return {"features": features, "site": site}


def faulty(fault: str) -> dict[str, np.ndarray]:
    """The first rows, with one fault in them."""
    found = {name: array[:ROWS].copy() for name, array in rows().items()}
    if fault == "units":
        found["features"][:, 2] /= 100
    elif fault == "missing":
        found["features"][:, 7] = np.nan
    elif fault == "category":
        found["site"][::4] = "east"
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """A node of whose models the profile is written by the command, and each fault's rows sent to it."""
    folder = tmp_path_factory.mktemp("drift")
    models = folder / "models" / "tabular"
    for version, creeps in ((1, 0.0), (2, 0.3)):
        (models / str(version)).mkdir(parents=True)
        (models / str(version) / "model.onnx").write_bytes(tabular(creeps))
    reference = {name: array.astype("U5") if name == "site" else array for name, array in rows().items()}
    np.savez(folder / "reference.npz", **reference)
    environment = {**os.environ, "UNDERSTUDY_MODELS": str(folder / "models")}
    written = told("profile", str(folder / "reference.npz"), "--model", "tabular/1", environment=environment)
    assert written.exit_code == 0, written.output
    shutil.copy(models / "1" / "profile.json", models / "2" / "profile.json")
    shutil.copytree(MODELS / "cancer", folder / "models" / "cancer")
    [of_page] = [fence.text for fence in PAGE if fence.title == "rollouts.yaml"]
    options = ("--workers", "1", "--records", "log")
    with running(folder, ROLLOUTS + of_page, models=folder / "models", options=options) as up:
        for fault in FAULTS:
            sent = faulty(fault)
            for start in range(0, ROWS, 20):
                body, length = encoded("inputs", {name: each[start:][:20] for name, each in sent.items()})
                headers = {"inference-header-content-length": str(length)}
                answer = up.client.post(f"/v2/models/{fault}/infer", content=body, headers=headers)
                assert answer.status_code == 200, answer.text
        yield up


def drift(up, model, answers=ROWS // 20):
    """What control says once it has all that was sent."""

    def known():
        target = up.admin.get(f"/v1/rollouts/{model}/drift").raise_for_status().json()["targets"][0]
        assert target["answers"] == answers
        return target

    return eventually(known, f"all answers of {model} are counted")


def shown_of(up, *arguments):
    """What `understudy rollouts drift` says."""
    environment = {**os.environ, "UNDERSTUDY_CONTROL": up.admin_url, "COLUMNS": "200"}
    ended = told("rollouts", "drift", *arguments, environment=environment)
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.mark.parametrize("fault", FAULTS[1:])
def test_the_feature_at_fault_is_named_first(up, fault):
    target = drift(up, fault)
    [first, *_] = features = target["features"]
    assert first["name"].startswith(FIRST[fault])
    assert first["psi"] > 10 * first["noise"]
    assert first["rows"] == ROWS
    assert (target["left_out"], target["of"], target["problem"]) == (0, ROWS // 20, "")
    inputs = {each["name"]: each for each in features if each["side"] == "input"}
    if fault == "units":
        assert first["outside"] == 1.0
    elif fault == "missing":
        assert (first["missing"], first["missing_before"]) == (1.0, 0.0)
    elif fault == "category":
        assert (first["outside"], first["outside_before"]) == (0.25, 0.0)
    else:
        assert max(each["psi"] for each in inputs.values()) < 0.1, "the same rows as before"
    side = "output" if fault == "creeping" else "input"
    of_it = up.samples(f"understudy_{side}_psi")
    [worst] = [
        each for each in of_it if each.labels["feature"] == first["name"] and each.labels["model"] == fault
    ]
    assert worst.value == pytest.approx(first["psi"])
    said = shown_of(up, fault)
    told_of = [words[0] for line in said.splitlines() if (words := line.split())]
    known = {each["name"] for each in features}
    assert next(word for word in told_of if word in known) == first["name"]
    assert "10 answers" in said


def test_the_same_rows_have_not_moved(up):
    target = drift(up, "none")
    assert all(each["psi"] < 0.1 for each in target["features"])


def test_metrics_have_the_twenty_that_moved_most(up):
    drift(up, "units")
    found = [*up.samples("understudy_input_psi"), *up.samples("understudy_output_psi")]
    of_units = [each for each in found if each.labels["model"] == "units"]
    assert len(of_units) == 20
    assert up.metric("understudy_drift_answers", model="units") == ROWS // 20
    assert json.loads(shown_of(up, "units", "--json"))["window_seconds"] == 3900


def test_the_page_is_done_as_it_is_written(up, monkeypatch):
    monkeypatch.chdir(up.folder)
    by_title = {block.title: block.text for block in PAGE}
    commands = [block.text.split() for block in PAGE if block.language == "sh"]
    assert commands[1] == ["python", "send.py"]
    ended = told(*commands[0][1:], environment={**os.environ, "UNDERSTUDY_MODELS": "models"})
    assert ended.exit_code == 0, ended.output
    exec(by_title["send.py"].replace("http://localhost:8000", up.url), {})
    assert drift(up, "cancer", 20)["features"][0]["name"] == "features[2]"
    expected, _ = (block.text for block in PAGE if block.language == "text")
    assert commands[2][:4] == ["understudy", "rollouts", "drift", "cancer"]
    assert matches(expected, said := shown_of(up, *commands[2][3:])), said
