"""What is proven and what is not, operator by operator."""

import subprocess
import sys

import numpy as np
import pytest
from graphs import FLOAT, INT64, graph, linear, node, unary, value
from onnx import TensorProto, helper, load_from_string

from serving.models.independence.proof import prove


def mapped(*nodes, constants=(), shape=("rows", 4), out=("rows", "m"), element=FLOAT, result=FLOAT):
    """x -> nodes -> y."""
    return graph(list(nodes), [value("x", element, shape)], [value("y", result, out)], constants)


def embedding_averaged_and_quantized():
    """What quantize_dynamic makes of a text classifier."""
    rng = np.random.default_rng(0)
    return mapped(
        node("Gather", ["table", "x"], ["e"]),
        node("ReduceMean", ["e"], ["p"], axes=[1], keepdims=0),
        node("DynamicQuantizeLinear", ["p"], ["q", "scale", "zero"], name="q1"),
        node("MatMulInteger", ["q", "w", "zero"], ["products"]),
        node("Cast", ["products"], ["sums"], to=FLOAT),
        node("Mul", ["sums", "scale"], ["y"]),
        constants=[
            ("table", rng.normal(size=(100, 16)).astype("f4")),
            ("w", rng.integers(-9, 9, (16, 4)).astype("i1")),
        ],
        shape=("rows", "seq"),
        element=INT64,
    )


def cropped_to_the_longest():
    return graph(
        [
            node("ReduceMax", ["len"], ["longest"], axes=[0], keepdims=1, name="longest"),
            node("Max", ["longest", "one"], ["end"]),
            node("Slice", ["x", "zero", "end", "one"], ["y"]),
        ],
        [value("x", FLOAT, ["rows", "t"]), value("len", INT64, ["rows"])],
        [value("y", FLOAT, ["rows", "t2"])],
        [("one", np.array([1])), ("zero", np.array([0]))],
    )


def reshaped(*lengths, **options):
    return mapped(node("Reshape", ["x", "s"], ["y"]), constants=[("s", np.array(lengths))], **options)


def heads_and_back():
    """[rows, t, 8] -> [rows * 2, t, 4] by the lengths that the graph reads, softmax, and back."""
    return mapped(
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Gather", ["s", "one"], ["t"]),
        node("Concat", ["n", "t", "heads"], ["s1"], axis=0),
        node("Reshape", ["x", "s1"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
        node("Mul", ["n", "two"], ["n2"]),
        node("Concat", ["n2", "t", "four"], ["s2"], axis=0),
        node("Reshape", ["b", "s2"], ["c"]),
        node("Softmax", ["c"], ["d"], axis=-1),
        node("Concat", ["n", "two", "t", "four"], ["s3"], axis=0),
        node("Reshape", ["d", "s3"], ["e"]),
        node("Transpose", ["e"], ["f"], perm=[0, 2, 1, 3]),
        node("Reshape", ["f", "s"], ["y"]),
        constants=[
            ("zero", np.array([0])),
            ("one", np.array([1])),
            ("two", np.array([2])),
            ("four", np.array([4])),
            ("heads", np.array([2, 4])),
        ],
        shape=("rows", "t", 8),
        out=("rows", "t", 8),
    )


PROVEN = {
    "linear": linear(),
    "identity": unary(),
    "softmax over the other axis": unary("Softmax", axis=1),
    "rows in an axis of their own": reshaped(-1, 2, 2, out=("rows", 2, 2)),
    "rows of a length of their own": reshaped(0, -1, shape=("rows", "t", 3), out=("rows", "m")),
    "attention heads and back": heads_and_back(),
    "averaged over the other axis": mapped(node("ReduceMean", ["x"], ["y"], axes=[1])),
    "a row looked up in a table": mapped(
        node("Gather", ["t", "x"], ["y"]), constants=[("t", np.ones((3, 2), "f4"))], shape=("rows",),
        element=INT64,
    ),
}  # fmt: skip


def centred():
    return mapped(node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), node("Sub", ["x", "m"], ["y"]))


def divided_by_the_number_of_rows():
    return mapped(
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i"], ["n"]),
        node("Cast", ["n"], ["f"], to=FLOAT),
        node("Div", ["x", "f"], ["y"]),
        constants=[("i", np.array(0))],
    )


def of_a_sequence():
    return mapped(
        node("SequenceConstruct", ["x"], ["s"]),
        node("SequenceAt", ["s", "i"], ["y"]),
        constants=[("i", np.array(0))],
    )


SPOILT = [
    (embedding_averaged_and_quantized(), "DynamicQuantizeLinear 'q1' takes its range over the whole batch"),
    (cropped_to_the_longest(), "ReduceMax 'longest' takes all rows together"),
    (centred(), "ReduceMean 'm' takes all rows together"),
    (unary("Softmax", axis=0), "Softmax 'y' takes all rows together"),
    (mapped(node("CumSum", ["x", "a"], ["y"]), constants=[("a", np.array(0))]), "adds up the rows"),
    (reshaped(-1, 3, out=("rows", 3)), "Reshape 'y' may not keep whole rows together"),
    (reshaped(-1, 8, out=("rows", 8)), "Reshape 'y' may not keep whole rows together"),
    (
        mapped(node("Transpose", ["x"], ["t"]), node("MatMul", ["x", "t"], ["y"])),
        "MatMul 'y' sets rows against other rows",
    ),
    (divided_by_the_number_of_rows(), "Cast 'f' calculates with the number of rows"),
    (
        mapped(node("RandomNormalLike", ["x"], ["r"]), node("Add", ["x", "r"], ["y"])),
        "RandomNormalLike 'r' draws at random",
    ),
    (mapped(node("Add", ["x", "c"], ["y"]), constants=[("c", np.ones((3, 4), "f4"))]), "a length of its own"),
    (unary(shape=(2, 4)), "the first dimension of input 'x' is fixed"),
    (unary(shape=()), "has no first dimension"),
    (of_a_sequence(), "SequenceConstruct 's' is not followed"),
    (mapped(node("Transpose", ["x"], ["y"])), "does not have one row for each row"),
]


@pytest.mark.parametrize("name", PROVEN)
def test_rows_that_keep_to_themselves_are_proven(name):
    assert prove(PROVEN[name]).reason == ""


@pytest.mark.parametrize(("data", "reason"), SPOILT, ids=[reason for _, reason in SPOILT])
def test_what_is_not_proven_names_the_operator_and_what_it_does(data, reason):
    verdict = prove(data)
    assert not verdict.independent
    assert reason in verdict.reason


def test_junk_is_not_proven_and_raises_nothing():
    for data in (b"", b"junk", linear()[:-5]):
        assert not prove(data).independent


def test_a_branch_is_followed_only_where_its_condition_does_not_come_from_the_rows():
    def branch(name, *nodes):
        return helper.make_graph(list(nodes), name, [], [value(f"{name}_y", FLOAT, None)])

    def chosen(*condition, constants=()):
        sides = {
            "then_branch": branch("p", node("Neg", ["x"], ["p_y"])),
            "else_branch": branch("q", node("Abs", ["x"], ["q_y"])),
        }
        return mapped(*condition, node("If", ["c"], ["y"], name="if1", **sides), constants=constants)

    assert prove(chosen(constants=[("c", np.array(True))])).independent
    by_length = [
        node("Shape", ["x"], ["s"], start=1),
        node("Squeeze", ["s"], ["t"]),
        node("Greater", ["t", "three"], ["c"]),
    ]
    assert prove(chosen(*by_length, constants=[("three", np.array(3))])).independent
    by_rows = [
        node("Shape", ["x"], ["s"], end=1),
        node("Squeeze", ["s"], ["t"]),
        node("Greater", ["t", "l"], ["c"]),
    ]
    verdict = prove(chosen(*by_rows, constants=[("l", np.array(3))]))
    assert "calculates with the number of rows" in verdict.reason
    of_all = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["c"], to=TensorProto.BOOL)]
    assert "ReduceMax 'm'" in prove(chosen(*of_all)).reason


