"""What is sent: a user's own requests, held-out rows of the repository, or values made from the metadata."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from serving.errors import InvalidInput

ROWS = 256
_WHOLE = {"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"}


def from_file(path: Path) -> list[bytes]:
    """Requests in Open Inference Protocol JSON, one or one a line.

    Raises:
        InvalidInput: a line is no request; names it.
    """
    text = path.read_bytes()
    try:
        whole = orjson.loads(text)
        lines = [text] if isinstance(whole, dict) else []
    except orjson.JSONDecodeError:
        lines = text.splitlines()
    bodies = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                request = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"{path.name}:{number}: not JSON: {error}") from None
            if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
                raise InvalidInput(
                    f"{path.name}:{number}: not an inference request: it has no list of inputs"
                )
            bodies.append(line.strip())
    if not bodies:
        raise InvalidInput(f"{path.name}: no request in it")
    return bodies


def from_heldout(path: Path, metadata: Mapping[str, Any]) -> list[bytes]:
    """Single rows of a `heldout.npz` with `inputs` of shape [rows, ...], for a model with one input.

    Raises:
        InvalidInput: the file does not fit the model.
    """
    inputs = metadata["inputs"]
    with np.load(path) as held_out:
        rows = held_out["inputs"]
    if len(inputs) != 1 or list(rows.shape[1:]) != list(inputs[0]["shape"][1:]):
        raise InvalidInput(f"{path.name}: rows of shape {list(rows.shape[1:])} do not fit the model's inputs")
    return [_body([(inputs[0], row[None].ravel().tolist(), [1, *row.shape])]) for row in rows[:ROWS]]


def made_up(metadata: Mapping[str, Any], random: np.random.Generator) -> list[bytes]:
    """Random requests of the model's shapes; an open dimension is 1, text is `text`."""
    bodies = []
    for _ in range(16):
        tensors = []
        for tensor in metadata["inputs"]:
            shape = [size if size > 0 else 1 for size in tensor["shape"]]
            if tensor.get("optional"):
                continue
            tensors.append((tensor, _values(tensor["datatype"], int(np.prod(shape)), random), shape))
        bodies.append(_body(tensors))
    return bodies


def _values(datatype: str, count: int, random: np.random.Generator) -> list[Any]:
    if datatype == "BOOL":
        return [bool(bit) for bit in random.integers(0, 2, count)]
    if datatype == "BYTES":
        return ["text"] * count
    if datatype in _WHOLE:
        return [int(value) for value in random.integers(0, 10, count)]
    return [round(float(value), 4) for value in random.normal(size=count)]


def _body(tensors: Sequence[tuple[Mapping[str, Any], list[Any], list[int]]]) -> bytes:
    inputs = [
        {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": data}
        for tensor, data, shape in tensors
    ]
    return orjson.dumps({"inputs": inputs})


def metadata_of(url: str, model: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The model's metadata, as the server gives it.

    Raises:
        InvalidInput: the server has no such model, or does not answer.
    """
    try:
        answer = httpx.get(f"{url}/v2/models/{model}", headers=list(headers), timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        raise InvalidInput(f"{url} does not answer: {error}") from None
    if answer.status_code != 200:
        raise InvalidInput(f"{url} has no model {model!r}: status {answer.status_code}")
    return dict(answer.json())
