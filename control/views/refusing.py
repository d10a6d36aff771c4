"""Nodes that take no snapshot, why, and what to do: for whoever asks control how it is.

Law: a node is told of while it is heard of, and once, whichever of its processes says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from control.fleet.nodes import Nodes
from control.views.needs import Need

REMEDY: Final = (
    "put the newer database back, or start control once with --new-epoch, so that nodes take what is stored"
)


@dataclass(frozen=True, slots=True)
class Refusing:
    """The nodes that take no snapshot.

    Attributes:
        nodes: how many are heard of.
        older: by name of those that hold what the state database never gave, what that is.
    """

    nodes: int = 0
    older: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many, by reason, for the metric."""
        return {"older_database": len(self.older)}

    @property
    def problem(self) -> str:
        """Why control is not ready: most nodes take nothing from it; else empty."""
        return self._of_older() if 2 * len(self.older) > self.nodes else ""

    def needs(self) -> list[Need]:
        """What a person is to know."""
        return [Need("older_database", "Database is older", self._of_older())] if self.older else []

    def _of_older(self) -> str:
        node, why = next(iter(sorted(self.older.items())))
        number = f"{len(self.older)} of {self.nodes} nodes"
        return f"{number} are given nothing and serve what they have: {node}, {why}; {REMEDY}"


def refusing(nodes: Nodes, now: float) -> Refusing:
    """Who takes no snapshot as of now, in monotonic seconds."""
    reports = [instance.report for instance in nodes.alive(now)]
    older = {report.node: why for report in reports if (why := nodes.barred(report))}
    return Refusing(len({report.node for report in reports}), older)
