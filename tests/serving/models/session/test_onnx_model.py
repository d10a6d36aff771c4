import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from graphs import (
    FLOAT,
    INT64,
    STRING,
    cancelling,
    constant_bomb,
    external,
    external_in_branch,
    graph,
    linear,
    node,
    put,
    unary,
    value,
)  # fmt: skip
from onnx import TensorProto, helper, load_from_string

from serving.errors import InvalidInput, InvalidModel, ModelFailed, ServingError
from serving.models.files.config import OPTIMIZATIONS, UNPROVEN
from serving.models.files.repository import Repository
from serving.models.session.measured import INLINE_ROWS
from serving.models.session.onnx_model import OnnxModel
from serving.wire.bf16 import BF16, widened
from serving.wire.tensors import TensorSpec

PROVEN = ""  # what the check says of a model whose rows are independent for sure


@pytest.fixture
def load(tmp_path):
    """Put a model into a repository and load it."""

    def load(data, config=None, threads=1, **arrays):
        put(tmp_path, "m", 1, data, config)
        if arrays:
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            (tmp_path / "m" / "rows.npz").write_bytes(buffer.getvalue())
        return OnnxModel.load(Repository(tmp_path).find("m", "1"), threads)

    return load


def floats(rows, columns=4):
    return {"x": np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)}


def test_a_model_says_what_it_takes_and_gives_and_runs(load):
    model = load(linear(), "labels: [a, b, c]")
    assert (model.labels, len(model.sha256)) == (("a", "b", "c"), 64)
    assert model.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
    assert model.signature.outputs == (TensorSpec("y", "FP32", (-1, 3)),)
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    [output] = model.run(floats(5), ("y",))
    np.testing.assert_allclose(output, floats(5)["x"] @ weights, rtol=1e-5)


def test_the_graph_is_rewritten_as_far_as_its_configuration_says(load):
    ones = {"x": np.ones((2, 3, 1, 1), "f4")}
    apart = {
        level: load(cancelling(), f"optimization: {level}").run(ones, ["y"])[0] for level in OPTIMIZATIONS
    }
    assert not apart["none"].any()
    assert all((apart[level] == -16).all() for level in OPTIMIZATIONS[1:])
    assert (load(cancelling(), "queue: 9").run(ones, ["y"])[0] == apart["all"]).all()


def test_outputs_come_in_the_order_they_are_asked_for(load):
    data = graph(
        [node("Neg", ["x"], ["minus"]), node("Identity", ["x"], ["plus"])],
        [value("x", FLOAT, ["rows"])],
        [value("plus", FLOAT, ["rows"]), value("minus", FLOAT, ["rows"])],
    )
    minus, plus = load(data).run({"x": np.array([2], "f4")}, ["minus", "plus"])
    assert (minus[0], plus[0]) == (-2, 2)


@pytest.mark.parametrize(
    ("element", "datatype"),
    [
        ("BOOL", "BOOL"), ("UINT8", "UINT8"), ("UINT16", "UINT16"), ("UINT32", "UINT32"),
        ("UINT64", "UINT64"), ("INT8", "INT8"), ("INT16", "INT16"), ("INT32", "INT32"), ("INT64", "INT64"),
        ("FLOAT16", "FP16"), ("FLOAT", "FP32"), ("DOUBLE", "FP64"), ("STRING", "BYTES"),
    ],
)  # fmt: skip
def test_every_datatype_of_the_protocol_is_served_and_warmed(load, element, datatype):
    model = load(unary(datatype=getattr(TensorProto, element)))
    assert model.signature.inputs == (TensorSpec("x", datatype, (-1, 4)),)
    assert model.prepare(PROVEN) == INLINE_ROWS
    assert model.run_seconds > 0
    array = np.full((2, 4), "é" if datatype == "BYTES" else 1, dtype=model.signature.inputs[0].dtype)
    [output] = model.run({"x": array}, ["y"])
    assert output.dtype == array.dtype
    np.testing.assert_array_equal(output, array)


# ------------------------------------------------------------------ refused at load


def sequence_output():
    return graph(
        [node("SequenceConstruct", ["x"], ["y"])],
        [value("x", FLOAT, ["rows"])],
        [helper.make_tensor_sequence_value_info("y", FLOAT, None)],
    )


def optional_input():
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, ["rows"]))
    return graph(
        [node("OptionalGetElement", ["x"], ["y"])],
        [helper.make_value_info("x", kind)],
        [value("y", FLOAT, ["rows"])],
    )


