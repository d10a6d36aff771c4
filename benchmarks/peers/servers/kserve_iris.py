"""KServe's Python server, one process, without gRPC and without a log line a request."""

import uuid

import iris
import kserve
from kserve import InferOutput, InferRequest, InferResponse, logging, model_server


class Iris(kserve.Model):
    """The model."""

    def __init__(self) -> None:
        super().__init__("iris")
        self.ready = True

    async def predict(self, payload: InferRequest, *_: object, **__: object) -> InferResponse:
        """One request, on the event loop."""
        outputs = [
            InferOutput(
                name=name,
                shape=list(output.shape),
                datatype=iris.DATATYPES[name],
                data=output.ravel().tolist(),
            )
            for name, output in zip(iris.OUTPUTS, iris.run(payload.inputs[0].as_numpy()), strict=True)
        ]
        number = payload.id or str(uuid.uuid4())  # it answers 500 without one
        return InferResponse(response_id=number, model_name="iris", infer_outputs=outputs)


if __name__ == "__main__":
    arguments, _ = model_server.parser.parse_known_args()
    logging.trace_logger.disabled = True
    kserve.ModelServer(
        http_port=arguments.http_port, enable_grpc=False, workers=1, enable_latency_logging=False
    ).start([Iris()])
