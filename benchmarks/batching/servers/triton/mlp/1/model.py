"""Triton's Python backend: a batch of requests is run as one."""

import os
import sys

sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)  # the stub does not look there by itself

import mlp  # noqa: E402
import numpy as np  # noqa: E402
import triton_python_backend_utils as utils  # noqa: E402


class TritonPythonModel:
    """The model."""

    def execute(self, requests: list) -> list:
        """The x [n, 768] of each request -> the y [n, 1000] of each."""
        rows = [utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        answers = mlp.run(np.concatenate(rows) if len(rows) > 1 else rows[0])
        responses, start = [], 0
        for part in rows:
            end = start + len(part)
            responses.append(utils.InferenceResponse([utils.Tensor("y", answers[start:end])]))
            start = end
        return responses
