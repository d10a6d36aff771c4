"""`segments`: is any part of the traffic harmed, where the whole looks well? Pure."""

from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.reading import MODE, Readers, fields
from router.rollout.table import NAME, REQUIRED, Field, Section, mode_of, sample, section
from router.rollout.values import Mode, Setting
from serving.document import Node


@dataclass(frozen=True, slots=True)
class SegmentsGuard:
    """Asks of each segment what another guard asks of all; it speaks for harm only.

    Args:
        guard: `errors`, whose `maxRatio` each segment is held to.
        mode: whether a verdict acts or is only shown.
    """

    guard: str = "errors"
    mode: Mode = "enforce"
    name: ClassVar[str] = "segments"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = False
    units: ClassVar[None] = None

    def can_prove(self, at: Setting) -> bool:  # noqa: ARG002  (nowhere)
        """As `Guard`."""
        return False


def _read(_name: str, node: Node) -> list[SegmentsGuard]:
    readers: Readers = {"guard": ("guard", kinds.SEGMENTS_GUARD.read), "mode": MODE}
    return [SegmentsGuard(**fields(node, ["guard"], readers))]


def _write(guard: SegmentsGuard, document: dict[str, Any]) -> None:
    document["segments"] = {"guard": guard.guard, "mode": guard.mode}


_SECTION = Section(
    "segmentsGuard",
    "guards.segments",
    "Asks of each segment of `segments` what another guard asks of all, so that a canary that harms one of"
    " them is found where the whole looks well. It can take a canary off, and proves nothing.",
    (NAME, "guards", "segments"),
    sample(
        segments={"header": "x-country"},
        guards={"errors": {"maxRatio": 1.5}, "segments": {"guard": "errors"}},
    ),
    [
        Field(
            "guard", kinds.SEGMENTS_GUARD, REQUIRED, "errors", "latency", "whose `maxRatio` each is held to"
        ),
        mode_of(SegmentsGuard),
    ],
)

KIND = GuardKind("segments", _read, {SegmentsGuard: _write}, (_SECTION,), section("segmentsGuard"))
