"""Models with the signature of the digits: as slow as one likes, never the same twice, or failing."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIZE = 128


def slow_digits(turns: int) -> bytes:
    """The bytes of a model that multiplies two matrices so many times, whatever it is asked (20 us a turn).

    Its label is that of the brightest of the first ten pixels.
    """
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["state", "square"], ["next"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
    )
    constants = {
        "turns": np.array(turns),
        "yes": np.array(True),
        "zeros": np.zeros((SIZE, SIZE), "f4"),
        "none": np.zeros((), "f4"),
        "weights": np.eye(64, 10, dtype="f4"),
    }
    nodes = [
        # The matrix depends on the input, or it would be computed once when the model is loaded.
        helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
        helper.make_node("Add", ["zeros", "brightest"], ["first"]),
        helper.make_node("Loop", ["turns", "yes", "first"], ["last"], body=body),
        helper.make_node("ReduceMax", ["last"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "none"], ["nothing"]),
        helper.make_node("MatMul", ["pixels", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "nothing"], ["sums"]),
    ]
    return _like_the_digits("slow", nodes, {"square": np.eye(SIZE, dtype="f4"), **constants})


def noisy_digits(scale: float) -> bytes:
    """The bytes of a model whose answers have noise of this standard deviation, each time another."""
    nodes = [
        helper.make_node("MatMul", ["pixels", "weights"], ["scores"]),
        helper.make_node("RandomNormalLike", ["scores"], ["noise"], scale=scale),
        helper.make_node("Add", ["scores", "noise"], ["sums"]),
    ]
    return _like_the_digits("noisy", nodes, {"weights": np.eye(64, 10, dtype="f4")})


def failing_digits() -> bytes:
    """The bytes of a model that fails on every image that is not empty, and so not in warm-up."""
    nodes = [
        helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["only", "index"], ["nothing"]),
        helper.make_node("MatMul", ["pixels", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "nothing"], ["sums"]),
    ]
    return _like_the_digits("failing", nodes, {"weights": np.ones((64, 10), "f4"), "only": np.zeros(1, "f4")})


def _like_the_digits(name: str, nodes: list[Any], constants: dict[str, Any]) -> bytes:
    """The bytes of a model that makes `sums` of `pixels`; probabilities and label follow from them."""
    nodes = [
        *nodes,
        helper.make_node("Softmax", ["sums"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 64])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ],
        [numpy_helper.from_array(value, constant) for constant, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
