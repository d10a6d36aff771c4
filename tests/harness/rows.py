"""Real rows to send, and what the models themselves say to them."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import orjson

from harness.system import MODELS

DIGITS = "/v2/models/digits/infer"


@cache
def digits() -> npt.NDArray[np.float32]:
    """Held-out digits, [rows, 64]."""
    return np.asarray(np.load(MODELS / "digits" / "heldout.npz")["inputs"], np.float32)


def body_of(rows: npt.NDArray[np.float32], **further: Any) -> bytes:
    """An inference request in JSON."""
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    return orjson.dumps({"inputs": [tensor], **further})


@cache
def body(number: int) -> bytes:
    """The request for one held-out digit."""
    return body_of(digits()[number % len(digits()) :][:1])


@cache
def outputs_of(target: str) -> dict[str, npt.NDArray[Any]]:
    """What onnxruntime gives for each held-out digit, asked one at a time as the requests are."""
    session = ort.InferenceSession(MODELS / target / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = [session.run(names, {"pixels": row[None]}) for row in digits()]
    return {name: np.concatenate([answer[i] for answer in answers]) for i, name in enumerate(names)}


def plain(number: int) -> tuple[dict[str, str], bytes]:
    """For `harness.load.Load`: a digit without a key."""
    return {"content-type": "application/json"}, body(number)
