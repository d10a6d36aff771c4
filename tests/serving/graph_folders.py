"""Graphs of models for the tests: a scaler, a classifier, what is made of its scores; and their folders."""

import numpy as np
from graphs import FLOAT, INT64, STRING, graph, node, value
from onnx import TensorProto, helper

ML = "ai.onnx.ml"
DOCUMENT = """\
input: [features]
output: [label, risk]
step:
  - model_name: scaler
    model_version: 1
    input_map: {x: features}
    output_map: {y: scaled}
  - model_name: classifier
    model_version: 3
    input_map: {x: scaled}
    output_map: {label: label, scores: scores}
  - model_name: risk
    model_version: 1
    input_map: {scores: scores}
    output_map: {risk: risk}
"""


def scaler(offset=0.5, columns=4):
    shape = ["rows", columns]
    scale = [1.5 + place / 10 for place in range(columns)]
    return graph(
        [node("Scaler", ["x"], ["y"], domain=ML, offset=[offset] * columns, scale=scale)],
        [value("x", FLOAT, shape)],
        [value("y", FLOAT, shape)],
        domains=[ML],
    )


def classifier(columns=4, rows="N"):
    """x -> a label and scores, whose ZipMap names the classes, as converters end it."""
    weights = np.random.default_rng(1).normal(size=(3, columns)).astype("f4").ravel().tolist()
    labels = ["good", "odd", "fraud"]
    nodes = [
        node("LinearClassifier", ["x"], ["label", "raw"], domain=ML, coefficients=weights,
             intercepts=[0.1, 0.2, 0.3], classlabels_strings=labels, post_transform="SOFTMAX"),
        node("ZipMap", ["raw"], ["scores"], domain=ML, classlabels_strings=labels),
    ]  # fmt: skip
    folded = helper.make_map_type_proto(STRING, helper.make_tensor_type_proto(FLOAT, []))
    scores = helper.make_value_info("scores", helper.make_sequence_type_proto(folded))
    return graph(
        nodes,
        [value("x", FLOAT, [rows, columns])],
        [value("label", STRING, [rows]), scores],
        domains=[ML],
    )


def risk():
    """The last score, in percent."""
    nodes = [
        node("Slice", ["scores", "from", "to", "axis"], ["last"]),
        node("Mul", ["last", "hundred"], ["risk"]),
    ]
    constants = [("from", [2]), ("to", [3]), ("axis", [1]), ("hundred", np.array([100], "f4"))]
    constants = [(name, np.asarray(array)) for name, array in constants]
    return graph(
        nodes,
        [value("scores", FLOAT, ["batch", 3])],
        [value("risk", FLOAT, ["batch", 1])],
        constants,
    )


def above(limit=0.0, shape=(1,)):
    """Whether the sum of x is above a limit: one truth value for all rows."""
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "limit"], ["big"])]
    sides = [value("x", FLOAT, ["rows", 4])], [value("big", TensorProto.BOOL, [])]
    return graph(nodes, *sides, [("limit", np.array(limit, "f4"))])


MODELS = {"scaler/1": scaler(), "classifier/3": classifier(), "risk/1": risk()}


def put_graph(root, name, version, models=None, document=DOCUMENT, config=None):
    """Write a graph into a repository; its version folder."""
    folder = root / name / str(version)
    for place, content in (MODELS if models is None else models).items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "model.onnx").write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph.yaml").write_text(document)
    if config is not None:
        (root / name / "config.yaml").write_text(config)
    return folder


__all__ = ["DOCUMENT", "INT64", "MODELS", "above", "classifier", "put_graph", "risk", "scaler"]