def map_input():
    kind = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    node_ = node("DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", int64_vocabulary=[1, 2])
    x = helper.make_value_info("x", kind)
    return graph([node_], [x], [value("y", FLOAT, [1, 2])], domains=["ai.onnx.ml"])


def changed(operator="Identity", **fields):
    model = load_from_string(unary(operator))
    if operator == "Add":
        model.graph.node[0].input.append("x")
    if "opset" in fields:
        model.opset_import[0].version = fields["opset"]
    if "ir" in fields:
        model.ir_version = fields["ir"]
    return model.SerializeToString()


def magic(domain):
    x, y = value("x", FLOAT, [1]), value("y", FLOAT, [1])
    return graph([node("Magic", ["x"], ["y"], domain=domain)], [x], [y], domains=[domain])


def one_node(inputs, outputs, operator="Neg", takes=("x",), **attributes):
    return graph([node(operator, takes, ["y"], **attributes)], inputs, outputs)


def eighths():
    model = load_from_string(unary(datatype=TensorProto.FLOAT8E4M3FN))
    model.opset_import[0].version = 19
    return model.SerializeToString()


X, Y, S = value("x", FLOAT, [1]), value("y", FLOAT, [1]), value("s", TensorProto.UINT16, [1])
REFUSED = {
    "sequence": (
        sequence_output(),
        r"output 'y' is of type seq\(tensor\(float\)\), and the protocol has tensors only$",
    ),
    "map": (map_input(), r"input 'x' is of type map\(int64,tensor\(float\)\), and the protocol has tensors"),
    "optional": (optional_input(), "input 'x' is of type optional"),
    "float8": (eighths(), "input 'x' is of datatype float8e4m3fn, which the protocol lacks"),
    "bfloat16 and text": (
        graph(
            [node("Identity", ["x"], ["y"]), node("Identity", ["t"], ["u"])],
            [value("x", TensorProto.BFLOAT16, ["n"]), value("t", STRING, ["n"])],
            [value("y", TensorProto.BFLOAT16, ["n"]), value("u", STRING, ["n"])],
        ),
        "it takes text and has BF16 too, which onnxruntime's Python interface cannot run",
    ),
    "no outputs": (one_node([X], []), "it has no outputs"),
    "empty": (b"", "it is no ONNX file, or a damaged one"),
    "text": (b"this is no model at all", "it is no ONNX file, or a damaged one"),
    "truncated": (linear()[:-20], "it is no ONNX file, or a damaged one"),
    "ORT format": (bytes(4) + b"ORTM" + bytes(50), "it is no ONNX file, or a damaged one"),
    "custom domain": (magic("com.x"), "com.x:Magic is unknown; libraries of custom operators are not loaded"),
    "unknown operator": (unary("Magic"), "operator Magic is unknown"),
    "opset": (changed(opset=999), r"made for a newer ONNX .*of ai.onnx it has the opsets up to \d+\)"),
    "IR version": (changed(ir=999), r"made for a newer ONNX .*IR version 999, and it reads up to \d+\)"),
    "no kernel": (
        one_node([S], [value("y", TensorProto.UINT16, [1])], "BitShift", ("s", "s"), direction="LEFT"),
        "onnxruntime does not implement operator BitShift in its version 11, or not for the datatypes",
    ),
    "old opset": (changed(opset=6, operator="Add"), "operator Add as opset 6 has it, only from opset 7 on"),
    "attribute": (
        unary("Relu", alpha=1.0),
        "its graph is invalid: operator Relu: Unrecognized attribute: al",
    ),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "run `git lfs pull`"),
    "dangling": (one_node([X], [Y], "Add", ("x", "gone")), "cannot load it: .*'gone' is not a graph input"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_served_is_refused_at_load_in_words(load, tmp_path, capfd, kind):
    data, message = REFUSED[kind]
    with pytest.raises(InvalidModel, match=message) as caught:
        load(data)
    text = str(caught.value)
    assert str(tmp_path) not in text
    assert not any(noise in text for noise in ("/", "\n", "::", "[ONNXRuntimeError]"))
    assert capfd.readouterr() == ("", "")


def test_a_model_that_runs_one_row_only_is_served_and_not_joined(load):
    """Its shape says rows, its Reshape does not take them; nobody asked for batches."""
    cut = [node("Reshape", ["x", "one"], ["z"]), node("Add", ["z", "x"], ["y"])]
    data = graph(
        cut, [value("x", FLOAT, ["rows", 4])], [value("y", FLOAT, ["rows", 4])], [("one", np.array([1, 4]))]
    )
    model = load(data, "execution: pooled")
    assert model.prepare("") == 1
    assert model.dependence
    with pytest.raises(InvalidModel):
        load(data, "execution: pooled\nbatching: {max: 4, independent: true}").prepare("")


def test_a_model_without_inputs_is_served(load):
    model = load(one_node([], [Y], "Constant", [], value_floats=[1.0]))
    assert model.signature.inputs == ()
    assert model.prepare() == 1
    assert model.run({}, ["y"])[0].tolist() == [1]


def test_weights_that_are_inputs_too_may_be_given_or_left_out(load):
    x, w, y = value("x", FLOAT, ["rows", 2]), value("w", FLOAT, [2]), value("y", FLOAT, ["rows", 2])
    model = load(graph([node("Add", ["x", "w"], ["y"])], [x, w], [y], [("w", np.ones(2, "f4"))]))
    assert model.signature.inputs == (
        TensorSpec("x", "FP32", (-1, 2)),
        TensorSpec("w", "FP32", (2,), optional=True),
    )
    assert model.batchable
    x = np.zeros((1, 2), "f4")
    assert model.run({"x": x}, ["y"])[0].tolist() == [[1, 1]]
    assert model.run({"x": x, "w": np.full(2, 5, "f4")}, ["y"])[0].tolist() == [[5, 5]]


def test_an_input_of_unknown_rank_takes_any_and_is_never_joined(load):
    x, y = (helper.make_tensor_value_info(name, FLOAT, None) for name in "xy")
    model = load(graph([node("Relu", ["x"], ["y"])], [x], [y]))
    assert model.signature.inputs == (TensorSpec("x", "FP32", None),)
    assert not model.batchable
    assert model.prepare() == 1
    for shape in ((), (2,), (1, 2, 3, 4, 5)):
        assert model.run({"x": np.ones(shape, "f4")}, ["y"])[0].shape == shape


def test_a_classifier_that_ends_in_a_zipmap_gives_labels_and_probabilities(load):
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(60, 4)).astype("f4")
    classes = np.array(["low", "middle", "high"])[np.digitize(rows[:, 0], [-0.4, 0.4])]
    classifier = LogisticRegression().fit(rows, classes)
    model = load(to_onnx(classifier, rows[:1], target_opset={"": 17, "ai.onnx.ml": 3}).SerializeToString())
    assert [(spec.name, spec.datatype, spec.shape) for spec in model.signature.outputs] == [
        ("output_label", "BYTES", (-1,)),
        ("output_probability", "FP32", (-1, 3)),
    ]
    assert model.labels == tuple(classifier.classes_)
    label, probability = model.run({"X": rows[:5]}, ["output_label", "output_probability"])
    assert label.tolist() == classifier.predict(rows[:5]).tolist()
    np.testing.assert_allclose(probability, classifier.predict_proba(rows[:5]), atol=1e-5)


