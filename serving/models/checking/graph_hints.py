"""Lengths and texts that a graph's own constants suggest for its inputs; used where plain input did not run.

It imports the onnx package, so that only the process that checks models does so
(`serving.models.checking.check`).
"""

from collections import Counter
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from serving.models.session.trials import Hints

MAX_GRAPH_BYTES = 256 << 20
"""Larger graphs are not read a second time."""

_MAX_LENGTH = 1 << 16
_MAX_ELEMENTS = 16  # of a constant that says a shape or a size
_MOST_LENGTHS, _MOST_TEXTS = 16, 3
_LENGTHS_BY_WEIGHT = {"MatMul": 0, "Gemm": 0, "Conv": 1, "LSTM": 2, "GRU": 2, "RNN": 2}
"""Operator -> the dimension of its weights that its input must have."""


def hints(graph: bytes) -> Hints:
    """What the constants of all graphs in a model suggest, the most frequent first."""
    if len(graph) > MAX_GRAPH_BYTES:
        return Hints()
    try:
        model = onnx.load_from_string(graph)
    except DecodeError:  # onnxruntime took it; these are only hints
        return Hints()
    lengths: Counter[int] = Counter()
    texts: Counter[str] = Counter()
    for part in _graphs(model.graph):
        lengths.update(number for number in _lengths(part) if 1 < number <= _MAX_LENGTH)
        texts.update(_texts(part))
    return Hints(
        tuple(number for number, _ in lengths.most_common(_MOST_LENGTHS)),
        tuple(text for text, _ in texts.most_common(_MOST_TEXTS)),
    )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _lengths(graph: onnx.GraphProto) -> Iterator[int]:
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    for tensor in _constants(graph):
        if tensor.data_type in {onnx.TensorProto.INT32, onnx.TensorProto.INT64} and not tensor.external_data:
            count = int(numpy_helper.to_array(tensor).size) if len(tensor.dims) < 2 else _MAX_ELEMENTS + 1
            if count <= _MAX_ELEMENTS:
                yield from numpy_helper.to_array(tensor).reshape(-1).tolist()
    for node in graph.node:
        axis = _LENGTHS_BY_WEIGHT.get(node.op_type)
        shape = shapes.get(node.input[1], ()) if axis is not None and len(node.input) > 1 else ()
        if axis is not None and len(shape) > axis:
            yield int(shape[axis])


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _texts(graph: onnx.GraphProto) -> Iterator[str]:
    """Of what maps text to numbers: the keys of encoders, the terms of vectorizers."""
    for tensor in _constants(graph):
        if tensor.data_type == onnx.TensorProto.STRING:
            yield from (text.decode("utf-8", "replace") for text in tensor.string_data[:_MOST_TEXTS])
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in {"keys_strings", "cats_strings", "pool_strings"}:
                yield from (text.decode("utf-8", "replace") for text in attribute.strings[:_MOST_TEXTS])
