"""KServe's V1 protocol: `instances` -> a request of V2, and its answer -> `predictions`. Pure.

Law: a row is asked and answered exactly as V2 would have it: the same tensors by the same rules, the same
digits in the answer. A request has one row or more, an answer as many as its request, in their order.
Members other than `instances` are let through unread.

A row is an object with a value for each input; of a model with one input that has to be given it may be that
value alone. So it is with predictions: objects, or of a model with one output its values alone.
Source: KServe's docs, V1 protocol; the row format of TensorFlow Serving's REST API.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import orjson

from serving.errors import BadGateway, InvalidInput, Unsupported
from serving.wire.bf16 import BF16, widened
from serving.wire.protocol import Body, decode_response, parse_object
from serving.wire.tensors import (
    Array,
    Signature,
    TensorSpec,
    count_elements,
    datatype_of,
    from_json,
    shown,
    to_bytes,
)

_NUMPY = orjson.OPT_SERIALIZE_NUMPY


class Asked(NamedTuple):
    """A request of V2 for rows.

    Args:
        body: of it, with binary tensors.
        json_length: how many bytes of it are JSON.
        rows: how many there are.
    """

    body: bytes
    json_length: int
    rows: int


def read_instances(body: Body, signature: Signature) -> Asked:
    """The request of V2 that asks for the same.

    Args:
        body: of the request, not compressed.
        signature: of the model.

    Raises:
        InvalidInput: it is none for this model; names the place.
        Unsupported: the model does not take or give rows.
    """
    instances = parse_object(body).get("instances")
    if type(instances) is not list or not instances:
        raise InvalidInput("'instances' must be a list of one row or more")
    _expect_rows(signature, len(instances))
    tensors, buffers = [], []
    for spec, rows in _columns(instances, signature):
        try:
            array = _tensor(rows, spec)
        except InvalidInput as error:
            raise InvalidInput(f"'instances': {error}") from None
        data = to_bytes(array)
        buffers.append(data)
        size = {"binary_data_size": data.nbytes}
        shape = array.shape
        tensors.append({"name": spec.name, "datatype": spec.datatype, "shape": shape, "parameters": size})
    head = orjson.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}})
    return Asked(b"".join((head, *buffers)), len(head), len(instances))


def _expect_rows(signature: Signature, rows: int) -> None:
    for spec in (*signature.inputs, *signature.outputs):
        if spec.shape is not None and spec.shape[:1] not in {(-1,), (rows,)}:
            shape = list(spec.shape)
            raise Unsupported(
                f"{shown(spec.name)}: the shape {shape} has no place for {rows} rows; ask by V2"
            )


def _columns(instances: list[Any], signature: Signature) -> list[tuple[TensorSpec, list[Any]]]:
    """The values of each input, row by row."""
    needed = [spec for spec in signature.inputs if not spec.optional]
    first = instances[0]
    if type(first) is not dict:
        if len(needed) != 1:
            raise InvalidInput(f"instances[0] must be an object with {_listed(needed)}, got {shown(first)}")
        return [(needed[0], instances)]
    for name in first:
        if name not in signature.input_by_name:
            raise InvalidInput(f"instances[0] has {shown(name)}, the model takes {_listed(signature.inputs)}")
    if lacking := [spec for spec in needed if spec.name not in first]:
        raise InvalidInput(f"instances[0] lacks {_listed(lacking)}")
    for number, row in enumerate(instances):
        if type(row) is not dict or row.keys() != first.keys():
            same = f"the same inputs as the first one: {_listed(first)}"
            raise InvalidInput(f"instances[{number}] must have {same}")
    return [(signature.input_by_name[name], [row[name] for row in instances]) for name in first]


def _listed(named: Sequence[TensorSpec] | dict[str, Any]) -> str:
    names = named if isinstance(named, dict) else [spec.name for spec in named]
    return ", ".join(map(shown, names)) or "nothing"


def _tensor(rows: list[Any], spec: TensorSpec) -> Array:
    """The rows as one tensor; single values are rows of one element where the model takes those."""
    shape = [len(rows)]
    value = rows[0]
    while type(value) is list:
        shape.append(len(value))
        value = value[0] if value else None
    if len(shape) == 1 and spec.shape is not None and len(spec.shape) == 2 and spec.shape[1] == 1:
        shape.append(1)
    return from_json(rows, spec, shape, count_elements(shape, spec))


# ---------------------------------------------------------------------- answers


def write_predictions(body: Body, json_length: int | None, rows: int) -> bytes:
    """The answer of V1.

    Args:
        body: of the answer of V2.
        json_length: how many bytes of it are JSON; None for all.
        rows: how many were asked for.

    Raises:
        BadGateway: it is no answer, or not one for each row.
    """
    outputs = decode_response(body, json_length).outputs
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise BadGateway(f"output {shown(name)} has the shape {list(array.shape)} for {rows} instances")
    columns = {name: _written(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        [values] = columns.values()
        return orjson.dumps({"predictions": values}, option=_NUMPY)
    predictions = [{name: values[row] for name, values in columns.items()} for row in range(rows)]
    return orjson.dumps({"predictions": predictions}, option=_NUMPY)


def _written(name: str, array: Array) -> Any:
    """What orjson writes of a tensor, with the digits that its own precision needs."""
    if array.dtype == BF16:
        array = widened(array)
    if array.dtype.kind == "f" and np.isinf(floats := cast("npt.NDArray[np.floating[Any]]", array)).any():
        return _with_infinities(floats)
    if datatype_of(array) == "BYTES":
        if any(isinstance(element, bytes) for element in array.flat):
            raise BadGateway(f"output {shown(name)} has an element that is not UTF-8, which JSON cannot hold")
        return array.tolist()
    return array


def _with_infinities(array: "npt.NDArray[np.floating[Any]]") -> Any:
    """As lists, in which infinities are the texts that stand for them."""
    flat = array.ravel()
    elements = np.empty(flat.size, np.object_)
    elements[:] = list(flat)  # numpy's own numbers, not Python's, for their digits
    infinite = np.isinf(flat)
    negative = np.signbit(flat)
    elements[infinite & ~negative] = "Infinity"
    elements[infinite & negative] = "-Infinity"
    return elements.reshape(array.shape).tolist()
