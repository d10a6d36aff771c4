"""Hold a model file against the held-out rows: signature, answers, score and time."""

import hashlib
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from recipes import Rows

TOLERANCE = 1e-3  # absolute and relative: another processor rounds the last bits of a sum otherwise
BESIDE_A_LABEL = 0.1
"""Of probabilities: a network that was trained on another processor ends a little elsewhere; its labels must not."""
_RUNS = 300


@dataclass(frozen=True, slots=True)
class Judged:
    """What can be said of one `model.onnx`.

    `outputs` are the answers to all held-out rows by output name; `score` is the accuracy of a classifier
    or the R squared of a regression; `digest` is the file's SHA-256 in hexadecimal, and
    `built_with` the packages and kernels that its bytes depend on.
    """

    signature: tuple[str, ...]
    built_with: frozenset[str]
    outputs: dict[str, NDArray[np.float32] | NDArray[np.int64]]
    score: float
    digest: str

    @property
    def answers(self) -> NDArray[np.float32] | NDArray[np.int64]:
        """The label or prediction for each row, [rows]."""
        return next(iter(self.outputs.values())).ravel()

    def agreement(self, other: "Judged") -> float:
        """The share of held-out rows, 0 to 1, to which another classifier gives the same label."""
        return float(np.mean(self.answers == other.answers))


def judge(path: Path, rows: Rows) -> Judged:
    """Run a model on all rows at once, with one thread.

    Raises:
        Exception: onnxruntime's own, when the file is missing or cannot be run.
    """
    session = _open(path)
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {session.get_inputs()[0].name: rows.inputs}), strict=True))
    answers, targets = outputs[names[0]].ravel(), rows.targets
    if np.issubdtype(targets.dtype, np.integer):
        score = np.mean(answers == targets)
    else:
        score = 1 - np.sum((targets - answers) ** 2) / np.sum((targets - targets.mean()) ** 2)
    return Judged(
        tuple(
            f"{value.name} {value.type} {value.shape}"
            for value in (*session.get_inputs(), *session.get_outputs())
        ),
        frozenset(session.get_modelmeta().custom_metadata_map.get("built_with", "").split(", ")),
        outputs,
        float(score),
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def differences(committed: Judged, rebuilt: Judged) -> list[str]:
    """How a rebuilt model differs from the committed one in what a client sees; empty when it does not."""
    found = []
    if committed.signature != rebuilt.signature:
        found.append(f"signature: {committed.signature} committed, {rebuilt.signature} rebuilt")
    if abs(committed.score - rebuilt.score) > 1e-6:
        found.append(f"score: {committed.score:.4f} committed, {rebuilt.score:.4f} rebuilt")
    for name in committed.outputs.keys() & rebuilt.outputs.keys():
        ours, theirs = committed.outputs[name], rebuilt.outputs[name]
        if ours.shape != theirs.shape:
            continue  # the signature has said so
        exact = np.issubdtype(ours.dtype, np.integer)
        tolerance = BESIDE_A_LABEL if "label" in committed.outputs else TOLERANCE
        same = ours == theirs if exact else np.isclose(ours, theirs, tolerance, tolerance)
        if not same.all():
            found.append(f"{name}: {np.sum(~same.reshape(len(same), -1).all(axis=1))} of {len(same)} rows")
    return found


def microseconds(path: Path, rows: Rows, batch: int) -> float:
    """The median time of a run of the first `batch` rows, with one thread."""
    session = _open(path)
    feeds = {session.get_inputs()[0].name: rows.inputs[:batch]}
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter_ns()
        session.run(None, feeds)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def _open(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
