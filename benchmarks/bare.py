"""Our protocol and our model, and nothing else: what routing, counting and metrics are added to.

`python benchmarks/bare.py PORT` answers `/v2/models/iris/infer` by `serving.http`, `serving.decoder`,
`serving.model` and `serving.protocol`, under uvicorn's server as a worker does; nothing is counted.
"""

import sys
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from serving.decoder import RequestDecoder
from serving.http import Limits, fast_protocol
from serving.message import Call, Reply
from serving.model import Model
from serving.protocol import ResponseEncoder
from serving.repository import Repository

MODEL = Model.load(Repository(Path("models")).find("iris", "1"), threads=1)
DECODER = RequestDecoder(MODEL.signature)
ENCODER = ResponseEncoder("iris", "1", MODEL.signature)
NAMES = tuple(spec.name for spec in MODEL.signature.outputs)


def infer(call: Call) -> Reply:
    """Answer one request."""
    request = DECODER.decode(call.body, call.json_length)
    outputs = MODEL.run(request.inputs, request.outputs or NAMES)
    return Reply(200, *ENCODER.encode(request, outputs))


class Endpoint:
    """One path, no gate."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.draining = False
        self.gate = None
        self.paths = {b"/v2/models/iris/infer": infer}


async def nothing_else(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """The ASGI application, to which no request comes."""
    raise NotImplementedError


uvicorn.run(
    nothing_else,
    http=fast_protocol(Endpoint()),
    loop="uvloop",
    ws="none",
    lifespan="off",
    port=int(sys.argv[1]),
    log_level="error",
)
