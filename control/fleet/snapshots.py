"""What routers have in force, so that each is told only what is new.

Law: a router that has not been answered by this control yet is told everything, whatever revision it names:
the number may be of a database that was lost since. So is one whose revision is no longer remembered.
"""

from typing import Any

from router.rollout.snapshot import Snapshot
from router.wire.report import Report
from router.wire.snapshot import to_wire

REMEMBERED = 16
"""Snapshots: a router that is further behind is told everything."""


class Snapshots:
    """The snapshots that were sent last."""

    def __init__(self) -> None:
        self._sent: dict[int, Snapshot] = {}
        self._greeted: set[str] = set()  # processes of a version that says nothing of what was answered

    def is_new(self, report: Report) -> bool:
        """Whether this process is to be sent a snapshot whatever its revision."""
        if report.wire >= 2:
            return report.base == 0
        new = report.instance not in self._greeted
        self._greeted.add(report.instance)
        return new

    def wire(self, snapshot: Snapshot, report: Report) -> dict[str, Any]:
        """The snapshot for the process that sent a report: what is new to it, or everything."""
        base = self._sent.get(report.revision) if report.base > 0 else None
        self._sent[snapshot.revision] = snapshot
        for revision in list(self._sent)[:-REMEMBERED]:
            del self._sent[revision]
        return to_wire(snapshot, base)
