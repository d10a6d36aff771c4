"""The messages of `oip.proto`, in a pool of their own, as others define the same names."""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "inference.GRPCInferenceService"


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    compiled = (Path(__file__).parent / "oip.desc").read_bytes()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.Add(file)
    return pool


POOL = _pool()


@cache
def message(name: str) -> Any:
    """The class of a message of the protocol, by its name there."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))


def methods() -> list[Any]:
    """The descriptors of what the service offers."""
    return list(POOL.FindServiceByName(SERVICE).methods)