def test_a_model_that_changed_since_it_was_verified_is_refused(load, tmp_path):
    verified = load(linear()).sha256
    entry = Repository(tmp_path).find("m", "1")
    assert OnnxModel.load(entry, 1, verified).sha256 == verified
    put(tmp_path, "m", 1, linear(seed=1))
    with pytest.raises(InvalidModel, match="changed while it was checked"):
        OnnxModel.load(entry, 1, verified)


# ------------------------------------------------------------------ files


def test_overwriting_the_files_of_a_loaded_model_does_not_change_it(tmp_path):
    folder = put(tmp_path, "m", 1, external("w.bin"))
    (folder / "w.bin").write_bytes(np.arange(4, dtype="f4").tobytes())
    model = OnnxModel.load(Repository(tmp_path).find("m", "1"), 1)
    with (folder / "w.bin").open("r+b") as file:
        file.write(np.full(4, 9, "f4").tobytes())
    (folder / "model.onnx").write_bytes(b"")
    zeros = {"x": np.zeros((1, 4), "f4")}
    np.testing.assert_array_equal(model.run(zeros, ["y"])[0], [[0, 1, 2, 3]])
    (folder / "w.bin").write_bytes(b"")
    np.testing.assert_array_equal(model.run(zeros, ["y"])[0], [[0, 1, 2, 3]])


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "../../w.bin",
        "link.bin",
        "linked/w.bin",
        "deep/../../w.bin",
        "gone.bin",
        "cwd.bin",
        "ABSOLUTE",
    ],
)
@pytest.mark.parametrize("make", [external, external_in_branch])
@pytest.mark.parametrize("others", [False, True])
def test_external_data_outside_the_models_folder_is_refused(tmp_path, monkeypatch, location, make, others):
    root = tmp_path / "root"
    (root / "elsewhere").mkdir(parents=True)
    monkeypatch.chdir(root / "elsewhere")
    data = make(str(root / "w.bin") if location == "ABSOLUTE" else location)
    folder = put(root, "m", 1, data)
    if others:  # a model with good external data, too
        model = load_from_string(data)
        model.graph.initializer.append(load_from_string(external("good.bin")).graph.initializer[0])
        model.graph.initializer[-1].name = "good"
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    for place in (root, root / "m", folder, root / "elsewhere"):
        (place / "w.bin").write_bytes(bytes(16))
    for place in (folder / "good.bin", root / "elsewhere" / "cwd.bin"):
        place.write_bytes(bytes(16))
    (folder / "deep").mkdir()
    (folder / "link.bin").symlink_to("../../w.bin")
    (folder / "linked").symlink_to("../../elsewhere")
    with pytest.raises(
        InvalidModel, match="external data must belong to the main graph and be plain files"
    ) as caught:
        OnnxModel.load(Repository(root).find("m", "1"), 1)
    assert "/" not in str(caught.value)


