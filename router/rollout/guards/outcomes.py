"""A guard on an outcome: accuracy by labels, conversions, amounts; its name is free. Pure."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.reading import MODE, Reader, Readers, check_name, fields, without_none
from router.rollout.table import NAME, REQUIRED, Field, Section, by_key, mode_of, sample, section
from router.rollout.values import Guard, Mode, Setting
from serving.document import Node


@dataclass(frozen=True, slots=True)
class AccuracyGuard:
    """Is the candidate as often right as the reference, on requests that both answered?

    Args:
        name: its key in the document.
        outcome: a label.
        margin: by how much less accurate it may be (with a loss, by how much its mean may be more), a
            fraction, at least 0 and below 1.
        mode: whether a verdict acts or is only shown.
    """

    name: str
    outcome: str
    margin: float
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


_OUTCOME: Reader = ("outcome", Node.string)
_LIMITS: Readers = {
    "margin": ("margin", kinds.CHANGE.read),
    "maxDrop": ("max_drop", kinds.CHANGE.read),
    "maxRise": ("max_rise", kinds.CHANGE.read),
}


def _read(name: str, node: Node) -> list[Guard]:
    check_name(name, node)
    limit = next((key for key in _LIMITS if key in node.entries()), None)
    if limit is None:
        node.fail("expected one of margin (of a label), maxDrop and maxRise (of another outcome)")
    readers = {"outcome": _OUTCOME, limit: _LIMITS[limit], "mode": MODE}
    found = fields(node, ["outcome", limit], readers)
    return [AccuracyGuard(name, **found) if limit == "margin" else OutcomeGuard(name, **found)]


def _write_accuracy(guard: AccuracyGuard, document: dict[str, Any]) -> None:
    document[guard.name] = {"outcome": guard.outcome, "margin": guard.margin, "mode": guard.mode}


def _write(guard: OutcomeGuard, document: dict[str, Any]) -> None:
    document[guard.name] = without_none(
        outcome=guard.outcome, maxDrop=guard.max_drop, maxRise=guard.max_rise, mode=guard.mode
    )


_WHICH = Field("outcome", kinds.NAME, REQUIRED, "label", "the label", "which one, of `outcomes`")
_ACCURACY = Section(
    "accuracyGuard",
    "guards.NAME (a label)",
    "Any other name may be a guard on an outcome. On a label: is the canary as often right as stable, on"
    " requests that both answered? So it takes `mirror`.",
    (NAME, "guards", "accuracy"),
    sample(
        outcomes={"label": {"output": "label", "within": "7d"}},
        guards={"accuracy": {"outcome": "label", "margin": "1%"}},
    ),
    [
        _WHICH,
        Field(
            "margin",
            kinds.CHANGE,
            REQUIRED,
            "2%",
            "100%",
            "about how many percent of the labels fewer it may be right; of a label with a `range`, by how"
            " much its mean distance may be more, as a share of the range",
        ),
        mode_of(AccuracyGuard),
    ],
)
_DROP = Section(
    "dropGuard",
    "guards.NAME (more is better)",
    "On an outcome that is no label: do the canary's answers bring as much? It is learned from the clients of"
    " each.",
    (NAME, "guards", "conversions"),
    sample(
        outcomes={"conversion": {"kind": "binary", "within": "1h"}},
        guards={"conversions": {"outcome": "conversion", "maxDrop": "5%"}},
    ),
    [
        dataclasses.replace(_WHICH, good="conversion", wrong=""),
        Field("maxDrop", kinds.CHANGE, REQUIRED, "2%", -1, "by which share of stable's it may be less"),
        mode_of(OutcomeGuard),
    ],
)
_RISE = Section(
    "riseGuard",
    "guards.NAME (less is better)",
    "",
    (NAME, "guards", "complaints"),
    sample(
        outcomes={"complaint": {"kind": "binary", "better": "lower", "within": "1h"}},
        guards={"complaints": {"outcome": "complaint", "maxRise": "5%"}},
    ),
    [
        dataclasses.replace(_WHICH, good="complaint", wrong=1),
        Field("maxRise", kinds.CHANGE, REQUIRED, "2%", 1.5, "by which share of stable's it may be more"),
        mode_of(OutcomeGuard),
    ],
)

KIND = GuardKind(
    "",
    _read,
    {AccuracyGuard: _write_accuracy, OutcomeGuard: _write},
    (_ACCURACY, _DROP, _RISE),
    by_key({"margin": section("accuracyGuard"), "maxRise": section("riseGuard")}, section("dropGuard")),
    told_by="outcome",
)
