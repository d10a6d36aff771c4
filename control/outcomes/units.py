"""Units of users: what came of all of a user's requests is one observation. Pure.

Law: where the split is sticky, a user was drawn once in a stage. Their unit opens at their first request
that is known to have an outcome, and closes `within` later: what was told until then of requests until then
is in it, and nothing else ever is. So neither the order in which outcomes came matters, nor when one looks.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from control.store.outcome_entries import DueRow
from router.rollout.values import Outcome


class Event(NamedTuple):
    """What came of a unit: a request, or a user of a stage.

    Args:
        value: 1 or 0, or the amount.
        arm: whom the draw chose, as of `control.store.outcomes.Row`.
    """

    value: float
    arm: int


def unit_of(rows: Sequence[DueRow], outcome: Outcome) -> Event:
    """What came of a user.

    Args:
        rows: outcomes of one user, stage and name, at least one, in any order; all that were told.
        outcome: binary, or a number.
    """
    first = min(rows, key=lambda row: (row.arrived, row.id))
    values = sorted(row.value for row in rows if max(row.arrived, row.at) <= first.matures)
    return Event(_joined(values, outcome), first.arm)


def _joined(values: Iterable[float], outcome: Outcome) -> float:
    """Whether it happened at all, or the sum, which is cut at the ends of the range."""
    if outcome.kind == "binary":
        return max(values, default=0.0)
    total = sum(values)
    if outcome.range is None:
        return total
    return min(max(total, min(outcome.range[0], 0.0)), max(outcome.range[1], 0.0))
