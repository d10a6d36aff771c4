"""What stands behind the proxies: three doors of one process that answer at once and count what came.

A bare asyncio protocol on httptools under uvloop, as in floor.py; the answer is made once, by the model,
at the start, since the proxies are measured and not the model. Beside inference it answers what a router
asks a target before it trusts it, and `GET /counts`.

`python -m benchmarks.proxies.backend STABLE_PORT CANARY_PORT MIRROR_PORT`
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

DOORS = ("stable", "canary", "mirror")
METADATA = {
    "name": "iris",
    "platform": "onnxruntime_onnx",
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ],
}


def wire(body: bytes) -> bytes:
    """A whole reply."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def answer() -> bytes:
    """The reply to the one request that the benchmark sends (bench.IRIS)."""
    session = onnxruntime.InferenceSession("models/iris/1/model.onnx")
    features = np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)
    names = [output["name"] for output in METADATA["outputs"]]  # type: ignore[index]
    outputs = [
        {"name": output["name"], "datatype": output["datatype"], "shape": value.shape, "data": value.ravel()}  # type: ignore[index]
        for output, value in zip(METADATA["outputs"], session.run(names, {"features": features}), strict=True)
    ]
    document = {"model_name": "iris", "outputs": outputs}
    return wire(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))


class Backend(asyncio.Protocol):
    """One connection to one door."""

    reply = b""
    counts = dict.fromkeys(DOORS, 0)

    def __init__(self, door: str) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to parse."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Take the path."""
        self._url = url

    def on_message_complete(self) -> None:
        """Answer by method and path."""
        if self._parser.get_method() == b"POST":
            self.counts[self._door] += 1
            self._transport.write(self.reply)  # type: ignore[attr-defined]
            return
        found = self.counts if self._url == b"/counts" else METADATA
        self._transport.write(wire(orjson.dumps(found)))  # type: ignore[attr-defined]


async def main() -> None:
    """Serve for ever."""
    Backend.reply = answer()
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda door=door: Backend(door), "127.0.0.1", int(port))  # type: ignore[misc]
        for door, port in zip(DOORS, sys.argv[1:], strict=True)
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(main())