def test_external_data_shorter_than_its_tensor_is_refused(tmp_path):
    folder = put(tmp_path, "m", 1, external("w.bin"))
    (folder / "w.bin").write_bytes(bytes(15))
    with pytest.raises(InvalidModel):
        OnnxModel.load(Repository(tmp_path).find("m", "1"), 1)


# ------------------------------------------------------------------ BF16


def halves():
    """y = x in BF16, z = x in FP32, for any shape."""
    return graph(
        [
            node("Identity", ["x"], ["y"]),
            node("Cast", ["x"], ["z"], to=FLOAT),
            node("Identity", ["w"], ["v"]),
        ],
        [value("x", TensorProto.BFLOAT16, None), value("w", INT64, ["m"])],
        [value("y", TensorProto.BFLOAT16, None), value("z", FLOAT, None), value("v", INT64, ["m"])],
    )


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_bf16_goes_in_and_comes_out_bit_for_bit_beside_other_datatypes(load, shape):
    model = load(halves())
    bits = np.random.default_rng(0).integers(0, 1 << 16, shape, dtype=np.uint16)
    x = np.asarray(bits, "<u2").view(BF16)
    feeds = {"x": x, "w": np.arange(3)}
    z, y, v = model.run(feeds, ["z", "y", "v"])
    assert (y.dtype, y.shape, y.tobytes()) == (BF16, shape, x.tobytes())
    assert np.array_equal(z, widened(x), equal_nan=True)
    assert v.tolist() == [0, 1, 2]
    [turned] = model.run(feeds | {"x": x.T}, ["y"])
    assert turned.tobytes() == x.T.tobytes()


def test_a_failure_of_a_model_with_bf16_is_told_as_any(load):
    model = load(halves())
    model.run({"x": np.zeros(2, BF16), "w": np.arange(3)}, ["y"])
    with pytest.raises(InvalidInput, match="the model cannot take this input"):
        model.run({"x": np.zeros(2, np.float32), "w": np.arange(3)}, ["y"])


# ------------------------------------------------------------------ failures of a run


@pytest.mark.parametrize(
    "feeds",
    [
        {"x": np.zeros((1, 5), "f4")},
        {"x": np.zeros(4, "f4")},
        {"x": np.zeros((1, 4), "f8")},
        {"x": np.zeros((1, 4), "f4"), "z": np.zeros(1)},
    ],
)
def test_input_that_does_not_fit_is_the_clients_fault(load, feeds):
    with pytest.raises(InvalidInput, match=r"^the model cannot take this input: \w") as caught:
        load(linear()).run(feeds, ["y"])
    assert "\n" not in str(caught.value)


