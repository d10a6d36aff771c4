"""What a server says of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy_client.errors import InvalidAnswer
from understudy_client.wire.tensors import WIRE


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as the model calls it.
        datatype: of the Open Inference Protocol: INT64, FP32, BYTES ...
        shape: lengths of the dimensions, -1 for one that varies; None where any rank is taken.
        optional: an input that may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None
    optional: bool = False

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else list(self.shape)
        return f"{self.name!r} {self.datatype} {shape}" + (" (optional)" if self.optional else "")


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model as clients see it.

    Attributes:
        name: the public name.
        versions: that answer just now.
        platform: as the server calls it.
        inputs: in the model's order.
        outputs: in the model's order.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_metadata(found: Any) -> ModelMetadata:
    """The metadata of any server of the protocol.

    Raises:
        InvalidAnswer: it is none, or has a datatype that is not of the protocol.
    """
    try:
        versions = tuple(map(str, found.get("versions") or ()))
        inputs, outputs = (tuple(map(_spec, found[side])) for side in ("inputs", "outputs"))
        return ModelMetadata(str(found["name"]), versions, str(found.get("platform", "")), inputs, outputs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidAnswer(f"no metadata of a model: {error!r}") from None


def _spec(tensor: Mapping[str, Any]) -> TensorSpec:
    name, datatype = str(tensor["name"]), str(tensor["datatype"])
    if datatype not in WIRE:
        raise InvalidAnswer(f"{name!r}: the datatype {datatype!r} is not of the protocol")
    shape = None if tensor.get("any_rank") is True else tuple(int(length) for length in tensor["shape"])
    return TensorSpec(name, datatype, shape, tensor.get("optional") is True)
