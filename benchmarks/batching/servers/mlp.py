"""The model as the peers' Python parts run it: one onnxruntime session with one thread."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import numpy as np
import onnxruntime

_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_options.inter_op_num_threads = 1
_session = onnxruntime.InferenceSession(os.environ["MLP_MODEL"], _options, providers=["CPUExecutionProvider"])


def run(rows: np.ndarray) -> np.ndarray:
    """FP32 [n, 768] -> FP32 [n, 1000]."""
    return _session.run(["y"], {"x": rows})[0]
