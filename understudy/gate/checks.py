"""What is checked of a rollout that a change touches: its document, its models, its candidate, its steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control.judging.guards.simulation import Behaviour, Least, Traffic
from control.judging.verdicts import share
from control.planning.candidates import planned_candidates, untold_guards
from control.planning.harms import harms, left_out
from control.planning.plan import plan
from router.rollout.values import Rollout
from serving.document import DocumentError
from serving.errors import ServingError
from serving.places import Origin, beside
from understudy.gate.changes import Change
from understudy.offline.outcome import Tested
from understudy.offline.reporting import report
from understudy.offline.testing import Wanted, outcome
from understudy.reports.report import Check, Outcome, Table

FAULT = 1
CODES: dict[Outcome, int] = {"passed": 0, "noted": 0, "failed": 3, "undecided": 5}
WORST = (FAULT, 3, 5, 0)
"""Exit codes, the worst first."""
LEAST = Least(errors=0.05, slower=1.5, agreement=0.9)
"""The harm that `understudy rollouts plan` looks for unless told otherwise."""
STUCK = 0.5
"""A rollout that fewer good canaries than this get through needs another look."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a gate is told.

    Args:
        models: where they come from.
        on: by public name the rows that a candidate is tested on; under "" those of every other.
        labels: as `understudy test` takes them.
        requests_per_second: of each rollout, to simulate its steps with; None simulates nothing.
        threads: of one run of a model.
        timing_seconds: how long two models are timed at most.
    """

    models: Path | Origin
    on: Mapping[str, str]
    labels: str = ""
    requests_per_second: float | None = None
    threads: int = 1
    timing_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Gated:
    """A rollout that was checked.

    Args:
        change: what touched it.
        checks: what was decided, in order.
        code: the worst exit code of them.
        tests: of its candidates.
        tables: figures beside.
        notes: sentences.
    """

    change: Change
    checks: tuple[Check, ...]
    code: int
    tests: tuple[Tested, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def worst(codes: Sequence[int]) -> int:
    """The worst of exit codes; 0 of none."""
    return next((code for code in WORST if code in codes), 0)


def gated(
    change: Change, misfit: DocumentError | None, settings: Settings, note: Callable[[str], None]
) -> Gated:
    """Check one rollout; what depends on what is at fault is left out.

    Args:
        change: the rollout.
        misfit: why its models are not there, do not pass, or do not fit each other.
        settings: what the gate is told.
        note: told what is being done.
    """
    for name, fault in (("lint", change.fault), ("models", misfit)):
        if fault is not None:
            checks = tuple(Check(name, "failed", str(each)) for each in fault.faults)
            return Gated(change, checks, FAULT)
    assert change.after is not None
    fine = [
        Check("lint", "passed", "no fault found"),
        Check("models", "passed", "they are there, pass, and fit"),
    ]
    found = Gated(change, tuple(fine), 0)
    for base, candidate in _pairs(change):
        note(f"{change.model}: testing {candidate}")
        found = _and(found, _tested(change, base, candidate, settings))
    note(f"{change.model}: simulating its steps")
    return _and(found, _planned(change, settings.requests_per_second))


def _and(one: Gated, other: Gated) -> Gated:
    return Gated(
        one.change,
        one.checks + other.checks,
        worst((one.code, other.code)),
        one.tests + other.tests,
        one.tables + other.tables,
        one.notes + other.notes,
    )


def _pairs(change: Change) -> list[tuple[str, str]]:
    """Base and candidate of each test: each candidate against stable, and a stable that was exchanged."""
    after, before = change.after, change.before
    assert after is not None
    pairs = []
    if after.stable.url is None:
        local = [each.target for each in after.all_candidates if each.target.url is None]
        pairs += [(after.stable.model, target.model) for target in local]
    if before is not None and before.stable != after.stable and not (before.stable.url or after.stable.url):
        pairs.append((before.stable.model, after.stable.model))
    return [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def _tested(change: Change, base: str, candidate: str, settings: Settings) -> Gated:
    name = f"test {candidate}"
    on = settings.on.get(change.model, settings.on.get("", ""))
    if not on and beside(settings.models, base.partition("/")[0], "heldout.npz") is None:
        remedy = f"give --on {change.model}=FILE, or put heldout.npz beside the model"
        return Gated(change, (Check(name, "noted", f"not tested: there are no rows; {remedy}"),), 0)
    wanted = Wanted(
        settings.models,
        base,
        candidate,
        on,
        settings.labels,
        change.after,
        threads=settings.threads,
        timing_seconds=settings.timing_seconds,
    )
    try:
        tested = outcome(wanted)
    except ServingError as error:
        return Gated(change, (Check(name, "failed", str(error)),), FAULT)
    shown = report(tested)
    checks = [Check(f"{name}, {check.name}", check.outcome, check.reason) for check in shown.checks]
    tables = [Table(f"{candidate}: {table.title}", table.columns, table.rows) for table in shown.shown]
    notes = [f"{candidate}: {words}" for words in shown.notes]
    code = tested.exit_code
    return Gated(change, tuple(checks), code, (tested,), tuple(tables), tuple(notes))


def _planned(change: Change, requests_per_second: float | None) -> Gated:
    """Whether a good canary gets through the steps at this traffic, and what harm is caught."""
    rollout = change.after
    assert rollout is not None
    if not rollout.candidates and (rollout.canary is None or not rollout.canary.steps):
        return Gated(change, (), 0)
    if requests_per_second is None:
        why = "not simulated: say by --traffic how many requests a second there are"
        return Gated(change, (Check("plan", "noted", why),), 0)
    if rollout.canary is None:
        traffic = Traffic(requests_per_second, 0.0)
        check, reasons = _plan_test(rollout, traffic), untold_guards(rollout, traffic)
    else:
        traffic = Traffic(requests_per_second, 0.0, mirror=rollout.canary.mirror / 100)
        check, reasons = _plan(rollout, traffic), left_out(rollout, traffic)
    notes = tuple(f"plan: left out: {reason}" for reason in reasons)
    return Gated(change, (check,), CODES[check.outcome], notes=notes)


def _plan_test(rollout: Rollout, traffic: Traffic) -> Check:
    """What harm in the candidates of an A/B/n test is seen, and by when."""
    found = [
        f"{each.target} with {harm} {share(caught)} in {look}"
        for each in planned_candidates(rollout, traffic, LEAST)
        for harm, by in each.caught.items()
        for look, caught in list(by.items())[-1:]
    ]
    words = f"at {traffic.requests_per_second:g} requests/s are taken off: {'; '.join(found) or 'none'}"
    return Check("plan", "passed", words)


def _plan(rollout: Rollout, traffic: Traffic) -> Check:
    assert rollout.canary is not None
    steps, good = rollout.canary.steps, Behaviour(traffic.error_rate)
    caught = {}
    passed = 1.0
    for name, harm in (harms(rollout, traffic, LEAST) or {"": good}).items():
        planned = plan(steps, rollout.guards, rollout.alpha, traffic, harm, good)
        passed = planned[-1].passed
        if name:
            caught[name] = planned[-1].caught
    words = f"at {traffic.requests_per_second:g} requests/s {share(passed)} of good canaries get through"
    words += "".join(f"; caught: {name} {share(of)}" for name, of in caught.items())
    return Check("plan", "undecided" if passed < STUCK else "passed", words)
