"""Questions of known answer: rows of iris, and what onnxruntime itself makes of them."""

import json
import math
import os
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import numpy as np

from benchmarks.tools.bench import ROOT

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import onnxruntime

MODEL = ROOT / "models" / "iris" / "1" / "model.onnx"
ROWS = ROOT / "models" / "iris" / "heldout.npz"
TYPICAL = [5.1, 3.5, 1.4, 0.2]
"""The row that every load sends."""

TOLERANCE = 1e-5
AT_ONCE = 16


class WrongAnswerError(Exception):
    """What a server answered is not what the model says."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One row and its answer.

    Attributes:
        row: four floats.
        label, probabilities: as onnxruntime gives them.
    """

    row: list[float]
    label: int
    probabilities: list[float]


def expected() -> list[Expected]:
    """The typical row and the held-out ones of the repository."""
    with np.load(ROWS) as file:
        rows = np.concatenate([np.array([TYPICAL], np.float32), file["inputs"].astype(np.float32)])
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(["label", "probabilities"], {"features": rows})
    found = zip(rows.tolist(), labels.tolist(), probabilities.tolist(), strict=True)
    return [Expected(*one) for one in found]


def body(row: Sequence[float], *, oip: bool) -> bytes:
    """The request: Open Inference Protocol, or `{"features": [[...]]}` where a server has its own JSON."""
    if not oip:
        return json.dumps({"features": [list(row)]}).encode()
    tensor = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": list(row)}
    return json.dumps({"inputs": [tensor]}).encode()


def outputs(answer: Any, *, oip: bool) -> dict[str, list[float]]:
    """Flat values by output name, of a parsed answer in either JSON.

    Raises:
        WrongAnswerError: it has another form.
    """
    try:
        named = {output["name"]: output["data"] for output in answer["outputs"]} if oip else answer
        return {name: np.asarray(named[name], float).ravel().tolist() for name in ("label", "probabilities")}
    except (KeyError, TypeError, ValueError) as error:
        raise WrongAnswerError(f"not an answer: {str(answer)[:200]} ({error!r})") from None


def compare(found: dict[str, list[float]], right: Expected) -> None:
    """Raises WrongAnswerError unless label and probabilities are the model's."""
    near = len(found["probabilities"]) == len(right.probabilities) and all(
        math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        for one, other in zip(found["probabilities"], right.probabilities, strict=True)
    )
    if found["label"] != [right.label] or not near:
        raise WrongAnswerError(f"asked {right.row}, answered {found}, right is {right}")


def ask(url: str, right: Expected, *, oip: bool) -> None:
    """Ask for one row and compare.

    Raises:
        WrongAnswerError: the answer is not the model's.
        OSError: no connection, or another status than 200.
    """
    request = urllib.request.Request(url, body(right.row, oip=oip), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
    except HTTPException as error:
        raise OSError(f"broken answer: {error!r}") from None
    try:
        parsed = json.loads(text)
    except ValueError:
        raise WrongAnswerError(f"not JSON: {text[:200]!r}") from None
    compare(outputs(parsed, oip=oip), right)


def ask_all(url: str, rows: Sequence[Expected], *, oip: bool) -> None:
    """Ask for all rows, several at once: a server that batches must not mix them up."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda right: ask(url, right, oip=oip), rows))
