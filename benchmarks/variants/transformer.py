"""A block of a transformer for 8x8 images: eight rows are the tokens, attention, a feed-forward part, a head.

Its projections are drawn at random, scaled as they usually begin, and stay so; the head, a logistic
regression on what the block makes of the training images, is learnt. So it has the shape and the arithmetic
of a trained block, and a right answer for most digits, without weeks of gradients.
"""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

TOKENS, WIDTH, HIDDEN, HEADS = 8, 128, 256, 4
OPSET, IR_VERSION = 17, 8
Singles = NDArray[np.float32]


def transformer(images: Singles, labels: NDArray[np.int64]) -> ModelProto:
    """A model of `pixels` FP32 [batch, 64] with `label` and `probabilities`.

    Args:
        images: [rows, 64], 0 to 16.
        labels: [rows], the class of each.
    """
    body = _model(None)
    session = ort.InferenceSession(body.SerializeToString())
    features = np.asarray(session.run(["features"], {"pixels": images})[0], np.float64)
    return _model(LogisticRegression(C=0.1, max_iter=2000).fit(features, labels))


def _model(head: LogisticRegression | None) -> ModelProto:
    constants, nodes = _block()
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", TOKENS * WIDTH])]
    if head is not None:
        constants |= {"head": head.coef_.T.astype(np.float32), "bias": head.intercept_.astype(np.float32)}
        nodes += [
            helper.make_node("Gemm", ["features", "head", "bias"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ]
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 8 * TOKENS])
    tensors = [
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "transformer", [pixels], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return model


def _block() -> tuple[dict[str, NDArray[np.generic]], list[object]]:
    """Constants and nodes from `pixels` to `features`, both parts with their residuals and norms."""
    rng, deep = np.random.default_rng(0), WIDTH // HEADS

    def drawn(rows: int, columns: int) -> Singles:
        return (rng.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)

    constants: dict[str, NDArray[np.generic]] = {
        "sixteenth": np.array(1 / 16, np.float32),
        "as_tokens": np.array([-1, TOKENS, 8], np.int64),
        "as_heads": np.array([-1, TOKENS, HEADS, deep], np.int64),
        "as_width": np.array([-1, TOKENS, WIDTH], np.int64),
        "scale": np.array(deep**-0.5, np.float32),
        "places": rng.standard_normal((TOKENS, WIDTH)).astype(np.float32),
        "embed": drawn(8, WIDTH),
        **{name: drawn(WIDTH, WIDTH) for name in ("query", "key", "value", "mix")},
        "up": drawn(WIDTH, HIDDEN),
        "down": drawn(HIDDEN, WIDTH),
        "ones": np.ones(WIDTH, np.float32),
    }
    steps: list[tuple[str, list[str], str, dict[str, object]]] = [
        ("Mul", ["pixels", "sixteenth"], "scaled", {}),
        ("Reshape", ["scaled", "as_tokens"], "rows", {}),
        ("MatMul", ["rows", "embed"], "embedded", {}),
        ("Add", ["embedded", "places"], "tokens", {}),
    ]
    for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        steps += [
            ("MatMul", ["tokens", name], f"{name}_flat", {}),
            ("Reshape", [f"{name}_flat", "as_heads"], f"{name}_split", {}),
            ("Transpose", [f"{name}_split"], f"{name}_heads", {"perm": order}),
        ]
    steps += [
        ("MatMul", ["query_heads", "key_heads"], "likeness", {}),
        ("Mul", ["likeness", "scale"], "likeness_scaled", {}),
        ("Softmax", ["likeness_scaled"], "attention", {"axis": -1}),
        ("MatMul", ["attention", "value_heads"], "seen", {}),
        ("Transpose", ["seen"], "seen_split", {"perm": [0, 2, 1, 3]}),
        ("Reshape", ["seen_split", "as_width"], "seen_flat", {}),
        ("MatMul", ["seen_flat", "mix"], "mixed", {}),
        ("Add", ["tokens", "mixed"], "attended", {}),
        ("LayerNormalization", ["attended", "ones"], "normed", {"axis": -1}),
        ("MatMul", ["normed", "up"], "wide", {}),
        ("Relu", ["wide"], "active", {}),
        ("MatMul", ["active", "down"], "narrow", {}),
        ("Add", ["normed", "narrow"], "summed", {}),
        ("LayerNormalization", ["summed", "ones"], "out", {"axis": -1}),
        ("Flatten", ["out"], "features", {}),
    ]
    return constants, [
        helper.make_node(kind, inputs, [name], **attributes) for kind, inputs, name, attributes in steps
    ]
