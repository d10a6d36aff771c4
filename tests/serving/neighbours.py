"""Models whose rows influence each other, in twelve ways, and requests to them."""

import numpy as np
from graphs import FLOAT, INT64, graph, node, value
from onnx import TensorProto, helper

ROWS_AND_FOUR = [value("x", FLOAT, ["rows", 4])]


def _of(*nodes, constants=(), inputs=ROWS_AND_FOUR, out=("rows", 4), kind=FLOAT):
    return graph(list(nodes), inputs, [value("y", kind, list(out))], constants)


def embedded_averaged_quantized():
    """What quantize_dynamic makes of a text classifier."""
    rng = np.random.default_rng(0)
    return _of(
        node("Gather", ["table", "x"], ["e"]),
        node("ReduceMean", ["e"], ["p"], axes=[1], keepdims=0),
        node("DynamicQuantizeLinear", ["p"], ["q", "scale", "zero"]),
        node("MatMulInteger", ["q", "w", "zero"], ["products"]),
        node("Cast", ["products"], ["sums"], to=FLOAT),
        node("Mul", ["sums", "scale"], ["y"]),
        constants=[
            ("table", (rng.normal(size=(100, 16)) * np.arange(100)[:, None]).astype("f4")),
            ("w", rng.integers(-99, 99, (16, 4)).astype("i1")),
        ],
        inputs=[value("x", INT64, ["rows", "words"])],
    )


def cropped_to_the_longest():
    return _of(
        node("ReduceMax", ["length"], ["longest"], axes=[0], keepdims=1),
        node("Max", ["longest", "one"], ["end"]),
        node("Slice", ["x", "zero", "end", "one"], ["y"]),
        constants=[("one", np.array([1])), ("zero", np.array([0]))],
        inputs=[*ROWS_AND_FOUR, value("length", INT64, ["rows"])],
        out=("rows", "t"),
    )


def centred():
    return _of(node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), node("Sub", ["x", "m"], ["y"]))


def quantized():
    return _of(
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    )


def softmax_over_rows():
    return _of(node("Softmax", ["x"], ["y"], axis=0))


def running_sum():
    return _of(node("CumSum", ["x", "axis"], ["y"]), constants=[("axis", np.array(0))])


def divided_by_the_number_of_rows():
    return _of(
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["rows"]),
        node("Cast", ["rows"], ["n"], to=FLOAT),
        node("Div", ["x", "n"], ["y"]),
        constants=[("first", np.array(0))],
    )


def attention_between_rows():
    return _of(
        node("Transpose", ["x"], ["columns"]),
        node("MatMul", ["x", "columns"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=1),
        node("MatMul", ["weights", "x"], ["y"]),
    )


def normalized_by_the_batch():
    return _of(node("LpNormalization", ["x"], ["y"], axis=0))


def rows_are_steps():
    rng = np.random.default_rng(1)
    return _of(
        node("Unsqueeze", ["x", "one"], ["steps"]),
        node("RNN", ["steps", "w", "r"], ["all"], hidden_size=4),
        node("Reshape", ["all", "flat"], ["y"]),
        constants=[
            ("one", np.array([1])),
            ("w", rng.normal(size=(1, 4, 4)).astype("f4")),
            ("r", rng.normal(size=(1, 4, 4)).astype("f4")),
            ("flat", np.array([-1, 4])),
        ],
    )


def a_branch_for_all():
    def side(kind):
        result = value(f"{kind}_y", FLOAT, None)
        return helper.make_graph([node(kind, ["x"], [result.name])], kind, [], [result])

    return _of(
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Greater", ["most", "limit"], ["large"]),
        node("If", ["large"], ["y"], then_branch=side("Neg"), else_branch=side("Abs")),
        constants=[("limit", np.float32(5))],
    )


def as_often_as_the_largest_says():
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Add", ["state", "x"], ["next"])],
        "body",
        [value("i", INT64, []), value("go", TensorProto.BOOL, []), value("state", FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("next", FLOAT, None)],
    )
    return _of(
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Cast", ["most"], ["times"], to=INT64),
        node("Loop", ["times", "", "x"], ["y"], body=body),
    )


MODELS = {
    make.__name__: make()
    for make in (
        embedded_averaged_quantized, cropped_to_the_longest, centred, quantized, softmax_over_rows,
        running_sum, divided_by_the_number_of_rows, attention_between_rows, normalized_by_the_batch,
        rows_are_steps, a_branch_for_all, as_often_as_the_largest_says,
    )
}  # fmt: skip
"""name -> its ONNX file."""


def inputs(name, number):
    """Those of one request: every number gives others, some of them small and some large."""
    if name == "embedded_averaged_quantized":
        return [("x", "INT64", [1, 1], [(number * 37) % 100])]
    x = ("x", "FP32", [1, 4], [number * (0.5 + column) for column in range(4)])
    return [x] if name != "cropped_to_the_longest" else [x, ("length", "INT64", [1], [number % 5])]
