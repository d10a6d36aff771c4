"""A guard on an outcome: accuracy by labels, conversions, amounts; its name is free. Pure."""

from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.reading import MODE, Reader, check_name, fields, without_none
from router.rollout.table import NAME, REQUIRED, UNSET, Field, Section, mode_of, sample, section
from router.rollout.values import Guard, Mode, Setting
from serving.document import Node


@dataclass(frozen=True, slots=True)
class AccuracyGuard:
    """Is the candidate as often right as the reference, on requests that both answered?

    Args:
        name: its key in the document.
        outcome: a label.
        margin: by how much less accurate it may be, a fraction, at least 0 and below 1.
        mode: whether a verdict acts or is only shown.
    """

    name: str
    outcome: str
    margin: float = 0.01
    mode: Mode = "enforce"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = True
    units: ClassVar[None] = None

    def can_prove(self, at: Setting) -> bool:
        """As `Guard`: labels are held against both answers to a mirrored request."""
        return at.mirror > 0


@dataclass(frozen=True, slots=True)
class OutcomeGuard:
    """Do the canary's answers bring as much as stable's? Exactly one of the two limits is set.

    Args:
        name: its key in the document.
        outcome: a binary one, or a number.
        max_drop: of an outcome of which more is better, by which share of stable's it may be less; at least 0
            and below 1.
        max_rise: of one of which less is better, by which share it may be more.
        mode: whether a verdict acts or is only shown.
    """

    name: str
    outcome: str
    max_drop: float | None = None
    max_rise: float | None = None
    mode: Mode = "enforce"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = True
    units: ClassVar[None] = None

    @property
    def limit(self) -> float:
        """The one that is set."""
        found = self.max_drop if self.max_rise is None else self.max_rise
        assert found is not None
        return found

    def can_prove(self, at: Setting) -> bool:
        """As `Guard`: it is learned from the share of each."""
        return 0 < at.weight < 100


_OUTCOME: Reader = ("outcome", kinds.NAME_TEXT.read)
_LIMITS = {
    "margin": ("margin", kinds.CHANGE.read),
    "maxDrop": ("max_drop", kinds.CHANGE.read),
    "maxRise": ("max_rise", kinds.CHANGE.read),
}


def _read(name: str, node: Node) -> list[Guard]:
    check_name(name, node)
    found = fields(node, ["outcome"], {"outcome": _OUTCOME, **_LIMITS, "mode": MODE})
    said = sorted(found.keys() & {"margin", "max_drop", "max_rise"})
    if len(said) != 1:
        node.fail("expected one of margin (a label), maxDrop and maxRise (a binary outcome or a number)")
    return [AccuracyGuard(name, **found)] if said == ["margin"] else [OutcomeGuard(name, **found)]


def _write_accuracy(guard: AccuracyGuard, document: dict[str, Any]) -> None:
    document[guard.name] = {"outcome": guard.outcome, "margin": guard.margin, "mode": guard.mode}


def _write(guard: OutcomeGuard, document: dict[str, Any]) -> None:
    document[guard.name] = without_none(
        outcome=guard.outcome, maxDrop=guard.max_drop, maxRise=guard.max_rise, mode=guard.mode
    )


_SECTION = Section(
    "outcomeGuard",
    "guards.NAME (an outcome)",
    "Any other name may be a guard on an outcome of `outcomes`. Of a label: is the canary as often right as"
    " stable, on requests that both answered (`mirror`)? Of the others: do its answers bring as much?",
    (NAME, "guards", "accuracy"),
    sample(
        outcomes={"label": {"output": "label", "within": "7d"}},
        guards={"accuracy": {"outcome": "label", "margin": "1%"}},
    ),
    [
        Field("outcome", kinds.NAME, REQUIRED, "label", "truth", "which one", beyond=True),
        Field(
            "margin", kinds.CHANGE, UNSET, "2%", "100%", "of a label: how many points less accurate it may be"
        ),
        Field(
            "maxDrop",
            kinds.CHANGE,
            UNSET,
            "5%",
            -1,
            "of an outcome of which more is better: by which share of stable's it may be less",
        ),
        Field(
            "maxRise",
            kinds.CHANGE,
            UNSET,
            "5%",
            -1,
            "of an outcome of which less is better: by which share of stable's it may be more",
        ),
        mode_of(AccuracyGuard),
    ],
    rules={"oneOf": [{"required": [key]} for key in ("margin", "maxDrop", "maxRise")]},
)

KIND = GuardKind(
    "",
    _read,
    {AccuracyGuard: _write_accuracy, OutcomeGuard: _write},
    (_SECTION,),
    section("outcomeGuard"),
    told_by="outcome",
)
