"""Worst segments: which rows differ most, as conditions that a person can read. Pure.

Law: the segments are the leaves of the best tree of depth two, searched exactly (every pair of conditions)
on one half of the rows and measured on the other half, so that what was searched for is not what is shown:
an honest tree (Athey and Imbens, Recursive partitioning for heterogeneous causal effects, 2016). A leaf is
named only where the lower bound of its share is above the upper bound of all rows outside of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from control.judging.aa_report import Share, share
from understudy.offline.features import Categories, Feature, Flags, Numbers

Counts = npt.NDArray[np.floating[Any]]
"""Whole numbers: of so few rows they are exact."""

CUTS = 8
"""Parts of equal numbers of rows, between which a feature of numbers is cut."""
LEAST_ROWS = 10
"""Of a leaf, in each half."""
LEAST_SHARE = 0.01
"""Of the half's rows, that a leaf has at least."""
MOST_CONDITIONS = 1500
"""All pairs of so many are searched; of more, those that separate best alone."""
MOST_ROWS = 20_000
"""Rows of a half, evenly taken, that are searched."""
MOST_SEGMENTS = 4


@dataclass(frozen=True, slots=True)
class Condition:
    """What rows of a segment have in common, in words.

    Args:
        feature: what it is about.
        holds: `> 4`, or `= AT`.
        fails: `<= 4`, or `!= AT`.
    """

    feature: str
    holds: str
    fails: str

    def text(self, *, holds: bool) -> str:
        """The condition, or its opposite."""
        return f"{self.feature} {self.holds if holds else self.fails}"


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows that meet all of some conditions.

    Args:
        conditions: in words, one or two.
        differing: share of the rows that differ, with bounds, on the half of the rows that was not searched.
        elsewhere: the same of all other rows of that half.
    """

    conditions: tuple[str, ...]
    differing: Share
    elsewhere: Share


@dataclass(frozen=True, slots=True)
class _Split:
    """Rows by a condition of the root, and each side by one of its own; None leaves a side whole."""

    root: int
    true: int | None
    false: int | None


def worst(features: Sequence[Feature], differs: Flags) -> tuple[Segment, ...]:
    """The segments in which rows differ more than elsewhere, the worst first; none beyond noise is empty.

    Args:
        features: of every row.
        differs: of every row whether it differs.
    """
    searched = np.arange(len(differs)) % 2 == 0
    if min(differs[searched].sum(), differs[~searched].sum()) < 1:
        return ()
    conditions, holds = _conditions(features, searched)
    if not conditions:
        return ()
    split = _best(holds[:, searched], differs[searched])
    if split is None:
        return ()
    shown = (_measured(*leaf, differs, ~searched) for leaf in _leaves(split, conditions, holds))
    named = [segment for segment in shown if segment.differing.least > segment.elsewhere.most]
    return tuple(sorted(named, key=lambda segment: -segment.differing.least)[:MOST_SEGMENTS])


# ------------------------------------------------------------------ conditions


def _conditions(features: Sequence[Feature], searched: Flags) -> tuple[list[Condition], Flags]:
    """Conditions and, of each, for which rows it holds; shape (conditions, rows)."""
    found: dict[bytes, tuple[Condition, Flags]] = {}
    for feature in features:
        for condition, holds in _tests(feature, searched):
            rows = int(holds[searched].sum())
            if LEAST_ROWS <= rows <= searched.sum() - LEAST_ROWS:
                found.setdefault(holds.tobytes(), (condition, holds))
    conditions = [condition for condition, _ in found.values()]
    return conditions, np.array([holds for _, holds in found.values()], bool).reshape(-1, len(searched))


def _tests(feature: Feature, searched: Flags) -> list[tuple[Condition, Flags]]:
    return _of_numbers(feature, searched) if isinstance(feature, Numbers) else _of_categories(feature)


def _of_numbers(feature: Numbers, searched: Flags) -> list[tuple[Condition, Flags]]:
    """Above each cut; a row without a number is above none."""
    known = feature.values[searched]
    known = known[np.isfinite(known)]
    if not len(known):
        return []
    distinct = np.unique(known)
    if len(distinct) <= CUTS:
        cuts = (distinct[1:] + distinct[:-1]) / 2
    else:
        cuts = np.unique(np.quantile(known, np.arange(1, CUTS) / CUTS))
    return [
        (Condition(feature.name, f"> {cut:.4g}", f"<= {cut:.4g}"), np.asarray(feature.values > cut))
        for cut in cuts.tolist()
    ]


def _of_categories(feature: Categories) -> list[tuple[Condition, Flags]]:
    """Each category by itself."""
    values = np.array(feature.values)
    return [
        (Condition(feature.name, f"= {value}", f"!= {value}"), values == value)
        for value in dict.fromkeys(feature.values)
    ]


# ------------------------------------------------------------------ the search


def _best(holds: Flags, differs: Flags) -> _Split | None:
    """The tree of depth two with the least Gini impurity, over all pairs of conditions; None for no split."""
    every = -(-holds.shape[1] // MOST_ROWS)
    inside, events = holds[:, ::every].astype(np.float32), differs[::every].astype(np.float32)
    chosen = _separating(inside, events)
    inside = inside[chosen]
    rows, differing = len(events), float(events.sum())
    least = max(LEAST_ROWS, LEAST_SHARE * rows)
    both, both_differing = inside @ inside.T, (inside * events) @ inside.T
    n, d = np.diag(both).copy(), np.diag(both_differing).copy()
    true = _sides(both, both_differing, n[:, None], d[:, None], least)
    false = _sides(
        n[None, :] - both, d[None, :] - both_differing, rows - n[:, None], differing - d[:, None], least
    )
    whole = _impurity(n, d, least), _impurity(rows - n, differing - d, least)
    total = np.minimum(true.min(axis=1), whole[0]) + np.minimum(false.min(axis=1), whole[1])
    root = int(np.argmin(total))
    if not total[root] < differing * (rows - differing) / rows:
        return None
    sides = (
        int(chosen[np.argmin(side[root])]) if side[root].min() < alone[root] else None
        for side, alone in zip((true, false), whole, strict=True)
    )
    return _Split(int(chosen[root]), *sides)


def _sides(n: Counts, d: Counts, of: Counts, differing: Counts, least: float) -> Counts:
    """Impurity of one side of each root, split by each condition; shape (roots, conditions)."""
    total: Counts = _impurity(n, d, least) + _impurity(of - n, differing - d, least)
    return total


def _impurity(n: Counts, d: Counts, least: float) -> Counts:
    """Gini impurity, by rows, of `d` among `n`; infinite where there are too few rows."""
    found: Counts = np.where(n >= least, d * (n - d) / np.maximum(n, 1.0), np.inf)
    return found


def _separating(inside: Counts, events: Counts) -> "npt.NDArray[np.intp]":
    """The conditions that are searched: those that separate best by themselves, in their order."""
    n, d = inside.sum(axis=1), inside @ events
    alone = _impurity(n, d, 0.0) + _impurity(len(events) - n, events.sum() - d, 0.0)
    return np.sort(np.argsort(alone, kind="stable")[:MOST_CONDITIONS])


# ------------------------------------------------------------------ leaves


def _leaves(
    split: _Split, conditions: Sequence[Condition], holds: Flags
) -> list[tuple[tuple[str, ...], Flags]]:
    """The leaves of a tree: conditions in words, and which rows are in it."""
    found: list[tuple[tuple[str, ...], Flags]] = []
    for side, child in ((True, split.true), (False, split.false)):
        root = holds[split.root] == side
        if child is None:
            found.append(((conditions[split.root].text(holds=side),), root))
            continue
        for below in (True, False):
            both = (split.root, side), (child, below)
            found.append((_in_words(conditions, both), root & (holds[child] == below)))
    return found


def _in_words(conditions: Sequence[Condition], both: Sequence[tuple[int, bool]]) -> tuple[str, ...]:
    """Two conditions; where one says which category it is, which it is not goes without saying."""
    is_one = {conditions[at].feature for at, holds in both if holds and conditions[at].holds.startswith("= ")}
    return tuple(
        conditions[at].text(holds=holds)
        for at, holds in both
        if holds or conditions[at].feature not in is_one
    )


def _measured(texts: tuple[str, ...], inside: Flags, differs: Flags, of: Flags) -> Segment:
    """A leaf on the rows of a half."""
    seen = ((int((differs & rows).sum()), int(rows.sum())) for rows in (inside & of, ~inside & of))
    return Segment(texts, *(share(*pair) for pair in seen))
