"""The gate: every rollout that a change touches, checked; one verdict, one exit code."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.clock import clock
from serving.document import DocumentError
from understudy.gate.changes import Changes, changes
from understudy.gate.checks import FAULT, Gated, Settings, gated, worst
from understudy.gate.fitting import misfits
from understudy.offline.outcome import as_json as test_as_json
from understudy.reports.report import Check, Outcome, Report

VERDICTS: dict[int, tuple[str, Outcome]] = {
    0: ("passed", "passed"),
    FAULT: ("at fault", "failed"),
    3: ("harmful", "failed"),
    5: ("undecided", "undecided"),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate found.

    Args:
        file: the rollout file.
        changes: what the change does to it.
        rollouts: those that it touches, checked.
        seconds: that it took.
    """

    file: str
    changes: Changes
    rollouts: tuple[Gated, ...]
    seconds: float

    @property
    def code(self) -> int:
        """The exit code: the worst of all rollouts."""
        return worst([gated.code for gated in self.rollouts])


def gate(revision: str, file: Path, settings: Settings, note: Callable[[str], None]) -> Gate:
    """Check what a change touches.

    Args:
        revision: of git, that the file is held against.
        file: the rollout file.
        settings: what the gate is told.
        note: told what is being done.

    Raises:
        ServingError: there is no such file, revision or model repository, or nothing of the file can be read.
    """
    began = clock()
    note("comparing the rollout file")
    found = changes(revision, file, settings.models)
    rollouts = {change.model: change.after for change in found.touched if change.after is not None}
    note("checking the models")
    faults: dict[str, DocumentError] = {}
    if rollouts:
        faults = misfits(found.content, str(file), rollouts, settings.models)
    done = tuple(gated(change, faults.get(change.model), settings, note) for change in found.touched)
    return Gate(str(file), found, done, clock() - began)


def reports(found: Gate) -> list[Report]:
    """One report for each rollout."""
    every = []
    for each in found.rollouts:
        verdict, outcome = VERDICTS[each.code]
        title, seconds = f"{each.change.model} ({each.change.why})", sum(test.seconds for test in each.tests)
        every.append(Report(title, verdict, outcome, each.checks, each.tables, each.notes, seconds))
    return every


def report(found: Gate) -> Report:
    """All rollouts in one table."""
    verdict, outcome = VERDICTS[found.code]
    checks = [
        Check(f"{each.change.model}: {check.name}", check.outcome, check.reason)
        for each in found.rollouts
        for check in each.checks
    ]
    count = len(found.rollouts)
    touched = "no rollout" if not count else f"{count} rollout{'s' if count > 1 else ''}"
    notes = [
        *(f"{each.change.model} is touched: {each.change.why}" for each in found.rollouts),
        *(f"{model} is removed" for model in found.changes.removed),
        *(f"{each.change.model}: {words}" for each in found.rollouts for words in each.notes),
        *found.changes.notes,
    ]
    return Report(
        f"{touched} of {found.file} touched since {found.changes.base[:12]}",
        verdict,
        outcome,
        checks,
        [table for each in found.rollouts for table in each.tables],
        notes,
        found.seconds,
    )


def as_json(found: Gate) -> dict[str, Any]:
    """What was found, as JSON values."""
    return {
        "verdict": VERDICTS[found.code][0],
        "exit_code": found.code,
        "file": found.file,
        "base": found.changes.base,
        "removed": found.changes.removed,
        "notes": found.changes.notes,
        "seconds": found.seconds,
        "rollouts": [
            {
                "model": each.change.model,
                "why": each.change.why,
                "verdict": VERDICTS[each.code][0],
                "exit_code": each.code,
                "checks": [asdict(check) for check in each.checks],
                "notes": each.notes,
                "tests": [test_as_json(test) for test in each.tests],
            }
            for each in found.rollouts
        ],
    }
