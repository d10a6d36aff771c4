"""Graphs with steps in Python beside models: checked, run, joined, and refused where nobody permits them."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from graph_folders import above, classifier, put_graph

from serving.errors import InvalidModel, ModelFailed
from serving.models.checking.graphs import opened
from serving.models.files.config import ModelConfig
from serving.models.files.graph_file import parse_graph
from serving.models.files.repository import Repository, read
from serving.models.graphs.fusing import Unfusable, fused
from serving.models.graphs.stepped import Stepped
from serving.models.kinds import verify
from serving.models.runnable import Outputs

TENSORS = "[{name: x, datatype: FP32, shape: [-1, 4]}]"
DOCUMENT = f"""\
input: [a, b]
output: [answer, label]
sandbox: {{time: 60s}}
step:
  - python: features:joined
    inputs: [{{name: a, datatype: FP32, shape: [-1, 2]}}, {{name: b, datatype: BYTES, shape: [-1]}}]
    outputs: {TENSORS}
    input_map: {{a: a, b: b}}
    output_map: {{x: features}}
  - {{model_name: classifier, model_version: 3, input_map: {{x: features}}, output_map: {{label: label}}}}
  - python: features:named
    inputs: [{{name: label, datatype: BYTES, shape: [-1]}}]
    outputs: [{{name: answer, datatype: BYTES, shape: [-1]}}]
    input_map: {{label: label}}
    output_map: {{answer: answer}}
"""
CHOOSING = f"""\
input: [x]
output: [y]
sandbox: {{time: 60s}}
step:
  - {{model_name: above, model_version: 1, input_map: {{x: x}}, output_map: {{big: big}}}}
  - python: features:halved
    when: {{tensor: big}}
    inputs: {TENSORS}
    outputs: {TENSORS}
    input_map: {{x: x}}
    output_map: {{x: y}}
  - python: features:doubled
    when: {{tensor: big, is: false}}
    inputs: {TENSORS}
    outputs: {TENSORS}
    input_map: {{x: x}}
    output_map: {{x: y}}
"""
SOURCE = """\
import numpy as np

def joined(given):
    words = np.array([[len(word), 1] for word in given["b"]], "f4").reshape(-1, 2)
    return {"x": np.hstack([given["a"], words])}

def named(given):
    return {"answer": np.array([f"it is {label}" for label in given["label"]], object)}

def halved(given):
    return {"x": given["x"] / 2}

def doubled(given):
    return {"x": given["x"] * 2}

def wrong(given):
    return {"x": given["x"].astype("f8")}
