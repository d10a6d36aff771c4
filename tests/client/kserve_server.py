"""`python kserve_server.py PORT`: KServe's own model server, with a model that doubles its input."""

import sys

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Twice(Model):
    """y = 2 x."""

    def __init__(self) -> None:
        super().__init__("twice")
        self.ready = True

    async def get_input_types(self) -> list[dict]:
        """Of the metadata."""
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]

    async def get_output_types(self) -> list[dict]:
        """Of the metadata."""
        return [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]

    def predict(self, payload: InferRequest, *_, **__) -> InferResponse:
        """Answer in binary where that is asked for."""
        [x] = payload.inputs
        y = InferOutput("y", list(x.shape), "FP32")
        binary = bool((payload.parameters or {}).get("binary_data_output"))
        y.set_data_from_numpy(x.as_numpy() * 2, binary_data=binary)
        return InferResponse(payload.id or "none", "twice", [y])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([Twice()])