def lookup():
    return graph(
        [node("Gather", ["table", "x"], ["y"])],
        [value("x", INT64, ["rows"])],
        [value("y", FLOAT, ["rows"])],
        [("table", np.arange(3, dtype="f4"))],
    )


def test_values_that_an_operator_refuses_are_the_clients_fault(load, capfd):
    with pytest.raises(InvalidInput, match="input: Gather: indices element out of data bounds"):
        load(lookup()).run({"x": np.array([7])}, ["y"])
    assert capfd.readouterr() == ("", "")


def needs_three():
    return graph(
        [node("Reshape", ["x", "three"], ["y"])],
        [value("x", FLOAT, ["n"])],
        [value("y", FLOAT, [3])],
        [("three", np.array([3]))],
    )


def test_a_model_that_never_ran_fails_by_its_own_fault_and_tells_clients_no_insides(load):
    model = load(needs_three())
    with pytest.raises(ModelFailed, match=r"^the model failed \(\w+\)$") as caught:
        model.run({"x": np.zeros(2, "f4")}, ["y"])
    assert caught.value.status == 500
    assert caught.value.reason.startswith(
        "Reshape: The input tensor cannot be reshaped to the requested shape."
    )
    with pytest.raises(ServingError, match=r"^the model failed"):
        load(linear()).run({}, ["y"])


def test_a_model_that_ran_before_fails_by_what_it_is_given(load):
    model = load(needs_three())
    model.run({"x": np.zeros(3, "f4")}, ["y"])
    with pytest.raises(InvalidInput, match="input: Reshape: The input tensor cannot be reshaped") as caught:
        model.run({"x": np.zeros(2, "f4")}, ["y"])
    assert "/" not in str(caught.value)


def test_inputs_of_unequal_rows_are_named_where_a_model_cannot_take_them(load):
    joined = graph(
        [node("Concat", ["a", "b"], ["y"], axis=1)],
        [value("a", FLOAT, ["batch", 1]), value("b", FLOAT, ["batch", 2])],
        [value("y", FLOAT, ["batch", 3])],
    )
    model = load(joined)
    rows = {"a": np.zeros((2, 1), "f4"), "b": np.zeros((2, 2), "f4")}
    model.run(rows, ["y"])
    words = (
        "input: the dimension 'batch' is 2 in 'a' and 3 in 'b'; Concat: Non concat axis dimensions must match"
    )
    with pytest.raises(InvalidInput, match=words):
        model.run(rows | {"b": np.zeros((3, 2), "f4")}, ["y"])


def test_a_run_that_asks_for_more_memory_than_there_is_fails_alone(load):
    model = load(constant_bomb(1 << 60))
    for _ in range(2):
        with pytest.raises(ServingError, match="more memory than it may have") as caught:
            model.run({"x": np.zeros((1, 1), "f4")}, ["y"])
        assert caught.value.status == 500


# ------------------------------------------------------------------ warm-up


def test_a_model_that_cannot_run_on_zeros_asks_for_a_warmup(load):
    with pytest.raises(InvalidModel, match=r"warm-up run failed: .* name an \.npz of input as `warmup`"):
        load(needs_three()).prepare(PROVEN)
    model = load(needs_three(), "warmup: rows.npz", x=np.zeros(3, "f4"))
    assert model.prepare(PROVEN) == 1


def test_a_warmup_may_hold_text_and_several_rows(load):
    model = load(
        unary(shape=("rows", 2), datatype=STRING),
        "warmup: rows.npz\nbatching: {max: 5}",
        x=np.array([["a", "é"]] * 3),
    )
    assert model.prepare(PROVEN) == 5


@pytest.mark.parametrize(
    "arrays",
    [
        {"z": np.zeros((1, 4), "f4")},
        {"x": np.zeros((1, 4), "f8")},
        {"x": np.zeros((1, 5), "f4")},
        {"x": np.zeros(4, "f4")},
        {"x": np.zeros((0, 4), "f4")},
        {"x": np.zeros((1, 4), "f4"), "z": np.zeros(1)},
        {"x": np.array([[b"a"]])},
    ],
)
def test_a_warmup_that_does_not_fit_the_signature_is_refused(load, arrays):
    with pytest.raises(InvalidModel, match=r"^warmup: "):
        load(linear(), "warmup: rows.npz", **arrays)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x80\x04K\x01.", b"\x93NUMPY"])
