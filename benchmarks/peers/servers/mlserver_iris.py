"""MLServer's custom runtime, in the server's own process (`parallel_workers: 0`)."""

import iris
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Iris(MLModel):
    """The model."""

    async def load(self) -> bool:
        """Loaded with the module."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One request."""
        outputs = [
            ResponseOutput(
                name=name,
                shape=list(output.shape),
                datatype=iris.DATATYPES[name],
                data=output.ravel().tolist(),
            )
            for name, output in zip(iris.OUTPUTS, iris.run(payload.inputs[0].data.root), strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
