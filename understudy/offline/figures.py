"""Figures beside the verdict: how fast, how accurate, what differs; each with an interval. Pure.

Law: bounds of shares are those of an A/A report (`control.judging.aa_report.share`), each at 95%. Figures
inform; only guards decide.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from control.judging.aa_report import Share, share
from control.judging.evidence import limit_test

Floats = npt.NDArray[np.float64]

Z = 1.959964
"""Of a two-sided interval of 95%."""
CELLS = 10
"""Of a confusion, that are shown."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How long a run takes.

    Args:
        pairs: that were timed.
        ratio: the median, over pairs, of the candidate's time to the base's.
        least: of that median, at 95%.
        most: likewise.
        base: median and p99 of the base's times, in seconds.
        candidate: the same of the candidate.
    """

    pairs: int
    ratio: float
    least: float
    most: float
    base: tuple[float, float]
    candidate: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often each is right, on the same rows.

    Args:
        output: whose values are held against the labels.
        base: right answers among rows with a label that it answered or failed on.
        candidate: the same.
        only_candidate: rows on which only the candidate is right.
        only_base: the reverse.
        difference: the candidate's accuracy less the base's.
        least: of that difference, at 95%.
        most: likewise.
        log_better: natural logarithm of the e-value for "where just one is right, it is the candidate".
        log_worse: the same for the base.
    """

    output: str
    base: Share
    candidate: Share
    only_candidate: int
    only_base: int
    difference: float
    least: float
    most: float
    log_better: float
    log_worse: float


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far each is from the labels, on the same rows.

    Args:
        output: whose values are held against the labels.
        rows: that both answered with a number.
        base: mean absolute deviation.
        candidate: the same.
        difference: the candidate's less the base's; below 0 it is nearer.
        least: of that difference, at 95%.
        most: likewise.
    """

    output: str
    rows: int
    base: float
    candidate: float
    difference: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows to which the base and the candidate give two different answers."""

    base: str
    candidate: str
    rows: int


def speed(base: Floats, candidate: Floats) -> Speed | None:
    """Of pairs of seconds; None without pairs.

    The interval of the median is that of its order statistics, free of what the times are distributed like.
    """
    pairs = len(base)
    if not pairs:
        return None
    ratios = np.sort(candidate / np.maximum(base, 1e-12))
    half = Z * math.sqrt(pairs) / 2
    low, high = max(math.floor(pairs / 2 - half), 0), min(math.ceil(pairs / 2 + half), pairs - 1)
    both = (tuple(float(np.quantile(times, at)) for at in (0.5, 0.99)) for times in (base, candidate))
    (base_p50, base_p99), (p50, p99) = both
    return Speed(
        pairs,
        float(np.median(ratios)),
        float(ratios[low]),
        float(ratios[high]),
        (base_p50, base_p99),
        (p50, p99),
    )


def accuracy(output: str, base: Sequence[Any], candidate: Sequence[Any], labels: Sequence[Any]) -> Accuracy:
    """Answers against labels, row by row; an answer of None is wrong.

    The interval of the difference adds half a row to each cell (Agresti and Min, Simple improved confidence
    intervals for comparing matched proportions, 2005). The e-values are McNemar's test as e-processes
    (`control.judging.evidence.limit_test` at 1/2 on the rows on which just one is right).
    """
    rows = len(labels)
    both = zip(base, candidate, labels, strict=True)
    right = [(one == truth, other == truth) for one, other, truth in both]
    only_candidate = sum(other and not one for one, other in right)
    only_base = sum(one and not other for one, other in right)
    gained, lost, n = only_candidate + 0.5, only_base + 0.5, rows + 2.0
    centre = (gained - lost) / n
    half = Z * math.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 0.0)) / n
    test = limit_test(only_candidate, only_candidate + only_base, 0.5)
    return Accuracy(
        output,
        share(sum(one for one, _ in right), rows),
        share(sum(other for _, other in right), rows),
        only_candidate,
        only_base,
        (only_candidate - only_base) / rows,
        max(centre - half, -1.0),
        min(centre + half, 1.0),
        float(test.harm),
        float(test.safe),
    )


def deviation(output: str, base: Sequence[Any], candidate: Sequence[Any], labels: Sequence[Any]) -> Deviation:
    """Numbers against labels, row by row; rows without a number on either side are left out."""
    known = [
        (abs(one - truth), abs(other - truth))
        for one, other, truth in zip(base, candidate, labels, strict=True)
        if one is not None and other is not None
    ]
    apart = np.array(known, float).reshape(-1, 2)
    rows = len(apart)
    if not rows:
        return Deviation(output, 0, math.nan, math.nan, math.nan, math.nan, math.nan)
    further = apart[:, 1] - apart[:, 0]
    half = Z * float(further.std(ddof=1)) / math.sqrt(rows) if rows > 1 else math.inf
    mean = float(further.mean())
    return Deviation(
        output, rows, float(apart[:, 0].mean()), float(apart[:, 1].mean()), mean, mean - half, mean + half
    )


def confusion(base: Sequence[Any], candidate: Sequence[Any]) -> tuple[Cell, ...]:
    """What differs, most rows first: the base's answer and the candidate's; None is no answer."""
    pairs = Counter(
        (_shown(one), _shown(other))
        for one, other in zip(base, candidate, strict=True)
        if one is not None and one != other
    )
    return tuple(Cell(one, other, rows) for (one, other), rows in pairs.most_common(CELLS))


def _shown(answer: Any) -> str:
    return "no answer" if answer is None else str(answer)
