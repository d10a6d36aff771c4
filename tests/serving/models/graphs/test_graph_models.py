"""Graphs of real models: verified, in one session or step by step, with the same answers and rows."""

import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from graph_folders import DOCUMENT, MODELS, above, classifier, put_graph, risk, scaler
from graphs import FLOAT, INT64, STRING, external_tensor, graph, linear, node, unary, value

from serving.errors import InvalidInput, InvalidModel
from serving.models.checking import verify as checking
from serving.models.files.graph_bytes import unfolded
from serving.models.files.repository import Repository
from serving.models.kinds import load, verify
from serving.models.ort import onnxruntime
from serving.models.session.onnx_model import OnnxModel

STEPPED = "fuse: false\n" + DOCUMENT


class Shop:
    """A repository in which graphs are tried; what was verified is remembered by its files."""

    def __init__(self, root):
        self.root = root
        self.cache = root.parent / "verified"
        self.versions = 0
        self.rows = {}  # the most that are joined, by model

    def report(self, models=None, document=DOCUMENT, config=None):
        self.versions += 1
        put_graph(self.root, f"g{self.versions}", 1, models, document, config)
        self.entry = Repository(self.root).find(f"g{self.versions}", "1")
        [report] = verify([self.entry], cache=self.cache)
        return report

    def loaded(self, *args, **named):
        report = self.report(*args, **named)
        assert report.ok, report.reason
        model = load(self.entry, 1, report)
        self.rows[id(model)] = model.prepare(report.dependence)
        return model


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "models")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same graph as one session and step by step."""
    shop = Shop(tmp_path_factory.mktemp("both") / "models")
    models = shop.loaded(), shop.loaded(document=STEPPED)
    assert [shop.rows[id(model)] > 1 for model in models] == [True, True]
    return models


def features(rows, seed=0):
    return {"features": np.random.default_rng(seed).normal(size=(rows, 4)).astype("f4")}


def chained(feeds):
    """What the three models give when each is run by itself."""
    tensors = {"x": feeds["features"]}
    run = [onnxruntime.InferenceSession(unfolded(MODELS[place])[0]) for place in MODELS]
    [scaled] = run[0].run(None, tensors)
    label, scores = run[1].run(None, {"x": scaled})
    [percent] = run[2].run(None, {"scores": scores})
    return label, percent


class TestOneSessionAndItsSteps:
    def test_a_graph_is_one_session_where_it_can_be_and_says_so(self, both):
        fused, stepped = both
        assert (type(fused), fused.form, fused.steps) == (OnnxModel, "fused", ())
        assert (stepped.form, stepped.steps) == (
            "stepped: graph.yaml says `fuse: false`",
            ("scaler", "classifier", "risk"),
        )
        assert fused.signature == stepped.signature
        assert [(spec.name, spec.datatype, spec.shape) for spec in fused.signature.inputs] == [
            ("features", "FP32", (-1, 4))
        ]
        assert [spec.name for spec in fused.signature.outputs] == ["label", "risk"]
        assert fused.labels == stepped.labels == ("good", "odd", "fraud")

    @pytest.mark.parametrize("rows", [1, 7])
    def test_both_answer_bit_for_bit_what_the_models_give_one_after_the_other(self, both, rows):
        for seed in range(20):
            feeds = features(rows, seed)
            label, percent = chained(feeds)
            for model in both:
                ours = model.run(feeds, ["risk", "label"])
                assert ours[0].tobytes() == percent.tobytes()
                assert ours[1].tolist() == label.tolist()

    def test_rows_of_both_are_proven_independent(self, both):
        assert [model.dependence for model in both] == ["", ""]

    def test_what_was_made_one_is_remembered_and_not_made_again(self, shop, monkeypatch):
        first = shop.report()
        monkeypatch.setattr(checking, "_Child", None)  # no process can be started
        [again] = verify([shop.entry], cache=shop.cache)
        assert again == first
        assert again.fused
        [kept] = shop.cache.glob("*.onnx")
        kept.write_bytes(kept.read_bytes()[:-1])  # what went bad is made again
        with pytest.raises(TypeError):
            verify([shop.entry], cache=shop.cache)

    def test_a_large_one_comes_whole_from_the_process_that_made_it(self, shop):
        wide = linear(600, 600)
        text = (
            "input: [a]\noutput: [c]\nstep:\n"
            "  - {model_name: m, model_version: 1, input_map: {x: a}, output_map: {y: b}}\n"
            "  - {model_name: m, name: again, model_version: 1, input_map: {x: b}, output_map: {y: c}}\n"
        )
        report = shop.report({"m/1": wide}, text)
        assert (report.form, len(report.fused) > 2 * 4 * 600 * 600) == ("fused", True)
        [again] = verify([shop.entry], cache=shop.cache)
        assert again.fused == report.fused

    def test_rounding_across_the_seam_is_told(self, shop):
        """A convolution, and the normalization after it in the next model, become one with other weights."""
        drawn = np.random.default_rng(5)
        sides = [value("x", FLOAT, ["rows", 3, 8, 8])], [value("y", FLOAT, ["rows", 4, 8, 8])]
        weights = ("w", drawn.normal(size=(4, 3, 3, 3)).astype("f4"))
        one = graph([node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], *sides, [weights])
        parts = [(name, drawn.uniform(0.5, 3, 4).astype("f4")) for name in ("scale", "bias", "mean", "var")]
        normal = node("BatchNormalization", ["x", *(name for name, _ in parts)], ["y"])
        two = graph([normal], [value("x", FLOAT, ["rows", 4, 8, 8])], sides[1], parts)
        text = (
            "input: [picture]\noutput: [out]\nstep:\n"
            "  - {model_name: one, model_version: 1, input_map: {x: picture}, output_map: {y: t}}\n"
            "  - {model_name: two, model_version: 1, input_map: {x: t}, output_map: {y: out}}\n"
        )
        models = {"one/1": one, "two/1": two}
        report = shop.report(models, text)
        assert re.fullmatch(
            r"fused; its steps one by one differ by rounding, [1-9]e-0\d at most where tried", report.form
        )
        fused, stepped = load(shop.entry, 1, report), load(shop.entry, 1, replace(report, fused=b""))
        feeds = {"picture": drawn.normal(size=(2, 3, 8, 8)).astype("f4")}
        ours, theirs = fused.run(feeds, ["out"])[0], stepped.run(feeds, ["out"])[0]
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
        assert ours.tobytes() != theirs.tobytes()
        assert shop.report(models, text, config="optimization: none\n").form == "fused"  # bit for bit


class TestStepByStep:
    def test_models_of_opsets_in_which_an_operator_differs_are_not_put_together(self, shop):
        old = onnx.load_from_string(unary("Softmax", ["rows", 3]))
        old.opset_import[0].version = 12  # where its axis is the first but one, and not the last
        old.graph.input[0].name = old.graph.node[0].input[0] = "scores"
        old.graph.output[0].name = old.graph.node[0].output[0] = "risk"
        report = shop.report(MODELS | {"risk/1": old.SerializeToString()})
        assert report.ok
        assert report.form == (
            "stepped: step 'risk' is of opset 12 of ai.onnx, another step of 17, and Softmax is not the same"
            " in both: export them with one opset"
        )

    def test_models_of_opsets_in_which_their_operators_are_the_same_are_put_together(self, shop):
        old = onnx.load_from_string(risk())
        for opset in (14, 12):  # in 14 Slice and Mul are what they are in 17, in 12 of fewer datatypes
            old.opset_import[0].version = opset
            assert shop.report(MODELS | {"risk/1": old.SerializeToString()}).form == "fused"

    def test_a_step_that_fails_is_named_and_the_input_is_to_blame(self, shop):
        picky = graph(
            [node("Reshape", ["x", "shape"], ["y"])],
            [value("x", FLOAT, ["rows", "n"])],
            [value("y", FLOAT, ["rows", 4])],
            [("shape", np.array([-1, 4]))],
        )
        model = shop.loaded({**MODELS, "scaler/1": picky}, STEPPED)
        good = np.zeros((1, 4), "f4")
        model.run({"features": good}, ["risk"])
        with pytest.raises(InvalidInput, match=r"^step 'scaler': the model cannot take this input: Reshape"):
            model.run({"features": good[:, :3]}, ["risk"])

    def test_text_passes_from_step_to_step(self, shop):
        models = {
            "clean/1": unary("Identity", ["rows", 1], STRING),
            "again/1": unary("Identity", ["rows", 1], STRING),
        }
        text = (
            "fuse: false\ninput: [a]\noutput: [b, c]\nstep:\n"
            "  - {model_name: clean, model_version: 1, input_map: {x: a}, output_map: {y: b}}\n"
            "  - {model_name: again, model_version: 1, input_map: {x: b}, output_map: {y: c}}\n"
        )
        model = shop.loaded(models, text)
        words = np.array([["é"], ["b"]], object)
        assert [out.tolist() for out in model.run({"a": words}, ["c", "b"])] == [[["é"], ["b"]]] * 2

    def test_bf16_passes_from_step_to_step(self, shop):
        bf16 = onnx.TensorProto.BFLOAT16

        def cast(given, made):
            sides = [value("x", given, ["rows", 2])], [value("y", made, ["rows", 2])]
            return graph([node("Cast", ["x"], ["y"], to=made)], *sides)

        models = {"down/1": cast(FLOAT, bf16), "up/1": cast(bf16, FLOAT)}
        text = (
            "fuse: false\ninput: [a]\noutput: [c]\nstep:\n"
            "  - {model_name: down, model_version: 1, input_map: {x: a}, output_map: {y: b}}\n"
            "  - {model_name: up, model_version: 1, input_map: {x: b}, output_map: {y: c}}\n"
        )
        model = shop.loaded(models, text)
        given = np.array([[1.00390625, 3]], "f4").repeat(2, axis=0)[
            :, ::-1
        ]  # whose memory is in another order
        [out] = model.run({"a": given}, ["c"])
        np.testing.assert_array_equal(out, [[3, 1], [3, 1]])

    def test_the_configuration_holds_for_the_whole(self, shop):
        model = shop.loaded(document=STEPPED, config="batching: {max: 8}\nlabels: [a, b, c]\n")
        assert (shop.rows[id(model)], model.labels) == (8, ("a", "b", "c"))


class TestConditions:
    document = (
        "input: [features]\noutput: [out]\nstep:\n"
        "  - {model_name: above, model_version: 1, input_map: {x: features}, output_map: {big: big}}\n"
        "  - {name: large, model_name: scaler, model_version: 1, when: {tensor: big},"
        " input_map: {x: features}, output_map: {y: out}}\n"
        "  - {name: small, model_name: scaler, model_version: 2, when: {tensor: big, is: false},"
        " input_map: {x: features}, output_map: {y: out}}\n"
    )
    models = {"above/1": above(), "scaler/1": scaler(0.0), "scaler/2": scaler(100.0)}  # noqa: RUF012

    def test_a_condition_chooses_the_step_and_requests_are_never_joined(self, shop):
        model = shop.loaded(self.models, self.document)
        assert model.form == "stepped: step 'large' runs on a condition"
        assert model.dependence == "step 'large' runs on the condition 'big', which is of a whole request"
        assert shop.rows[id(model)] == 1
        for sign in (1, -1):
            row = np.full((1, 4), sign, "f4")
            [out] = model.run({"features": row}, ["out"])
            offset = 0 if sign > 0 else 100
            np.testing.assert_allclose(out, (row - offset) * [[1.5, 1.6, 1.7, 1.8]], rtol=1e-6)

    @pytest.mark.parametrize("config", ["batching: {max: 4}", "batching: {max: 4, independent: true}"])
    def test_batches_that_are_asked_for_are_refused(self, shop, config):
        report = shop.report(self.models, self.document, config)
        with pytest.raises(InvalidModel, match="'big', which is of a whole request"):
            raise InvalidModel(report.reason) if not report.ok else None or _prepared(shop, report)

    def test_a_condition_may_be_a_clients(self, shop):
        lines = [line for line in self.document.splitlines(keepends=True) if "above" not in line]
        text = "".join(lines).replace("[features]", "[features, big]")
        model = shop.loaded({place: self.models[place] for place in ("scaler/1", "scaler/2")}, text)
        assert [(spec.name, spec.datatype, spec.shape) for spec in model.signature.inputs] == [
            ("features", "FP32", (-1, 4)),
            ("big", "BOOL", (1,)),
        ]
        feeds = {"features": np.ones((3, 4), "f4"), "big": np.array([False])}
        np.testing.assert_allclose(
            model.run(feeds, ["out"])[0][2], [-148.5, -158.4, -168.3, -178.2], rtol=1e-6
        )

    def test_a_condition_of_several_values_is_the_requests_fault(self, shop):
        wide = graph(
            [node("Greater", ["x", "zero"], ["big"])],
            [value("x", FLOAT, ["rows", 4])],
            [value("big", onnx.TensorProto.BOOL, ["rows", 4])],
            [("zero", np.array(0, "f4"))],
        )
        report = shop.report(self.models | {"above/1": wide}, self.document)
        assert report.reason == (
            "g1/1/graph.yaml:5:72: step[1].when.tensor: 'big' is BOOL [-1, 4], and a condition is one value"
            " of BOOL\ng1/1/graph.yaml:6:72: step[2].when.tensor: 'big' is BOOL [-1, 4], and a condition is"
            " one value of BOOL"
        )
        per_row = graph(
            [node("ReduceSum", ["x", "axis"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["big"])],
            [value("x", FLOAT, ["rows", 4])],
            [value("big", onnx.TensorProto.BOOL, ["rows"])],
            [("zero", np.array(0, "f4")), ("axis", np.array([1]))],
        )
        model = shop.loaded(self.models | {"above/1": per_row}, self.document)
        assert model.run({"features": np.ones((1, 4), "f4")}, ["out"])[0].shape == (1, 4)
        with pytest.raises(InvalidInput, match="the condition 'big' has 2 values"):
            model.run({"features": np.ones((2, 4), "f4")}, ["out"])


def _prepared(shop, report):
    return load(shop.entry, 1, report).prepare(report.dependence)


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (
                ("{x: features}", "{z: features}"),
                [
                    "6:20: step[0].input_map.z: scaler/1 has no input 'z'; its inputs are 'x'",
                    "4:5: step[0]: step 'scaler': its input_map has nothing for 'x', which scaler/1 needs",
                ],
            ),
            (
                ("{risk: risk}", "{score: risk}"),
                ["15:25: step[2].output_map.score: risk/1 has no output 'score'; its outputs are 'risk'"],
            ),
            (
                ("{scores: scores}\n", "{scores: label}\n"),
                [
                    "'label' is BYTES [-1], and input 'scores' of risk/1 takes FP32 [-1, 3]"
                ],
            ),
        ],
    )  # fmt: skip
    def test_it_is_told_with_its_place_before_anything_is_loaded(self, shop, change, expected):
        text = DOCUMENT.replace(*change)
        if "label}" in change[1]:
            text = text.replace("label: label, scores: scores", "label: label")
        report = shop.report(document=text)
        assert not report.ok
        for line in expected:
            assert any(part.endswith(line) for part in report.reason.splitlines()), report.reason

    def test_lengths_that_can_never_be_right(self, shop):
        report = shop.report(MODELS | {"classifier/3": classifier(columns=5)})
        assert report.reason.endswith(
            "'scaled' is FP32 [-1, 4], and input 'x' of classifier/3 takes FP32 [-1, 5]"
        )

    def test_a_model_that_is_none(self, shop):
        report = shop.report(MODELS | {"risk/1": b"junk"})
        assert report.reason == "risk/1 of the graph: it is no ONNX file, or a damaged one"


class TestPutTogether:
    """What the renaming must keep."""

    @pytest.mark.parametrize(
        "case", ["branch", "passed", "constant", "twice", "weight", "function", "external"]
    )
    def test_it_is_one_session_with_the_same_answers(self, shop, case):
        models, text, feeds = getattr(self, case)()
        report = shop.report(models, text)
        if case == "external":
            folder = shop.entry.path.parent / "m/1"
            (folder / "w.bin").write_bytes(np.arange(4, dtype="f4").tobytes())
            [report] = verify([shop.entry])
        assert (report.ok, report.form) == (True, "fused"), report
        fused, stepped = load(shop.entry, 1, report), load(shop.entry, 1, replace(report, fused=b""))
        names = [spec.name for spec in fused.signature.outputs]
        for ours, theirs in zip(fused.run(feeds, names), stepped.run(feeds, names), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    x = np.array([[1, -2, 3, -4]], "f4")

    @staticmethod
    def two(first="{x: a}", middle="{y: b}", second="{x: b}", last="{y: c}", inputs="a", outputs="c"):
        return (
            f"input: [{inputs}]\noutput: [{outputs}]\nstep:\n"
            f"  - {{model_name: m, model_version: 1, input_map: {first}, output_map: {middle}}}\n"
            f"  - {{name: n, model_name: m, model_version: 1, input_map: {second}, output_map: {last}}}\n"
        )

    def branch(self):
        """A branch that reads a weight and an input from outside it."""

        def body(name, operator):
            out = value(f"{name}_out", FLOAT, ["rows", 4])
            return onnx.helper.make_graph([node(operator, ["x", "w"], [f"{name}_out"])], name, [], [out])

        nodes = [
            node("ReduceSum", ["x"], ["sum"], keepdims=0),
            node("Greater", ["sum", "zero"], ["c"]),
            node("If", ["c"], ["y"], then_branch=body("p", "Add"), else_branch=body("q", "Mul")),
        ]
        model = graph(
            nodes,
            [value("x", FLOAT, ["rows", 4])],
            [value("y", FLOAT, ["rows", 4])],
            [("w", np.full(4, 3, "f4")), ("zero", np.array(0, "f4"))],
        )
        return {"m/1": model}, self.two(), {"a": self.x}

    def passed(self):
        """A model whose output is its input."""
        model = graph(
            [node("Neg", ["x"], ["y"])],
            [value("x", FLOAT, ["rows", 4])],
            [value("y", FLOAT, ["rows", 4]), value("x", FLOAT, ["rows", 4])],
        )
        return {"m/1": model}, self.two(middle="{y: b, x: d}", outputs="c, d"), {"a": self.x}

    def constant(self):
        """A model of which an output is a weight."""
        model = graph(
            [node("Add", ["x", "w"], ["y"])],
            [value("x", FLOAT, ["rows", 4])],
            [value("y", FLOAT, ["rows", 4]), value("w", FLOAT, [4])],
            [("w", np.full(4, 3, "f4"))],
        )
        return {"m/1": model}, self.two(middle="{y: b, w: d}", outputs="c, d"), {"a": self.x}

    def twice(self):
        """One tensor for two inputs, and one for two steps."""
        model = graph(
            [node("Sub", ["x", "z"], ["t"]), node("Add", ["t", "x"], ["y"])],
            [value("x", FLOAT, ["rows", 4]), value("z", FLOAT, ["rows", 4])],
            [value("y", FLOAT, ["rows", 4])],
        )
        return {"m/1": model}, self.two(first="{x: a, z: a}", second="{x: b, z: a}"), {"a": self.x}

    def weight(self):
        """A weight that may be given is, by one step."""
        model = onnx.load_from_string(
            graph(
                [node("Mul", ["x", "w"], ["y"])],
                [value("x", FLOAT, ["rows", 4])],
                [value("y", FLOAT, ["rows", 4])],
                [("w", np.full((1, 4), 3, "f4"))],
            )
        )
        model.graph.input.append(value("w", FLOAT, ["k", 4]))
        return {"m/1": model.SerializeToString()}, self.two(second="{x: b, w: a}"), {"a": self.x}

    def function(self):
        """A model with a function of its own, called in a branch too."""
        model = onnx.load_from_string(unary("Identity"))
        twice = onnx.helper.make_function(
            "own", "Twice", ["p"], ["r"], [node("Add", ["p", "p"], ["r"])], [onnx.helper.make_opsetid("", 17)]
        )
        model.functions.append(twice)
        model.opset_import.append(onnx.helper.make_opsetid("own", 1))
        del model.graph.node[:]
        model.graph.node.append(node("Twice", ["x"], ["y"], domain="own"))
        return {"m/1": model.SerializeToString()}, self.two(), {"a": self.x}

    def external(self):
        """Weights in a file beside the model."""
        model = graph(
            [node("Add", ["x", "w"], ["y"])],
            [value("x", FLOAT, ["rows", 4])],
            [value("y", FLOAT, ["rows", 4])],
            [external_tensor("w.bin")],
        )
        return {"m/1": model}, self.two(), {"a": self.x}


def test_of_a_step_that_is_given_a_weight_nothing_is_proven_by_its_model(shop):
    model = onnx.load_from_string(
        graph(
            [node("MatMul", ["x", "w"], ["y"])],  # which adds up the rows of what it takes for its weight
            [value("x", FLOAT, ["rows", 2])],
            [value("y", FLOAT, ["rows", 2])],
            [("w", np.eye(2, dtype="f4"))],
        )
    )
    model.graph.input.append(value("w", FLOAT, ["k", 2]))
    text = (
        "{}input: [a, b]\noutput: [c]\nstep:\n"
        "  - {{model_name: m, model_version: 1, input_map: {{x: a, w: b}}, output_map: {{y: c}}}}\n"
    )
    models = {"m/1": model.SerializeToString()}
    stepped = shop.report(models, text.format("fuse: false\n"))
    assert stepped.dependence == "step 'm' is given the weight 'w' of m/1"
    assert shop.report(models, text.format("")).dependence


def test_several_inputs_of_which_one_is_of_two_readers(shop):
    models = {
        "add/1": graph(
            [node("Add", ["p", "q"], ["y"])],
            [value("p", FLOAT, ["n", "k"]), value("q", FLOAT, ["n", "k"])],
            [value("y", FLOAT, ["n", "k"])],
        ),
        "scaler/1": scaler(),
        "count/1": unary("Abs", ["m", 1], INT64),
    }
    text = (
        "input: [left, right, ids]\noutput: [sum, ids_out]\nstep:\n"
        "  - {model_name: scaler, model_version: 1, input_map: {x: left}, output_map: {y: scaled}}\n"
        "  - {model_name: add, model_version: 1, input_map: {p: scaled, q: right}, output_map: {y: part}}\n"
        "  - {name: more, model_name: add, model_version: 1,"
        " input_map: {p: part, q: left}, output_map: {y: sum}}\n"
        "  - {model_name: count, model_version: 1, input_map: {x: ids}, output_map: {y: ids_out}}\n"
    )
    fused = shop.loaded(models, text)
    stepped = shop.loaded(models, "fuse: false\n" + text)
    assert fused.signature == stepped.signature
    assert [(spec.name, spec.datatype, spec.shape) for spec in fused.signature.inputs] == [
        ("left", "FP32", (-1, 4)),
        ("right", "FP32", (-1, -1)),
        ("ids", "INT64", (-1, 1)),
    ]
    feeds = {"left": np.ones((2, 4), "f4"), "right": np.full((2, 4), 2, "f4"), "ids": np.array([[-5], [6]])}
    for model in (fused, stepped):
        total, ids = model.run(feeds, ["sum", "ids_out"])
        np.testing.assert_allclose(total[0], np.array([0.75, 0.8, 0.85, 0.9]) + 3, rtol=1e-6)
        assert ids.tolist() == [[5], [6]]
        assert shop.rows[id(model)] > 1, model.dependence
