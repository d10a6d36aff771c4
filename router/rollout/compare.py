"""Comparison of two answers, tensor by tensor.

Law: outputs agree only if they have the same datatype and shape, NaN and infinities at the same places,
and their rule holds in every row; a row is a vector along the last axis, and a scalar is a row of one.
Rows whose elements are all equal agree under every rule, and so do empty tensors; text is compared
exactly, whatever the rule. Computed in float64, so that no small datatype overflows. Pure.

By the time a rule looks, NaN and infinities stand at the same places: they are equal for `Exact` and
`Close`, 0 for `Cosine` and `JensenShannon`, and for `Argmax` and `TopK` NaN is less than everything.
Of equal elements the first counts as the greater.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from router.rollout.rules import Argmax, Close, Cosine, Exact, JensenShannon, Rule, TopK
from serving.wire.bf16 import BF16, widened

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]
Kind = Literal["same", "value", "shape", "datatype", "nan", "missing"]


_EXACT = Exact()
_CLOSE = Close(atol=1e-5, rtol=1e-3)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of one output.

    Args:
        output: its name.
        same: whether the two sides agree.
        kind: `same`, or what differs: the `value` by its rule, the `shape`, the `datatype`, where `nan`
            and infinities stand, or the output is `missing` on one side.
        distance: by the rule, finite, 0 or more; 1 when the sides cannot be measured (the last four kinds).
    """

    output: str
    same: bool
    kind: Kind
    distance: float


def default_rule(of: "str | Array") -> Rule:
    """The rule of an output that has none: close for floats, exact for everything else.

    Args:
        of: an OIP datatype such as `FP32`, or an array.
    """
    if isinstance(of, str):
        return _CLOSE if of.startswith(("FP", "BF")) else _EXACT
    return _CLOSE if of.dtype.kind == "f" or of.dtype == BF16 else _EXACT


def compare(
    reference: Mapping[str, Array], candidate: Mapping[str, Array], rules: Mapping[str, Rule]
) -> tuple[Comparison, ...]:
    """Hold a candidate's answer against the one that was given.

    Args:
        reference: arrays by output name: bool, integer, float16/32/64, BF16, or objects of `str` or `bytes`.
        candidate: likewise.
        rules: rule per output; outputs not named have their default.

    Returns:
        One comparison per output of either side, in the reference's order, then the candidate's.
    """
    found = []
    for output, expected in reference.items():
        actual = candidate.get(output)
        if actual is None:
            found.append(Comparison(output, same=False, kind="missing", distance=1.0))
        else:
            kind, distance = _compare(expected, actual, rules.get(output) or default_rule(expected))
            found.append(Comparison(output, kind == "same", kind, distance))
    found += [
        Comparison(output, same=False, kind="missing", distance=1.0)
        for output in candidate
        if output not in reference
    ]
    return tuple(found)


def _compare(reference: Array, candidate: Array, rule: Rule) -> tuple[Kind, float]:
    if reference.dtype != candidate.dtype:
        return "datatype", 1.0
    if reference.shape != candidate.shape:
        return "shape", 1.0
    # The common case, and for small arrays many times quicker than any arithmetic. Of objects these are
    # the addresses, so that equal bytes still mean equal values.
    if reference.tobytes() == candidate.tobytes():
        return "same", 0.0
    if reference.dtype == BF16:
        reference, candidate = widened(reference), widened(candidate)
    if isinstance(rule, Close) and reference.dtype.kind == "f":
        with np.errstate(all="ignore"):
            farthest = float(_difference(reference, candidate).max())
        if farthest <= rule.atol:  # not so if NaN or infinities are among them; rtol can only widen it
            return "same", farthest
    finite = None
    if reference.dtype.kind == "f":
        finite = np.isfinite(reference) & np.isfinite(candidate)
        if finite.all():
            finite = None
        elif not (finite | (reference == candidate) | (np.isnan(reference) & np.isnan(candidate))).all():
            return "nan", 1.0
    with np.errstate(all="ignore"):
        same, distance = _measure(rule, reference, candidate, finite)
    return "same" if same else "value", min(distance, sys.float_info.max)