def test_a_warmup_that_is_no_npz_is_refused(load, tmp_path, content):
    put(tmp_path, "m", 1, linear(), "warmup: rows.npz")
    (tmp_path / "m" / "rows.npz").write_bytes(content)
    with pytest.raises(InvalidModel, match=r"^warmup: not an \.npz"):
        load(linear())


def test_a_warmup_is_never_unpickled(load, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    with pytest.raises(InvalidModel, match=r"^warmup: not an \.npz"):
        load(linear(), "warmup: rows.npz", x=np.array([Trap()], dtype=object))
    assert not (tmp_path / "sprung").exists()


# ------------------------------------------------------------------ batches


def pair(first, second):
    return graph(
        [node("Add", ["a", "b"], ["y"])],
        [value("a", FLOAT, first), value("b", FLOAT, second)],
        [value("y", FLOAT, ["out", 4])],
    )


@pytest.mark.parametrize(
    ("data", "batchable"),
    [
        (linear(), True),
        (unary(shape=(1, 4)), False),
        (unary(shape=()), False),
        (pair(["rows", 4], ["rows", 4]), True),
        (pair(["rows", 4], ["other", 4]), False),
        (pair(["rows", 4], [4]), False),
    ],
)
def test_only_a_shared_variable_first_dimension_can_be_batched(load, data, batchable):
    assert load(data).batchable is batchable


def test_the_best_batch_is_searched_where_the_model_is_pooled(load):
    for inline in (load(linear()), load(linear(512, 512), "execution: inline")):
        assert inline.prepare(PROVEN) == INLINE_ROWS
        assert inline.rows_per_second == {}
    pooled = load(linear(512, 512), "execution: pooled")
    best = pooled.prepare(PROVEN)
    assert set(pooled.rows_per_second) == {1, 2, 4, 8, 16, 32, 64}
    assert best in pooled.rows_per_second


SIZES = (1, 2, 4, 8, 16, 32, 64)
SEARCHES = {  # milliseconds of a run of each size; the size that is best; how many sizes are tried
    "grows": ((1, 1.1, 1.2, 1.6, 2.8, 5.3, 10.2), 32, 7),
    "levels off": ((1, 1.1, 1.2, 1.4, 2.8, 5.6, 11.2), 8, 7),
    "gains nothing": ((1, 2, 4, 8, 16, 32, 64), 1, 7),
    "grows beyond what a request may wait": ((30, 31, 32, 33, 110, 111, 112), 8, 4),
    "slow by itself": ((200, 201, 202, 203, 204, 205, 206), 1, 1),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_the_smallest_batch_is_found_that_gives_nearly_the_most_rows(load, monkeypatch, kind):
    """Of three runs two take longer than they should."""
    milliseconds, best, tried = SEARCHES[kind]
    seconds = {rows: time / 1000 for rows, time in zip(SIZES, milliseconds, strict=True)}
    disturbed = itertools.cycle([5, 1, 2])
    model = load(linear(), "execution: pooled")
    monkeypatch.setattr(OnnxModel, "_time", lambda _, rows: seconds[rows] * next(disturbed))
    assert model.prepare(PROVEN) == best
    expected = {rows: rows / seconds[rows] for rows in SIZES[:tried]}
    assert model.rows_per_second == pytest.approx(expected)


@pytest.mark.parametrize("most", [1, 2, 3, 8, 9])
def test_a_stated_batch_size_is_kept(load, most):
    assert load(linear(), f"batching: {{max: {most}}}").prepare(PROVEN) == most


def test_a_stated_batch_size_is_refused_where_rows_cannot_be_joined(load):
    with pytest.raises(
        InvalidModel, match="batching: its inputs and outputs share no variable first dimension"
    ):
        load(unary(shape=(1, 4)), "batching: {max: 4}").prepare(PROVEN)
    different = graph([node("Unique", ["x"], ["y"])], [value("x", INT64, ["n"])], [value("y", INT64, ["m"])])
    with pytest.raises(InvalidModel, match="2 rows do not come out as 2 rows"):
        load(different, "batching: {max: 4}").prepare(PROVEN)
    for execution in ("auto", "inline", "pooled"):
        assert load(different, f"execution: {execution}").prepare(PROVEN) == 1


def test_rows_that_are_not_proven_independent_are_not_joined(load):
    for execution in ("auto", "inline", "pooled"):
        model = load(linear(), f"execution: {execution}")
        assert (model.prepare(), model.dependence) == (1, UNPROVEN)
    model = load(linear())
    assert (model.prepare("Mul 'm' does something"), model.dependence) == (1, "Mul 'm' does something")


def test_the_users_word_stands_for_a_proof(load):
    stated = load(linear(), "execution: inline\nbatching: {independent: true}")
    assert (stated.prepare("Mul 'm' does something"), stated.dependence) == (INLINE_ROWS, "")
    assert load(linear(), "batching: {max: 4, independent: true}").prepare("unknown") == 4
    assert load(linear(), "batching: {max: 1}").prepare("unknown") == 1


def test_a_stated_batch_size_without_proof_is_refused_with_the_reason_and_the_remedy(load):
    model = load(linear(), "batching: {max: 4}")
    with pytest.raises(InvalidModel, match=r"answers: Mul 'm' does something; .*`independent: true`"):
        model.prepare("Mul 'm' does something")


def test_rows_that_influence_each_other_in_a_trial_are_never_joined(load):
    centred = graph(
        [node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1), node("Sub", ["x", "mean"], ["y"])],
        [value("x", FLOAT, ["rows", 512])],
        [value("y", FLOAT, ["rows", 512])],
    )
    running = graph(
        [node("CumSum", ["x", "axis"], ["y"])],
        [value("x", INT64, ["steps"])],
        [value("y", INT64, ["steps"])],
        [("axis", np.array(0))],
    )
    for data in (centred, running):
        for execution in ("inline", "pooled"):
            model = load(data, f"execution: {execution}")
            assert model.batchable
            assert model.prepare(PROVEN) == 1
            assert model.dependence.startswith("a trial gave other results")
        assert load(data, "batching: {max: 4, independent: true}").prepare() == 1
    for data in (linear(), unary(datatype=INT64), unary(datatype=STRING), unary(datatype=TensorProto.BOOL)):
        model = load(data, "execution: inline")
        assert (model.prepare(PROVEN), model.dependence) == (INLINE_ROWS, "")


@pytest.mark.parametrize(
    ("rows", "tells"),
    [
        (np.array([[1, 2, 3, 4]], "f4"), True),
        (np.array([[1, 2, 3, 4], [5, 6, 7, 8]], "f4"), True),
        (np.array([[0, 0, 0, 0]], "f4"), False),
        (np.array([[7, 7, 7, 7]]), False),
        (np.array([[7, 7, 7, 7], [8, 8, 8, 8]]), True),
    ],
)
def test_rows_of_a_warmup_disprove_what_they_tell_apart(load, rows, tells):
    datatype = FLOAT if rows.dtype.kind == "f" else INT64
    for data, disproved in ((unary(datatype=datatype), False), (summed(datatype), tells)):
        model = load(data, "warmup: rows.npz", x=rows)
        assert (model.prepare(PROVEN) == 1) is disproved


def test_rows_that_are_quantized_by_the_range_of_all_are_not_joined(load):
    quantized = graph(
        [
            node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("MatMulInteger", ["q", "w", "zero"], ["products"]),
            node("Cast", ["products"], ["sums"], to=FLOAT),
            node("Mul", ["sums", "scale"], ["y"]),
        ],
        [value("x", FLOAT, ["rows", 4])],
        [value("y", FLOAT, ["rows", 3])],
        [("w", np.random.default_rng(0).integers(-9, 9, (4, 3)).astype("i1"))],
    )
    for options, rows in (
        ("execution: auto", {}),
        ("warmup: rows.npz", {"x": np.array([[1, 2, 3, 4], [2, 3, 4, 5]], "f4")}),
    ):
        model = load(quantized, options, **rows)
        assert model.batchable
        assert model.prepare(PROVEN) == 1


def summed(datatype):
    """Each row plus the sum of all."""
    return graph(
        [node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1), node("Add", ["x", "sum"], ["y"])],
        [value("x", datatype, ["rows", 4])],
        [value("y", datatype, ["rows", 4])],
        [("axis", np.array([0]))],
    )


def test_a_trial_that_fails_tells_nothing(load):
    picky = graph(
        [node("Gather", ["table", "x"], ["y"])],
        [value("x", INT64, ["rows"])],
        [value("y", FLOAT, ["rows"])],
        [("table", np.arange(1, dtype="f4"))],
    )
    assert load(picky, "execution: inline").prepare(PROVEN) == INLINE_ROWS
    assert load(picky).prepare() == 1
