"""Small convolutional networks for 8x8 images, learnt without backpropagation.

Each layer's 3x3 filters are the centres that k-means finds among normalised patches of what lies below
(Coates, Lee and Ng, "An analysis of single-layer networks in unsupervised feature learning", 2011); the
last layer is a logistic regression. Neither drifts when a processor rounds sums otherwise, as stochastic
gradient descent does, so a rebuild elsewhere predicts the same.
"""

import numpy as np
import onnxruntime as ort
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper
from sklearn.cluster import KMeans  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8  # old enough for every runtime of the last years

Singles = NDArray[np.float32]

_BRIGHTEST = 16.0  # of scikit-learn's digits; folded into the first filters
_PATCHES = 6000  # k-means looks at this many


def train(
    images: Singles, labels: NDArray[np.int64], channels: tuple[int, ...], input_name: str
) -> ModelProto:
    """Train a network of `Conv, Relu` pairs, then `MaxPool, Flatten, Gemm, Softmax`.

    Args:
        images: FP32 [rows, 64] or [rows, 1, 8, 8], 0 to 16; the input will have the same shape.
        labels: INT64 [rows], the class of each image from 0.
        channels: how many filters each convolution has.
        input_name: the name of the graph's input.

    Returns:
        A model with outputs `label` INT64 [batch] and `probabilities` FP32 [batch, classes].
    """
    layers: list[Singles] = []
    maps = images.reshape(-1, 1, 8, 8) / np.float32(_BRIGHTEST)
    features = maps
    for count in channels:
        filters = _learn_filters(maps, count)
        layers.append(filters if layers else filters / np.float32(_BRIGHTEST))
        maps, features = _run(_network(layers, input_name, images.shape[1:], None), input_name, images)
    head = LogisticRegression(max_iter=10_000).fit(features.astype(np.float64), labels)
    return _network(layers, input_name, images.shape[1:], head)


def _learn_filters(maps: Singles, count: int) -> Singles:
    """FP32 [count, channels, 3, 3], each of mean 0 and length 1, from maps [rows, channels, 8, 8]."""
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), (2, 3)).transpose(0, 2, 3, 1, 4, 5)
    drawn = np.random.default_rng(0).choice(len(maps) * 64, _PATCHES, replace=False)
    patches = windows[np.unravel_index(drawn, (len(maps), 8, 8))].reshape(_PATCHES, -1).astype(np.float64)
    patches -= patches.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(patches, axis=1, keepdims=True)
    clear = lengths[:, 0] > 0.3 * np.median(lengths)  # the others show empty paper
    clusters = KMeans(count, n_init=1, max_iter=20, random_state=0).fit(patches[clear] / lengths[clear])
    centres = clusters.cluster_centers_ - clusters.cluster_centers_.mean(axis=1, keepdims=True)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return np.asarray(centres, np.float32).reshape(count, -1, 3, 3)


def _network(
    layers: list[Singles], input_name: str, shape: tuple[int, ...], head: LogisticRegression | None
) -> ModelProto:
    """The whole network, or without a head what the next layer is trained on: `maps` and `features`."""
    constants = {f"filters_{index}": filters for index, filters in enumerate(layers)}
    nodes = []
    below = input_name
    if len(shape) == 1:
        constants["image_shape"] = np.array([-1, 1, 8, 8], np.int64)
        nodes.append(helper.make_node("Reshape", [below, "image_shape"], ["image"]))
        below = "image"
    for index in range(len(layers)):
        above = "maps" if index == len(layers) - 1 else f"maps_{index}"
        nodes.append(
            helper.make_node("Conv", [below, f"filters_{index}"], [f"sums_{index}"], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"sums_{index}"], [above]))
        below = above
    nodes.append(helper.make_node("MaxPool", ["maps"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    outputs = [_value("maps", [len(layers[-1]), 8, 8]), _value("features", [len(layers[-1]) * 16])]
    if head is not None:
        constants["weights"] = head.coef_.T.astype(np.float32)
        constants["biases"] = head.intercept_.astype(np.float32)
        nodes.append(helper.make_node("Gemm", ["features", "weights", "biases"], ["scores"]))
        nodes.append(helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1))
        nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
        outputs = [_value("label", [], TensorProto.INT64), _value("probabilities", [len(head.classes_)])]
    tensors = [
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "convnet", [_value(input_name, list(shape))], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _value(name: str, shape: list[int], kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])


def _run(model: ModelProto, input_name: str, images: Singles) -> tuple[Singles, Singles]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # one order of summation
    maps, features = ort.InferenceSession(model.SerializeToString(), options).run(None, {input_name: images})
    return np.asarray(maps), np.asarray(features)