def _measure(
    rule: Rule, reference: Array, candidate: Array, finite: "npt.NDArray[np.bool_] | None"
) -> tuple[bool, float]:
    """Whether the rule holds, and the distance. `finite` is None when everything is."""
    if isinstance(rule, Exact) or reference.dtype.kind not in "biuf":
        differs = np.asarray(reference != candidate, bool)
        if finite is not None:
            differs &= finite
        return not differs.any(), float(differs.mean())
    match rule:
        case Close():
            difference = _difference(reference, candidate)
            if finite is not None:
                difference = difference[finite]
                reference = reference[finite]
            within = difference <= rule.atol + rule.rtol * np.abs(reference.astype(np.float64))
            return bool(within.all()), float(difference.max(initial=0.0))
        case Argmax():
            differs = _ranked(reference).argmax(axis=1) != _ranked(candidate).argmax(axis=1)
            return not differs.any(), float(differs.mean())
        case TopK():
            differs = (_top(reference, rule.k) != _top(candidate, rule.k)).any(axis=1)
            return not differs.any(), float(differs.mean())
        case Cosine():
            cosine = _cosine(_vectors(reference, finite), _vectors(candidate, finite))
            return bool((cosine >= rule.min).all()), float(1 - cosine.min())
        case JensenShannon():
            valid, bits = _jensen_shannon(_vectors(reference, finite), _vectors(candidate, finite))
            return bool((valid & (bits <= rule.max)).all()), float(bits.max())
        case _:
            assert_never(rule)


def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1] if array.ndim else 1)


def _difference(reference: Array, candidate: Array) -> Floats:
    """Absolute difference per element; exact for integers, whose float64 may be equal where they are not."""
    if reference.dtype.kind == "f":
        return np.abs(candidate.astype(np.float64) - reference.astype(np.float64))
    high, low = np.maximum(reference, candidate), np.minimum(reference, candidate)
    return (high.astype(np.uint64) - low.astype(np.uint64)).astype(np.float64)  # wraps to the right value


def _ranked(array: Array) -> Array:
    rows = _rows(array)
    return np.where(np.isnan(rows), -np.inf, rows) if array.dtype.kind == "f" else rows


def _top(array: Array, k: int) -> "npt.NDArray[np.intp]":
    """Indices of the k greatest of every row, ascending; shape [rows, k or the row's length]."""
    rows = _ranked(array)
    backwards = np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, -k:]  # of equals, the first comes last
    return np.sort(rows.shape[1] - 1 - backwards, axis=1)


def _vectors(array: Array, finite: "npt.NDArray[np.bool_] | None") -> Floats:
    return _rows(array if finite is None else np.where(finite, array, 0)).astype(np.float64)


def _scaled(rows: Floats) -> Floats:
    """Rows with a greatest magnitude of 1, so that neither squares nor sums overflow or vanish."""
    scale = np.abs(rows).max(axis=1, keepdims=True)
    return rows / np.where(scale == 0, 1, scale)


def _cosine(reference: Floats, candidate: Floats) -> Floats:
    a, b = _scaled(reference), _scaled(candidate)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.clip(np.einsum("ij,ij->i", a, b) / np.where(norms == 0, 1, norms), -1, 1)
    return np.where((a == b).all(axis=1), 1.0, cosine)  # not a rounding error less


def _jensen_shannon(reference: Floats, candidate: Floats) -> "tuple[npt.NDArray[np.bool_], Floats]":
    """Per row, whether the sides can be measured (or are equal), and the divergence in bits."""
    equal = (reference == candidate).all(axis=1)
    valid = np.ones(len(equal), bool)
    for rows in (reference, candidate):
        valid &= (rows >= 0).all(axis=1) & (rows > 0).any(axis=1)
    a, b = _scaled(reference), _scaled(candidate)
    p, q = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
    left = p * np.log2(np.where(p > 0, 2 * p / (p + q), 1))
    right = q * np.log2(np.where(q > 0, 2 * q / (p + q), 1))
    bits = np.where(valid, np.clip((left + right).sum(axis=1) / 2, 0, 1), 1.0)
    return equal | valid, np.where(equal, 0.0, bits)
