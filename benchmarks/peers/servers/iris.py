"""The model as every Python server here runs it: one onnxruntime session with one thread."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import numpy as np
import onnxruntime

OUTPUTS = ["label", "probabilities"]
DATATYPES = {"label": "INT64", "probabilities": "FP32"}
_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_options.inter_op_num_threads = 1
_session = onnxruntime.InferenceSession(
    os.environ["IRIS_MODEL"], _options, providers=["CPUExecutionProvider"]
)


def run(rows: object) -> list[np.ndarray]:
    """Features [n, 4] -> label INT64 [n] and probabilities FP32 [n, 3]."""
    features = np.asarray(rows, dtype=np.float32).reshape(-1, 4)
    return list(_session.run(OUTPUTS, {"features": features}))


def answer(rows: object) -> dict[str, list]:
    """The same in plain lists, for servers that have a JSON of their own."""
    return dict(zip(OUTPUTS, (output.tolist() for output in run(rows)), strict=True))