"""
MODELS = {"classifier/3": classifier(), "above/1": above()}
INDEPENDENT = DOCUMENT.replace("    input_map: {a", "    independent: true\n    input_map: {a").replace(
    "    input_map: {label", "    independent: true\n    input_map: {label"
)
FEEDS = {"a": np.array([[1, 2], [3, 4], [-9, 0]], "f4"), "b": np.array(["", "é", "long word"], object)}


@pytest.fixture(scope="module")
def put(tmp_path_factory):
    """Writes a graph; its entry, with the permission of an operator."""
    root = tmp_path_factory.mktemp("python") / "models"

    def put(document=DOCUMENT, config=ModelConfig(), source=SOURCE):  # noqa: B008
        name = f"g{len(list(root.glob('*')))}"
        put_graph(root, name, 1, MODELS, document)
        (root / name / "1" / "features.py").write_text(source)
        return replace(Repository(root).find(name, "1"), config=config, python_steps=True)

    return put


def graph_of(entry):
    return parse_graph(read(entry).content, "graph.yaml")


def stepped(entry):
    model = Stepped(graph_of(entry), entry, read(entry), 1)
    return model, closing(model.outside)


def test_without_the_operators_permission_nothing_of_it_runs(put, tmp_path):
    marker = tmp_path / "ran"
    entry = replace(put(source=f"open({str(marker)!r}, 'w')\n{SOURCE}"), python_steps=False)
    with pytest.raises(InvalidModel) as refused:
        stepped(entry)
    assert str(refused.value) == (
        "step 'joined' is Python (features:joined), and code of models is not run here: start with"
        " --python-steps (UNDERSTUDY_PYTHON_STEPS=true) if you trust whoever can write them"
    )
    assert not marker.exists()


def test_on_the_event_loop_it_is_refused(put):
    with pytest.raises(InvalidModel, match=r"^execution: inline: step 'joined' is Python"):
        stepped(put(config=ModelConfig(execution="inline")))


def test_it_is_never_one_onnx_graph(put):
    entry = put()
    with pytest.raises(Unfusable, match=r"^step 'joined' is Python, which no ONNX graph can hold$"):
        fused(graph_of(entry), {}, None)


def test_functions_and_models_take_turns_with_numbers_and_text_of_several_inputs(put):
    model, process = stepped(put())
    with process:
        outputs = model.run(FEEDS, ["answer", "label"])
        assert isinstance(outputs, Outputs)
        assert len(outputs.seconds) == 3
        assert min(outputs.seconds) > 0
        assert model.steps == ("joined", "classifier", "named")
        answer, label = (output.tolist() for output in outputs)
        assert answer == [f"it is {one}" for one in label]
        assert len(set(label)) > 1
        assert [(spec.name, spec.datatype, spec.shape) for spec in model.signature.inputs] == [
            ("a", "FP32", (-1, 2)),
            ("b", "BYTES", (-1,)),
        ]


def test_a_condition_chooses_between_functions(put):
    model, process = stepped(put(CHOOSING))
    with process:
        for sign, factor in ((1, 0.5), (-1, 2)):
            row = np.full((1, 4), sign, "f4")
            [out] = model.run({"x": row}, ["y"])
            assert out.tolist() == (row * factor).tolist()


def test_rows_are_joined_only_where_that_is_stated_of_each_function(put):
    for document, said in (
        (DOCUMENT, "step 'joined' is Python, of which nothing can be proven (`independent: true` in it"),
        (INDEPENDENT, ""),
    ):
        entry = put(document)
        on_trial = opened(entry, read(entry), 1, None)
        with closing(on_trial):
            dependence = on_trial.dependence()
            assert dependence.startswith(said)
            assert bool(dependence) is bool(said)
            assert on_trial.form == "stepped: step 'joined' is Python, which no ONNX graph can hold"
            rows = on_trial.model.prepare(dependence)
            assert (rows > 1) is (said == "")


def test_an_answer_in_which_a_neighbour_has_a_part_is_noticed_although_the_contrary_is_stated(put):
    source = SOURCE.replace('given["a"], words', 'given["a"] - given["a"].mean(), words')
    model, process = stepped(
        put(INDEPENDENT.replace("[answer, label]", "[answer, label, features]"), source=source)
    )
    with process:
        assert model.prepare("") == 1
        assert model.dependence == "a trial gave other results for rows run together than for each alone"


def test_the_check_runs_it_refuses_what_is_not_as_declared_and_remembers_the_rest(put, tmp_path):
    good, bad = put(), put(CHOOSING.replace("features:doubled", "features:wrong"))
    reports = verify([good, bad, replace(good, python_steps=False)], cache=tmp_path / "verified")
    assert [report.ok for report in reports] == [True, False, False]
    assert reports[0].trial is not None
    assert reports[2].reason.startswith("step 'joined' is Python")
    assert len(list((tmp_path / "verified").iterdir())) == 1
    assert reports[1].reason == (
        "its run with input that was made up failed: features:wrong: output 'x' is FP64 [1, 4], and FP32"
        " [-1, 4] is declared; name an .npz of input as `warmup` in config.yaml"
    )


def test_a_fault_names_its_step(put):
    model, process = stepped(put(source=SOURCE.replace("len(word)", "word[9]")))
    with process, pytest.raises(ModelFailed, match=r"^step 'joined': IndexError: string index out of range$"):
        model.run(FEEDS, ["answer"])
