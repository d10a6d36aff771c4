"""The floor: the least a Python server can do for an iris request. No features, no checks, no metrics.

A bare asyncio protocol on httptools under uvloop; orjson in, onnxruntime, orjson out.
`python benchmarks/speed/floor.py PORT`
"""

import asyncio
import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import httptools
import numpy as np
import onnxruntime
import orjson
import uvloop

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("models/iris/1/model.onnx", options)
run = session._sess.run  # noqa: SLF001  (the floor takes every short cut)
NAMES = ["label", "probabilities"]


class Floor(asyncio.Protocol):
    """Answers every message with the model's outputs."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to parse."""
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Take the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Run the model and answer."""
        tensor = orjson.loads(self.body)["inputs"][0]
        self.body = b""
        features = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        label, probabilities = run(NAMES, {"features": features}, None)
        answer = orjson.dumps(
            {
                "model_name": "iris",
                "outputs": [
                    {"name": "label", "datatype": "INT64", "shape": label.shape, "data": label},
                    {
                        "name": "probabilities",
                        "datatype": "FP32",
                        "shape": probabilities.shape,
                        "data": probabilities,
                    },
                ],
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
            answer
        )
        self.transport.write(head + answer)


async def main() -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Floor, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


uvloop.run(main())
