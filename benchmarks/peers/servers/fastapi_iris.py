"""FastAPI with pydantic models of the protocol's JSON, under uvicorn: what one writes by hand in an hour."""

import iris
from fastapi import FastAPI
from pydantic import BaseModel


class Tensor(BaseModel):
    """A tensor of a request or an answer."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(BaseModel):
    """What is asked."""

    inputs: list[Tensor]


class Answer(BaseModel):
    """What is answered."""

    model_name: str
    outputs: list[Tensor]


app = FastAPI()


@app.post("/v2/models/iris/infer")
async def infer(request: Request) -> Answer:
    """Run the model on the event loop: it takes microseconds, a thread would cost more."""
    outputs = [
        Tensor(name=name, shape=output.shape, datatype=iris.DATATYPES[name], data=output.ravel())
        for name, output in zip(iris.OUTPUTS, iris.run(request.inputs[0].data), strict=True)
    ]
    return Answer(model_name="iris", outputs=outputs)
