"""What routers have in force, so that each is told only what is new.

Law: a router that has not been answered by this control yet is told everything, whatever revision it names:
the number may be of a database that was lost since. So is one whose revision is no longer remembered. What
many are told is put into words once.
"""

import orjson

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
        self._newest = Snapshot()
        self._texts: dict[int | None, bytes] = {}  # of the newest, by the revision from which it differs

    def is_new(self, report: Report) -> bool:
        """Whether this process is to be sent a snapshot whatever its revision."""
        if report.wire >= 2:
            return report.base == 0
        new = report.instance not in self._greeted
        self._greeted.add(report.instance)
        return new

    def told(self, snapshot: Snapshot, report: Report) -> bytes:
        """The snapshot as JSON for the process that sent a report: what is new to it, or everything."""
        if snapshot is not self._newest:
            self._renew(snapshot)
        base = self._sent.get(report.revision) if report.base > 0 else None
        key = None if base is None else base.revision
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = orjson.dumps(to_wire(snapshot, base))
        return text

    def _renew(self, snapshot: Snapshot) -> None:
        self._newest = snapshot
        self._texts.clear()
        self._sent[snapshot.revision] = snapshot
        for revision in list(self._sent)[:-REMEMBERED]:
            del self._sent[revision]