def test_workers_never_import_onnx():
    code = "import serving.service, router.worker, router.sandbox, sys; print('onnx' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def looped(times, *inner, constants=()):
    """x -> y, the body's nodes run `times` times on `state`."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), *inner],
        "body",
        [value("i", INT64, []), value("go", TensorProto.BOOL, []), value("state", FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("next", FLOAT, None)],
    )
    return mapped(
        *times, node("Loop", ["times", "", "x"], ["y"], name="loop1", body=body), constants=constants
    )


def test_a_loop_is_followed_until_what_it_carries_settles():
    three = [("times", np.array(3))]
    assert prove(looped((), node("Add", ["state", "x"], ["next"]), constants=three)).independent
    by_all = (node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["times"], to=INT64))
    assert "ReduceMax 'm'" in prove(looped(by_all, node("Neg", ["state"], ["next"]))).reason
    by_rows = (node("Size", ["x"], ["times"]),)
    verdict = prove(looped(by_rows, node("Neg", ["state"], ["next"])))
    assert "Loop 'loop1' runs as often as the rows say" in verdict.reason
    mixing = [node("Softmax", ["state"], ["next"], name="s1", axis=0)]
    assert "Softmax 's1' takes all rows together" in prove(looped((), *mixing, constants=three)).reason


def test_a_scan_runs_over_another_axis_than_that_of_the_rows():
    body = helper.make_graph(
        [node("Add", ["state", "step"], ["next"]), node("Identity", ["next"], ["seen"])],
        "body",
        [value("state", FLOAT, None), value("step", FLOAT, None)],
        [value("next", FLOAT, None), value("seen", FLOAT, None)],
    )

    def scanned(axis):
        start = node("ReduceMax", ["x"], ["start"], axes=[axis], keepdims=0)
        axes = {"num_scan_inputs": 1, "scan_input_axes": [axis], "scan_output_axes": [axis]}
        return mapped(start, node("Scan", ["start", "x"], ["last", "y"], body=body, **axes))

    assert prove(scanned(1)).reason == ""
    assert prove(scanned(0)).reason == "Scan 'last' runs over the rows"


def test_functions_are_followed_with_the_attributes_that_they_are_called_with():
    inner = node("Softmax", ["a"], ["b"], name="inner")
    reference = inner.attribute.add(name="axis", type=helper.AttributeProto.INT)
    reference.ref_attr_name = "over"
    opset = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Soft", ["a"], ["b"], [inner], opset, ["over"])
    for over, independent in ((1, True), (0, False)):
        model = load_from_string(
            graph(
                [node("Soft", ["x"], ["y"], domain="own", over=over)],
                [value("x", FLOAT, ["rows", 4])],
                [value("y", FLOAT, ["rows", 4])],
                domains=["own"],
            )
        )
        model.functions.append(function)
        assert prove(model.SerializeToString()).independent is independent


def test_what_infinity_in_a_neighbour_would_reach_is_not_proven():
    resized = mapped(
        node("Resize", ["x", "", "scales"], ["y"], name="r1", mode="linear"),
        constants=[("scales", np.array([1, 2], "f4"))],
    )
    assert prove(resized).reason == "Resize 'r1' may interpolate between rows"
