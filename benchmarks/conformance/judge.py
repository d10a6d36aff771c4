"""Whether answers are right, and whose fault it is where there is none. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.conformance.cases import Case

RIGHT = "right"
WRONG = "wrong"
REFUSED_DATA = "refused, onnxruntime answers"
REFUSED_MODEL = "not loaded, onnxruntime loads it"
LACKS_TYPE = "not loaded, the protocol lacks a type"
ALONE_REFUSES_MODEL = "not loaded, nor by onnxruntime"
ALONE_REFUSES_DATA = "refused, as onnxruntime does"
EXCESS = "answered, onnxruntime refuses"
NOT_IN_JSON = "binary only by the protocol"

OURS = frozenset({WRONG, REFUSED_DATA, REFUSED_MODEL, EXCESS})
"""Outcomes that are faults of ours."""


@dataclass(frozen=True, slots=True)
class Alone:
    """What onnxruntime itself made of a case.

    Attributes:
        refusal: why it could not be loaded; empty if it could.
        failures: by data set, why it could not be run; empty where it could.
        outputs: by data set, the outputs by name in the model's order; empty where there are none.
        random: a second session gave other outputs for the same input.
    """

    refusal: str = ""
    failures: tuple[str, ...] = ()
    outputs: tuple[dict[str, np.ndarray], ...] = ()
    random: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got for one data set: outputs by name, or the status and text of an error."""

    outputs: dict[str, np.ndarray]
    error: str = ""
    unsendable: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a case at the server: why it was not loaded, or the answers by data set."""

    refusal: str
    binary: tuple[Answer, ...] = ()
    json: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One case in one way of sending; `reason` says what was wrong or why it was refused."""

    outcome: str
    reason: str = ""


def judge(case: Case, alone: Alone, refusal: str, answers: Sequence[Answer], *, exact: bool) -> Verdict:
    """Compare what the server did with what onnxruntime does.

    Args:
        case: both were given it.
        alone: what onnxruntime made of it.
        refusal: why the server did not load it; empty if it did.
        answers: of the server, by data set; none where it did not load it.
        exact: bit for bit; else any NaN is as good as another.
    """
    if refusal:
        if alone.refusal:
            return Verdict(ALONE_REFUSES_MODEL, alone.refusal)
        return Verdict(LACKS_TYPE if case.foreign else REFUSED_MODEL, refusal)
    if alone.refusal:
        return Verdict(EXCESS, alone.refusal)
    verdicts = [
        _judge_one(answer, outputs, failure, exact=exact, random=alone.random)
        for answer, outputs, failure in zip(answers, alone.outputs, alone.failures, strict=True)
    ]
    return max(verdicts, key=lambda verdict: (verdict.outcome in OURS, verdict.outcome != RIGHT))


def _judge_one(
    answer: Answer, outputs: dict[str, np.ndarray], failure: str, *, exact: bool, random: bool
) -> Verdict:
    if answer.unsendable:
        return Verdict(NOT_IN_JSON, answer.error)
    if failure:
        return Verdict(ALONE_REFUSES_DATA if answer.error else EXCESS, failure)
    if answer.error:
        return Verdict(REFUSED_DATA, answer.error)
    if list(answer.outputs) != list(outputs):
        return Verdict(WRONG, f"outputs {list(answer.outputs)}, expected {list(outputs)}")
    for name, wanted in outputs.items():
        got = answer.outputs[name]
        if random:
            right = (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        else:
            right = same(got, wanted) if exact else same_values(got, wanted)
        if not right:
            return Verdict(WRONG, f"{name}: {_short(got)}, expected {_short(wanted)}")
    return Verdict(RIGHT)


def _short(array: np.ndarray) -> str:
    values = " ".join(map(str, array.ravel()[:6].tolist()))
    return f"{array.dtype}{list(array.shape)} {values}"[:120]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal bit for bit in datatype, shape and data; texts as UTF-8."""
    if one.dtype.hasobject or other.dtype.hasobject:
        return one.shape == other.shape and _texts(one) == _texts(other)
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def same_values(one: np.ndarray, other: np.ndarray) -> bool:
    """As `same`, but a NaN is equal to any other: JSON has no way to write their bits."""
    if same(one, other):
        return True
    if (one.dtype, one.shape) != (other.dtype, other.shape) or one.dtype.hasobject:
        return False
    missing = one != one  # noqa: PLR0124  (also for the floats of ml_dtypes)
    if not np.array_equal(missing, other != other):  # noqa: PLR0124
        return False
    return same(one[~missing], other[~missing])


def close(one: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> bool:
    """Equal as onnx's own test runner has it."""
    if one.shape != expected.shape:
        return False
    if one.dtype.hasobject or expected.dtype.hasobject or expected.dtype.kind == "U":
        return _texts(one) == _texts(expected)
    if one.dtype != expected.dtype:
        return False
    if one.dtype.kind in "biu":
        return np.array_equal(one, expected)
    wide = one.astype(np.float64), expected.astype(np.float64)
    return bool(np.allclose(*wide, rtol=rtol, atol=atol, equal_nan=True))


def _texts(array: np.ndarray) -> list[bytes]:
    return [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel().tolist()]
