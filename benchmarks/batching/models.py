"""The models of the benchmarks of batching and of larger work: built here, with random weights, never kept.

All are float32 with a variable first dimension `rows`. Weights are scaled so that values neither vanish nor
blow up on the way (He et al. 2015), and are the same in every run.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS, VOCABULARY = 128, 8192
IMAGE = (3, 224, 224)
MLP_WIDTHS = (768, 2048, 2048, 2048, 1000)  # 49 MB of weights, 24 million multiplications and additions a row
WIDE_WIDTHS = (4096, 4096, 4096, 1000)  # 151 MB


class _Graph:
    """Nodes and weights, gathered in the order of the computation."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def random(self, *shape: int, fan_in: int) -> str:
        """The name of a new weight."""
        return self.constant((self._random.standard_normal(shape) * (2 / fan_in) ** 0.5).astype(np.float32))

    def constant(self, array: np.ndarray) -> str:
        """The name of a new constant."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """The name of the one output of a new node."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def dense(self, x: str, width_in: int, width_out: int) -> str:
        """X times a matrix plus a bias, along the last axis."""
        product = self.node("MatMul", x, self.random(width_in, width_out, fan_in=width_in))
        return self.node("Add", product, self.constant(np.zeros(width_out, np.float32)))

    def model(
        self, datatype: int, shape_in: Sequence[int], output: str, shape_out: Sequence[int]
    ) -> onnx.ModelProto:
        """The model `x` -> `y`; `rows` comes before both shapes."""
        nodes = [*self.nodes, helper.make_node("Identity", [output], ["y"])]
        x = helper.make_tensor_value_info("x", datatype, ["rows", *shape_in])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", *shape_out])
        graph = helper.make_graph(nodes, "graph", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def mlp(*widths: int) -> onnx.ModelProto:
    """A chain of dense layers with ReLU between them."""
    graph, x = _Graph(), "x"
    for layer, (width_in, width_out) in enumerate(pairwise(widths)):
        weights = graph.random(width_in, width_out, fan_in=width_in)
        x = graph.node(
            "Gemm", x if layer == 0 else graph.node("Relu", x), weights,
            graph.constant(np.zeros(width_out, np.float32)),
        )  # fmt: skip
    return graph.model(TensorProto.FLOAT, [widths[0]], x, [widths[-1]])


def resnet() -> onnx.ModelProto:
    """ResNet-18 (He et al. 2016) with its normalization folded: image [3, 224, 224] -> 1000 logits."""
    graph = _Graph()

    def convolve(x: str, channels_in: int, channels: int, size: int, stride: int) -> str:
        weights = graph.random(channels, channels_in, size, size, fan_in=2 * channels_in * size * size)
        bias = graph.constant(np.zeros(channels, np.float32))
        pads = [size // 2] * 4
        return graph.node(
            "Conv", x, weights, bias, kernel_shape=[size, size], strides=[stride, stride], pads=pads
        )

    x = graph.node("Relu", convolve("x", IMAGE[0], 64, 7, 2))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    before = 64
    for channels in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if block == 0 and channels != before else 1
            inner = graph.node("Relu", convolve(x, before, channels, 3, stride))
            inner = convolve(inner, channels, channels, 3, 1)
            beside = x if before == channels else convolve(x, before, channels, 1, stride)
            x = graph.node("Relu", graph.node("Add", inner, beside))
            before = channels
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    return graph.model(TensorProto.FLOAT, IMAGE, graph.dense(x, 512, 1000), [1000])


def encoder(layers: int = 6, width: int = 512, heads: int = 8) -> onnx.ModelProto:
    """A transformer encoder (Vaswani et al. 2017), normalized before each part: tokens -> vectors."""
    graph = _Graph()
    split = graph.constant(np.array([0, TOKENS, heads, width // heads]))
    joined = graph.constant(np.array([0, TOKENS, width]))
    scale = graph.constant(np.array((width // heads) ** -0.5, np.float32))
    x = graph.node("Gather", graph.random(VOCABULARY, width, fan_in=2), "x")

    def normalize(x: str) -> str:
        ones, zeros = graph.constant(np.ones(width, np.float32)), graph.constant(np.zeros(width, np.float32))
        return graph.node("LayerNormalization", x, ones, zeros)

    def part(x: str, order: list[int]) -> str:
        heads_apart = graph.node("Reshape", graph.dense(x, width, width), split)
        return graph.node("Transpose", heads_apart, perm=order)

    for _ in range(layers):
        inner = normalize(x)
        query, key, value = (part(inner, order) for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        weights = graph.node("Softmax", graph.node("Mul", graph.node("MatMul", query, key), scale), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        x = graph.node("Add", x, graph.dense(graph.node("Reshape", mixed, joined), width, width))
        inner = graph.node("Relu", graph.dense(normalize(x), width, 4 * width))
        x = graph.node("Add", x, graph.dense(inner, 4 * width, width))
    return graph.model(TensorProto.INT64, [TOKENS], normalize(x), [TOKENS, width])


def largest() -> onnx.ModelProto:
    """The largest value of an image: next to no work, so that what is left is moving bytes."""
    graph = _Graph()
    return graph.model(TensorProto.FLOAT, IMAGE, graph.node("ReduceMax", "x", axes=[1, 2, 3], keepdims=0), [])


def put(model: onnx.ModelProto, root: Path, name: str, *, external: bool = False, version: str = "1") -> Path:
    """Write a model into a repository, its weights in a file beside it if so asked; its folder."""
    folder = root / name / version
    folder.mkdir(parents=True)
    if external:
        model = copy.deepcopy(model)  # onnx takes the weights out of the one it writes
        path = folder / "model.onnx"
        onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1024)
    else:
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder
