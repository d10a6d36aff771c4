"""Our protocol and our model, and nothing else: what routing, counting and metrics are added to.

`python benchmarks/speed/bare.py PORT` answers `/v2/models/iris/infer` by `serving.http.connection`,
`serving.wire.remembered_json`, `serving.models.session.onnx_model` and `serving.wire.protocol`, under
uvicorn's server as a worker does; requests of one turn of the event loop share a run there too. Nothing is
counted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from serving.http.connection import protocol_of
from serving.http.endpoint import Limits
from serving.models.batches import run_joined
from serving.models.files.repository import Repository
from serving.models.session.onnx_model import OnnxModel
from serving.wire.handler import Unconcerned
from serving.wire.message import Call, Reply
from serving.wire.protocol import ResponseEncoder
from serving.wire.remembered_json import RequestDecoder

MODEL = OnnxModel.load(Repository(Path("models")).find("iris", "1"), threads=1)
DECODER = RequestDecoder(MODEL.signature)
ENCODER = ResponseEncoder("iris", "1", MODEL.signature)
NAMES = tuple(spec.name for spec in MODEL.signature.outputs)


class Infer(Unconcerned):
    """Answers one request, or several of one row each."""

    joins = True

    def one(self, call: Call) -> Reply:
        """Run once."""
        request = DECODER.decode(call.body, call.json_length)
        outputs = MODEL.run(request.inputs, request.outputs or NAMES)
        return Reply(200, *ENCODER.encode(request, outputs))

    def many(self, calls: Sequence[Call]) -> list[Reply]:
        """Run once for all."""
        requests = [DECODER.decode(call.body, call.json_length) for call in calls]
        parts = run_joined(MODEL.run, [request.inputs for request in requests], NAMES)
        assert parts is not None
        return [
            Reply(200, *ENCODER.encode(request, outputs))
            for request, outputs in zip(requests, parts, strict=True)
        ]


class Endpoint:
    """One path, no gate."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.draining = False
        self.gate = None
        self.paths = {b"/v2/models/iris/infer": Infer()}


async def nothing_else(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """The ASGI application, to which no request comes."""
    raise NotImplementedError


uvicorn.run(
    nothing_else,
    http=protocol_of(Endpoint()),
    loop="uvloop",
    ws="none",
    lifespan="off",
    port=int(sys.argv[1]),
    log_level="error",
)
