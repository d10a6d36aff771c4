"""The flowers as a model of KServe's Python server, whose environment runs this file: python FILE PORT."""

import asyncio
import os
import sys
from uuid import uuid4

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

WEIGHTS = np.array([[2, 1, 0], [3, 1, 1], [-4, 1, 2], [-2, 0, 3]], np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])


class Flowers(Model):
    """Scores by weights, the label with the greatest, and its name."""

    def __init__(self) -> None:
        super().__init__("flowers")
        self.ready = True

    async def predict(self, payload: InferRequest, *_args: object, **_more: object) -> InferResponse:
        """Answer a request."""
        told = payload.parameters or {}
        await asyncio.sleep(float(told.get("sleep") or 0))
        if told.get("fail"):
            raise RuntimeError("this model was asked to fail")
        scores = payload.inputs[0].as_numpy() @ WEIGHTS
        labels = (scores.argmax(1) + bool(os.environ.get("FLOWERS_WRONG"))) % 3
        outputs = [
            InferOutput("label", [len(labels)], "INT64", labels.tolist()),
            InferOutput("scores", list(scores.shape), "FP32", scores.ravel().tolist()),
            InferOutput("name", [len(labels)], "BYTES", NAMES[labels].tolist()),
        ]
        return InferResponse(payload.id or str(uuid4()), "flowers", outputs)


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([Flowers()])
