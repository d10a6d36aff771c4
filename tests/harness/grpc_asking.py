"""Calls of gRPC as bytes, without any client's care for what it sends."""

import struct
from pathlib import Path
from typing import Any

import grpc

from harness.system import Up, children
from serving.grpc.messages import SERVICE, message
from serving.wire.protobuf import varint

INFER, STREAM = f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer"
ROW = struct.pack("<4f", 5.1, 3.5, 1.4, 0.2)
OWN: list[tuple[str, Any]] = [
    ("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1),
]  # fmt: skip
"""A connection of its own, which sends messages of any size."""


def asking(*raw: bytes, shape: tuple[int, ...] = (1, 4), datatype: str = "FP32", **members: Any) -> Any:
    """A request for iris, with so many raw tensors."""
    said = message("ModelInferRequest")(**{"model_name": "iris", **members})
    said.inputs.add(name="features", datatype=datatype, shape=shape)
    said.raw_input_contents.extend(raw)
    return said


PLAIN: bytes = asking(ROW).SerializeToString()


def field(number: int, data: bytes) -> bytes:
    """A field with a length, as protobuf writes it."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def answer(channel: grpc.Channel, data: bytes, path: str = INFER, **options: Any) -> tuple[str, str]:
    """The name of the code of an answer, and its words."""
    try:
        channel.unary_unary(path)(data, timeout=60, **options)
    except grpc.RpcError as failure:
        return failure.code().name, failure.details()
    return "OK", ""


def workers(up: Up) -> dict[int, int]:
    """The processes that answer over gRPC, and their resident bytes."""
    pids = children(up.process.popen.pid, "router.grpc_worker")
    return {pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids}
