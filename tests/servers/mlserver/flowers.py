"""The flowers as a model of MLServer, whose environment runs this file.

Parameters of a request may ask it to `sleep` (seconds) or to `fail`; `FLOWERS_WRONG` makes every label wrong.
"""

import asyncio
import os

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

WEIGHTS = np.array([[2, 1, 0], [3, 1, 1], [-4, 1, 2], [-2, 0, 3]], np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])


class Flowers(MLModel):
    """Scores by weights, the label with the greatest, and its name."""

    async def load(self) -> bool:
        """Nothing is to be loaded."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a request."""
        told = {} if payload.parameters is None else payload.parameters.model_dump()
        await asyncio.sleep(float(told.get("sleep") or 0))
        if told.get("fail"):
            raise RuntimeError("this model was asked to fail")
        [features] = payload.inputs
        scores = np.array(features.data.root, np.float32).reshape(features.shape) @ WEIGHTS
        labels = (scores.argmax(1) + bool(os.environ.get("FLOWERS_WRONG"))) % 3
        outputs = [
            ResponseOutput(name="label", datatype="INT64", shape=[len(labels)], data=labels.tolist()),
            ResponseOutput(
                name="scores", datatype="FP32", shape=list(scores.shape), data=scores.ravel().tolist()
            ),
            ResponseOutput(name="name", datatype="BYTES", shape=[len(labels)], data=NAMES[labels].tolist()),
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
