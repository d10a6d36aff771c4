"""Nodes that take no snapshot, why, and what to do: for whoever asks control how it is.

Law: a node is told of while it is heard of, and once, whichever of its processes says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from control.fleet.nodes import Nodes, unusable
from control.views.needs import Need

REMEDY: Final = (
    "put the newer database back, or start control once with --new-epoch, so that nodes take what is stored"
)

OTHER_RELEASE: Final = (
    "a node of another release may not know what a rollout says: edit that, or run control's release there"
)
MOST: Final = 500
"""Characters of a reason; all of it is in `GET /v1/nodes`."""


@dataclass(frozen=True, slots=True)
class Refusing:
    """The nodes that take no snapshot.

    Attributes:
        nodes: how many are heard of.
        older: by name of those that hold what the state database never gave, what that is.
        unusable: by name of those that cannot use what they are given, which and why.
    """

    nodes: int = 0
    older: Mapping[str, str] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many, by reason, for the metric."""
        return {"older_database": len(self.older), "unusable": len(self.unusable)}

    @property
    def problem(self) -> str:
        """Why control is not ready: most nodes take nothing from it; else empty."""
        return self._of_older() if 2 * len(self.older) > self.nodes else ""

    def needs(self) -> list[Need]:
        """What a person is to know."""
        found = []
        if self.older:
            found.append(Need("older_database", "Database is older", self._of_older()))
        if self.unusable:
            node, why = _first(self.unusable)
            sentence = f"{self._number(self.unusable)} serve what they had before: {node}, {why[:MOST]}"
            found.append(Need("snapshot_refused", "Snapshot refused", f"{sentence}; {OTHER_RELEASE}"))
        return found

    def _of_older(self) -> str:
        node, why = _first(self.older)
        return (
            f"{self._number(self.older)} are given nothing and serve what they have: {node}, {why}; {REMEDY}"
        )

    def _number(self, found: Mapping[str, str]) -> str:
        return f"{len(found)} of {self.nodes} nodes"


def _first(found: Mapping[str, str]) -> tuple[str, str]:
    return min(found.items())


def refusing(nodes: Nodes, now: float) -> Refusing:
    """Who takes no snapshot as of now, in monotonic seconds."""
    reports = [instance.report for instance in nodes.alive(now)]
    older = {report.node: why for report in reports if (why := nodes.barred(report))}
    cannot = {report.node: why for report in reports if (why := unusable(report))}
    return Refusing(len({report.node for report in reports}), older, cannot)
