"""`errors`: how many of the canary's requests fail. Pure."""

from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.reading import MAX_RATIO, MODE, Readers, fields, per_text, without_none
from router.rollout.table import NAME, UNSET, Field, Section, any_of, default_of, mode_of, sample, section
from router.rollout.values import Mode, Per, Setting, Units
from serving.document import Node


@dataclass(frozen=True, slots=True)
class ErrorsGuard:
    """Limits on the canary's errors; at least one of the two is set.

    Args:
        max_ratio: greatest tolerated ratio of the canary's error rate to stable's, 1 or more.
        max: greatest tolerated fraction of the canary's requests that fail, between 0 and 1 (excluded).
        mode: whether a verdict acts (`enforce`) or is only shown (`observe`).
        per: the unit of `max`; never a body.
    """

    max_ratio: float | None = None
    max: float | None = None
    mode: Mode = "enforce"
    per: Per = "key"
    name: ClassVar[str] = "errors"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = True

    @property
    def units(self) -> Units | None:
        """Of `max`."""
        return None if self.max is None else Units(self.per, self.max)

    def can_prove(self, at: Setting) -> bool:
        """As `Guard`: errors are learned from its share."""
        return at.weight > 0


def _read(_name: str, node: Node) -> list[ErrorsGuard]:
    readers: Readers = {
        "maxRatio": MAX_RATIO,
        "max": ("max", kinds.LIMIT.read),
        "per": ("per", kinds.ERRORS_PER.read),
        "mode": MODE,
    }
    guard = ErrorsGuard(**fields(node, [], readers))
    if guard.max_ratio is None and guard.max is None:
        node.fail("expected maxRatio, max or both")
    if guard.max is None and "per" in node.entries():
        node.entries()["per"].fail("it is the unit of max, which is not set; maxRatio has none")
    return [guard]


def _write(guard: ErrorsGuard, document: dict[str, Any]) -> None:
    document["errors"] = without_none(
        maxRatio=guard.max_ratio, max=guard.max, per=per_text(guard.per), mode=guard.mode
    )


_SECTION = Section(
    "errors",
    "guards.errors",
    "At least one of the two limits; with both, good is an error rate of at most the greater of the two.",
    (NAME, "guards", "errors"),
    sample(guards={"errors": {"maxRatio": 1.5, "max": "1%"}}),
    [
        Field(
            "maxRatio", kinds.RATIO, UNSET, 1.5, 0.5, "greatest ratio of the canary's error rate to stable's"
        ),
        Field("max", kinds.LIMIT, UNSET, "1%", 0, "greatest share of its requests that fail"),
        Field(
            "per",
            kinds.ERRORS_PER,
            default_of(ErrorsGuard, "per"),
            "10s",
            "body",
            "the unit of `max`, each of which weighs the same: a user of `sticky` (without it a request), or"
            " all requests of so much time",
        ),
        mode_of(ErrorsGuard),
    ],
    rules={**any_of("maxRatio", "max"), "dependentRequired": {"per": ["max"]}},
)

KIND = GuardKind("errors", _read, {ErrorsGuard: _write}, (_SECTION,), section("errors"))
