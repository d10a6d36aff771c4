"""`drift`: do the canary's answers shift against stable's, to the same requests? Pure."""

from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.reading import MODE, Readers, fields
from router.rollout.table import NAME, REQUIRED, Field, Section, mode_of, sample, section
from router.rollout.values import Mode, Rollout, Setting
from serving.document import Node


@dataclass(frozen=True, slots=True)
class DriftGuard:
    """The share of no value of `output` may be more than `max` (0 and 1 excluded) apart on both sides.

    It observes unless the document says otherwise: different is not worse.
    """

    output: str
    max: float
    mode: Mode = "observe"
    name: ClassVar[str] = "drift"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = True
    units: ClassVar[None] = None

    def can_prove(self, at: Setting) -> bool:
        """As `Guard`: from mirrored requests."""
        return at.mirror > 0


def refuse_redacted(rollout: Rollout, guards: dict[str, Node]) -> None:
    """Refuse to count values that are kept back.

    Raises:
        DocumentError: the output is redacted.
    """
    for guard in rollout.guards_of(DriftGuard):
        if guard.output in rollout.redacted:
            guards[guard.name].entries()["output"].fail(
                f"{guard.output[:160]!r} is redacted, and this guard tells control how often each value of it"
                " is answered: leave it out of `redact`, or leave out this guard"
            )


def _read(_name: str, node: Node) -> list[DriftGuard]:
    readers: Readers = {
        "output": ("output", kinds.TENSOR.read),
        "max": ("max", kinds.LIMIT.read),
        "mode": MODE,
    }
    return [DriftGuard(**fields(node, ["output", "max"], readers))]


def _write(guard: DriftGuard, document: dict[str, Any]) -> None:
    document["drift"] = {"output": guard.output, "max": guard.max, "mode": guard.mode}


_SECTION = Section(
    "drift",
    "guards.drift",
    "Whether the canary answers with some class, or some confidence, more or less often than stable does to"
    " the same requests. It rests on mirrored requests (`mirror`), and observes unless told to enforce:"
    " different is not worse.",
    (NAME, "guards", "drift"),
    sample(guards={"drift": {"output": "label", "max": "2%"}}),
    [
        Field(
            "output",
            kinds.TENSOR,
            REQUIRED,
            "label",
            1,
            "one class for each row, a whole number or text, or the probabilities of classes",
        ),
        Field(
            "max",
            kinds.LIMIT,
            REQUIRED,
            "2%",
            98,
            "by how much the shares of each class on both sides may be apart",
        ),
        mode_of(DriftGuard),
    ],
)

KIND = GuardKind("drift", _read, {DriftGuard: _write}, (_SECTION,), section("drift"))
