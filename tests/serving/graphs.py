"""Small real models for the tests, and the folders they are served from."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
value = helper.make_tensor_value_info
node = helper.make_node


def graph(nodes, inputs, outputs, constants=(), domains=()):
    """A model's bytes; `constants` are TensorProtos or (name, array) pairs."""
    tensors = [
        item if isinstance(item, TensorProto) else numpy_helper.from_array(np.asarray(item[1]), item[0])
        for item in constants
    ]
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    body = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    return helper.make_model(body, opset_imports=opsets, ir_version=9).SerializeToString()


def unary(operator="Identity", shape=("rows", 4), datatype=FLOAT, **attributes):
    """x -> operator(x) = y, both of one shape."""
    return graph(
        [node(operator, ["x"], ["y"], **attributes)],
        [value("x", datatype, shape)],
        [value("y", datatype, shape)],
    )


def linear(inputs=4, outputs=3, seed=0):
    weights = np.random.default_rng(seed).normal(size=(inputs, outputs)).astype("f4")
    return graph(
        [node("MatMul", ["x", "w"], ["y"])],
        [value("x", FLOAT, ["rows", inputs])],
        [value("y", FLOAT, ["rows", outputs])],
        [("w", weights)],
    )


def cancelling():
    """(3 a + 5 b - 8 c) m: 0 where they are equal, and far from that once m is folded into 3, 5 and 8."""
    return graph(
        [node("Conv", ["x", "w"], ["sum"]), node("Mul", ["sum", "m"], ["y"])],
        [value("x", FLOAT, ["rows", 3, 1, 1])],
        [value("y", FLOAT, ["rows", 1, 1, 1])],
        [
            ("w", np.array([3, 5, -8], "f4").reshape(1, 3, 1, 1)),
            ("m", np.full((1, 1, 1, 1), 33333310, "f4")),
        ],
    )


def constant_bomb(elements):
    """A tiny graph that fills a constant of that many floats whenever it runs."""
    return graph(
        [
            node("ConstantOfShape", ["size"], ["c"], value=numpy_helper.from_array(np.array([1], "f4"))),
            node("ReduceMax", ["c"], ["m"], keepdims=0),
            node("Add", ["x", "m"], ["y"]),
        ],
        [value("x", FLOAT, ["rows", 1])],
        [value("y", FLOAT, ["rows", 1])],
        [("size", np.array([elements]))],
    )


def endless_loop():
    shape = ["rows", 1]
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_on"]), node("Identity", ["v"], ["v_out"])],
        "body",
        [value("i", INT64, []), value("go", TensorProto.BOOL, []), value("v", FLOAT, shape)],
        [value("go_on", TensorProto.BOOL, []), value("v_out", FLOAT, shape)],
    )
    loop = node("Loop", ["", "go", "x"], ["y"], body=body)
    return graph([loop], [value("x", FLOAT, shape)], [value("y", FLOAT, shape)], [("go", np.array(True))])


def external_tensor(location, name="w", length=4):
    tensor = TensorProto(
        name=name, data_type=FLOAT, dims=[length], data_location=TensorProto.EXTERNAL
    )  # fmt: skip
    for key, text in (("location", location), ("length", str(4 * length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return tensor


def external(location):
    """x + w, with w in a file."""
    return graph(
        [node("Add", ["x", "w"], ["y"])],
        [value("x", FLOAT, ["rows", 4])],
        [value("y", FLOAT, ["rows", 4])],
        [external_tensor(location)],
    )


def external_in_branch(location):
    """x + w, with w in a file and inside both branches of an If."""

    def branch(name):
        inner = node("Add", ["x", name], [f"{name}_out"])
        out = value(f"{name}_out", FLOAT, ["rows", 4])
        return helper.make_graph([inner], name, [], [out], [external_tensor(location, name)])

    choice = node("If", ["c"], ["y"], then_branch=branch("p"), else_branch=branch("q"))
    inputs = [value("x", FLOAT, ["rows", 4]), value("c", TensorProto.BOOL, [])]
    return graph([choice], inputs, [value("y", FLOAT, ["rows", 4])])


def put(root, name, version, data, config=None):
    """Write a model into a repository; its version folder."""
    folder = root / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    if config is not None:
        (root / name / "config.yaml").write_text(config)
    return folder


def for_two_rows():
    """x -> y for two rows; any other number of rows fails."""
    shape = ("shape", np.array([2, 4]))
    x, y = value("x", FLOAT, ["rows", 4]), value("y", FLOAT, ["rows", 4])
    return graph([node("Reshape", ["x", "shape"], ["y"])], [x], [y], [shape])


def zipmap(labels):
    """x -> scores -> a list of dictionaries, as converters of classifiers end."""
    strings = isinstance(labels[0], str)
    key = "classlabels_strings" if strings else "classlabels_int64s"
    maps = helper.make_map_type_proto(STRING if strings else INT64, helper.make_tensor_type_proto(FLOAT, []))
    nodes = [
        node("MatMul", ["x", "w"], ["scores"]),
        node("ZipMap", ["scores"], ["y"], domain="ai.onnx.ml", **{key: labels}),
    ]
    outputs = [
        value("scores", FLOAT, ["rows", len(labels)]),
        helper.make_value_info("y", helper.make_sequence_type_proto(maps)),
    ]
    weights = np.arange(2 * len(labels), dtype="f4").reshape(2, -1)
    data = [value("x", FLOAT, ["rows", 2])]
    return graph(nodes, data, outputs, [("w", weights)], domains=["ai.onnx.ml"])
