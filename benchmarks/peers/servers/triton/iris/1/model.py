"""Triton's Python backend: a batch of requests is run as one."""

import os
import sys

sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)  # the stub does not look there by itself

import iris  # noqa: E402
import numpy as np  # noqa: E402
import triton_python_backend_utils as utils  # noqa: E402


class TritonPythonModel:
    """The model."""

    def execute(self, requests: list) -> list:
        """Features [n, 4] of each request -> label [n] and probabilities [n, 3] of each."""
        rows = [utils.get_input_tensor_by_name(request, "features").as_numpy() for request in requests]
        labels, probabilities = iris.run(np.concatenate(rows) if len(rows) > 1 else rows[0])
        responses, start = [], 0
        for part in rows:
            end = start + len(part)
            outputs = [
                utils.Tensor("label", labels[start:end]),
                utils.Tensor("probabilities", probabilities[start:end]),
            ]
            responses.append(utils.InferenceResponse(outputs))
            start = end
        return responses
