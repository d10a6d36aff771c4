"""What became of outcomes that were told."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An outcome that was not taken.

    Attributes:
        number: which one of those that were told, counted from 1.
        reason: why; docs/outcomes.md has what each reason means.
    """

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class OutcomesTaken:
    """What became of them.

    Attributes:
        accepted: how many are on the disk of a node, which sends them on.
        left_out: how many were not taken, by reason.
        examples: some of these, the first ones of each batch.
    """

    accepted: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[LeftOut, ...] = ()

    @property
    def told(self) -> int:
        """How many a node has answered for."""
        return self.accepted + sum(self.left_out.values())

    def __add__(self, other: "OutcomesTaken") -> "OutcomesTaken":
        reasons = {*self.left_out, *other.left_out}
        left_out = {
            reason: self.left_out.get(reason, 0) + other.left_out.get(reason, 0) for reason in sorted(reasons)
        }
        return OutcomesTaken(self.accepted + other.accepted, left_out, self.examples + other.examples)

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        return f"{self.accepted:,} of {self.told:,} taken" + (f", left out: {reasons}" if reasons else "")
