"""Lets mature outcomes enter the evidence: one batch of them in one transaction.

Law: an outcome enters when its request is mature, never when it is told. So no moment has to be waited for at
which all is known (a watermark): what reaches control late, since a node could not tell of it, enters then.
But the unit of a user that has entered is closed: what comes later is in no unit, and counts for nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from control.judging.outcomes.amounts import LEAST_NON_ZERO, Baseline
from control.judging.outcomes.side_sums import SideSums, matured_sides
from control.judging.outcomes.stage_outcomes import StageOutcomes, matured_outcomes
from control.outcomes.desk import InForce
from control.outcomes.units import Event, unit_of
from control.store.outcome_entries import DueRow, Entries, Place, Users, best_place, guard_place
from control.store.outcomes import Stage
from router.rollout.guards.outcomes import OutcomeGuard
from router.rollout.values import Outcome

MOST_AMOUNTS = 100_000
"""The latest amounts of stable that a baseline is made of."""

Stages = Mapping[str, Mapping[int, Stage]]
"""By public name and number."""


class _Kind(NamedTuple):
    """Outcomes of one name in one stage."""

    users: Users
    outcome: Outcome
    guards: tuple[OutcomeGuard, ...]
    stage: Stage
    judged_from: int
    for_best: bool


def baseline_place(model: str, judged_from: int, outcome: str) -> Place:
    """Where the baseline of an evidence is kept."""
    return model, judged_from, f"baseline {outcome}"


def enter(entries: Entries, until: float, limit: int, in_force: Mapping[str, InForce], stages: Stages) -> int:
    """Let the first outcomes that are mature enter.

    Args:
        entries: in a transaction.
        until: seconds since 1970, by which they are mature.
        limit: at most so many.
        in_force: the rollouts, by public name; outcomes of others only stop waiting.
        stages: at least those that are judged.

    Returns:
        How many did.
    """
    due = sorted(entries.due(until, limit), key=_users)
    for users, found in groupby(due, _users):
        kind = _kind(users, in_force, stages)
        if kind is not None:
            _enter(entries, kind, [row for row in found if row.anew])
    entries.enter(due)
    return len(due)


def _users(row: DueRow) -> Users:
    return row.model, row.name, row.stage


def _kind(users: Users, in_force: Mapping[str, InForce], stages: Stages) -> _Kind | None:
    """What is judged of outcomes of a name in a stage; None for nothing."""
    model, name, number = users
    found, stage = in_force.get(model), stages.get(model, {}).get(number)
    if found is None or stage is None or number < found.judged_from:
        return None
    outcome = found.rollout.outcome(name)
    guards = tuple(guard for guard in found.rollout.guards_of(OutcomeGuard) if guard.outcome == name)
    best = found.rollout.best
    for_best = best is not None and best.outcome == name and bool(stage.arms)
    if outcome is None or not (guards or for_best):
        return None
    return _Kind(users, outcome, guards, stage, found.judged_from, for_best)


def _enter(entries: Entries, kind: _Kind, rows: Sequence[DueRow]) -> None:
    events = _events(entries, kind, rows)
    cut = _cut(entries, kind) if kind.guards else None
    candidates = range(1, len(kind.stage.arms) + 1) if kind.stage.arms else (0,)
    for candidate in candidates:
        _enter_beside_stable(entries, kind, events, cut, candidate)
    if kind.for_best:
        _enter_for_best(entries, kind, events)


def _enter_beside_stable(
    entries: Entries, kind: _Kind, events: Sequence[Event], cut: float | None, candidate: int
) -> None:
    """What they say of one candidate of an A/B/n test, or of the canary (0): those at it or at stable."""
    arm = candidate or 1
    values, at = (
        np.array([(event.value, event.arm) for event in events if event.arm in {0, arm}]).reshape(-1, 2).T
    )
    model, stage = kind.users[0], kind.stage
    places = {guard: guard_place(model, stage.stage, guard.name, candidate) for guard in kind.guards}
    before = entries.sums(places.values())
    after = {}
    for guard, place in places.items():
        new = matured_outcomes(kind.outcome, guard.limit, stage.share(candidate), values, at == arm, cut)
        state = before.get(place)
        after[place] = (new if state is None else StageOutcomes.from_json(state) + new).to_json()
    entries.keep(after)


def _enter_for_best(entries: Entries, kind: _Kind, events: Sequence[Event]) -> None:
    """What they say of all sides of an A/B/n test."""
    values, sides = [event.value for event in events], [event.arm for event in events]
    place = best_place(kind.users[0], kind.stage.stage, kind.outcome.name)
    new = matured_sides(kind.outcome, kind.stage.weights, values, sides)
    state = entries.sums([place]).get(place)
    entries.keep({place: (new if state is None else SideSums.from_json(state) + new).to_json()})


def _events(entries: Entries, kind: _Kind, rows: Sequence[DueRow]) -> list[Event]:
    """The units that these outcomes complete: requests, and users who were drawn once."""
    sticky = kind.stage.sticky is not None
    alone = [unit_of([row], kind.outcome) for row in rows if not (sticky and row.key)]
    keys = sorted({row.key for row in rows if row.key}) if sticky else []
    open_keys = sorted(set(keys) - entries.closed(kind.users, keys))
    if not open_keys:
        return alone
    entries.close(kind.users, open_keys)
    of_users = sorted(entries.of_users(kind.users, open_keys), key=lambda row: row.key)
    return alone + [unit_of(list(found), kind.outcome) for _, found in groupby(of_users, lambda row: row.key)]


def _cut(entries: Entries, kind: _Kind) -> float | None:
    """What greater amounts without a range count as, by stable's before the evidence; None where too few.

    It is fixed for good when the first outcome of the evidence enters. That is `within` after it began, so
    all that was told of requests before is known.
    """
    if kind.outcome.kind != "number" or kind.outcome.range is not None:
        return None
    model, name, _ = kind.users
    place = baseline_place(model, kind.judged_from, name)
    state = entries.sums([place]).get(place)
    if state is None:
        state = _made(entries.amounts(model, name, kind.judged_from, MOST_AMOUNTS), kind.outcome)
        entries.keep({place: state})
    return None if state["baseline"] is None else Baseline.from_json(state["baseline"]).cut


def _made(rows: Sequence[DueRow], outcome: Outcome) -> dict[str, Any]:
    """A baseline and of how many amounts it is, of users where there are any."""
    by_unit = sorted(rows, key=_unit)
    units = [unit_of(list(found), outcome).value for _, found in groupby(by_unit, _unit)]
    amounts = np.array([value for value in units if value != 0.0])
    enough = len(amounts) >= LEAST_NON_ZERO
    return {"amounts": len(amounts), "baseline": Baseline.of(amounts).to_json() if enough else None}


def _unit(row: DueRow) -> tuple[int, int, bytes]:
    return row.stage, row.key, b"" if row.key else row.id
