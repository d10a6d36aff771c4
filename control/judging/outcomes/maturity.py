"""When a request enters the evidence: so long after arrival, in order of arrival, as known then. Pure.

Law: an outcome enters at the moment when its *request* is mature, never when it is told. Counted as they
come, outcomes of the role whose users take longer are missing at first, and an equal canary looks worse (a
third of good ones were called harmful, 0.2% by maturity; `benchmarks.outcomes`). So what enters, and when,
depends on arrivals and on what was told before maturity, and not on the order or the number of reports.

Everything is a function of sets: those who keep units and outcomes (a database) need no other state than the
time until which they were taken.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from control.judging.verdicts import waited
from router.rollout.guards.outcomes import OutcomeGuard
from router.rollout.values import Approve, Pause, Prove, Rollout, Run, SetWeight


class Unit(NamedTuple):
    """A request that was drawn and answered.

    Args:
        arrived: when, in seconds since 1970, by the clock of the node that drew.
        id: of the request, unique.
        arm: who it was drawn to: 0 stable, 1 the canary, further ones in an A/B/n test.
        weights: the chances of the arms in that draw, which sum to 1.
        key: of its user; empty where the split is not sticky.
    """

    arrived: float
    id: str
    arm: int
    weights: tuple[float, ...]
    key: str = ""


class Report(NamedTuple):
    """An outcome as it was told.

    Args:
        at: when it was taken, in seconds since 1970; what is told again is another report.
        value: the outcome.
        id: of the request.
    """

    at: float
    value: float
    id: str


class Mature(NamedTuple):
    """A unit, and what was known of it when it became mature; None is nothing."""

    unit: Unit
    value: float | None


def matured(
    units: Iterable[Unit], reports: Iterable[Report], maturity: float, after: float, until: float
) -> list[Mature]:
    """Units that became mature in (after, until], in order of arrival.

    The earliest report of a unit counts, if it was taken before the unit was mature. What is told twice,
    later or of an unknown request changes nothing, nor does any order of the arguments.

    Args:
        units: at least those that arrived in (after - maturity, until - maturity].
        reports: at least those of these units that were taken until `until`.
        maturity: seconds from arrival.
        after: until when units were taken before.
        until: no unit that arrived by `until - maturity`, and no report until `until`, is still to come.
    """
    due = {unit.id: unit for unit in units if after < unit.arrived + maturity <= until}
    known: dict[str, Report] = {}
    for report in reports:
        unit = due.get(report.id)
        if unit is not None and report.at <= unit.arrived + maturity:
            known[report.id] = min(report, known.get(report.id, report))
    return [Mature(unit, known[unit.id].value if unit.id in known else None) for unit in sorted(due.values())]


def first_exposures(units: Iterable[Unit]) -> list[Unit]:
    """Of each user the first unit, in order of arrival; units without a key are their own.

    Where the split is sticky a user was drawn once, so what came of all requests is one observation.
    """
    first: dict[tuple[str, str], Unit] = {}
    for unit in units:
        who = (unit.key, "" if unit.key else unit.id)
        first[who] = min(unit, first.get(who, unit))
    return sorted(first.values())


def proofs_before_maturity(rollout: Rollout) -> list[str]:
    """In words, which proofs of a document are asked for before any outcome of their stage can be mature."""
    steps = () if rollout.canary is None else rollout.canary.steps
    found, longest = [], 0.0  # that the stage has lasted when a step ends
    for number, step in enumerate(steps, 1):
        match step:
            case SetWeight():
                longest = 0.0
            case Pause(seconds) | Prove(seconds):
                longest += math.inf if seconds is None else seconds
            case Approve(expires_seconds=seconds) | Run(timeout_seconds=seconds):
                longest += math.inf if seconds is None else seconds
        if isinstance(step, Prove):
            found += [
                f"step {number}: {guard.name} cannot be proven by then, {waited(longest)} after its weight"
                f" was set: what becomes of an answer is judged {waited(outcome.within_seconds)} after it"
                for guard in rollout.guards_of(OutcomeGuard)
                if (outcome := rollout.outcome(guard.outcome)) is not None
                if guard.mode == "enforce" and longest <= outcome.within_seconds
            ]
    return found
