"""Which nodes were heard of and no longer are: cut off from control, or gone without a word. Pure.

A node that is cut off serves on with the snapshot that it got last, and counts. Nobody can tell it from one
that is gone; what it counted comes when it is back.
"""

from dataclasses import dataclass

from router.wire.report import Report

GONE_SECONDS = 5.0
"""A process that has not been heard of for this long is gone."""
KEPT_SECONDS = 3600.0
"""For so long a node that is gone is told of."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A node that is out of sight.

    Attributes:
        node: its name.
        seconds: since it was heard of.
        revision: of the snapshot that it then had in force, and serves on with if it lives; 0: none.
    """

    node: str
    seconds: float
    revision: int


class Sight:
    """When each node was heard of. Times are monotonic seconds given by the caller."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, int]] = {}

    def hear(self, report: Report, now: float) -> None:
        """Take in a report of a worker; a node whose worker said last that it ends is not missed."""
        if report.kind != "worker":
            return
        if report.draining:
            self._heard.pop(report.node, None)
        else:
            self._heard[report.node] = now, report.revision

    def out(self, now: float) -> list[Unseen]:
        """Those out of sight, by name; whoever has been so for long is forgotten."""
        for node, (heard, _) in list(self._heard.items()):
            if now - heard > KEPT_SECONDS:
                del self._heard[node]
        return [
            Unseen(node, now - heard, revision)
            for node, (heard, revision) in sorted(self._heard.items())
            if now - heard >= GONE_SECONDS
        ]
