"""`speed`: does the canary's model pay, by being faster than stable's? Pure."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.guards.latency import LatencyGuard
from router.rollout.reading import MODE, Readers, fields
from router.rollout.table import NAME, REQUIRED, Field, Section, mode_of, sample, section
from router.rollout.values import Mode, Rollout, Setting
from serving.document import Node


@dataclass(frozen=True, slots=True)
class SpeedGuard:
    """The canary's model must be at least `min` times as fast as stable's, in half of the pairs or more."""

    min: float
    mode: Mode = "enforce"
    name: ClassVar[str] = "speed"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = True
    units: ClassVar[None] = None

    def can_prove(self, at: Setting) -> bool:
        """As `Guard`: by pairs, which take stable's requests only."""
        return at.here


class Paired(NamedTuple):
    """What pairs of compute times are counted for.

    Args:
        max_ratio: how many times as long as stable the candidate may take; 1 where no guard asks.
        min_speed: how many times as fast as stable it must be; 0 where no guard asks.
    """

    max_ratio: float = 1.0
    min_speed: float = 0.0


def paired_for(rollout: Rollout) -> Paired | None:
    """For what both models are timed in pairs; None where no guard asks."""
    slower = next((guard.max_ratio for guard in rollout.guards_of(LatencyGuard)), None)
    faster = next((guard.min for guard in rollout.guards_of(SpeedGuard)), None)
    return None if slower is None and faster is None else Paired(slower or 1.0, faster or 0.0)


def refuse_urls(rollout: Rollout, guards: dict[str, Node]) -> None:
    """Refuse a guard on speed where no pairs can be timed.

    Raises:
        DocumentError: stable or a candidate is behind a URL.
    """
    sides = [rollout.stable, *(candidate.target for candidate in rollout.all_candidates)]
    away = next((side.key for side in sides if side.url is not None), None)
    if away is not None and rollout.all_candidates and SpeedGuard.name in guards:
        guards[SpeedGuard.name].fail(
            f"both models are timed in one process, and {away} is behind a URL: leave out speed, or"
            " serve both from the repository"
        )


def _read(_name: str, node: Node) -> list[SpeedGuard]:
    readers: Readers = {"min": ("min", kinds.SPEED.read), "mode": MODE}
    return [SpeedGuard(**fields(node, ["min"], readers))]


def _write(guard: SpeedGuard, document: dict[str, Any]) -> None:
    document["speed"] = {"min": guard.min, "mode": guard.mode}


_SECTION = Section(
    "speed",
    "guards.speed",
    "Whether the canary pays: a variant that answers alike is kept only when it is faster, too. Both models"
    " must be in the repository: they are timed in pairs.",
    (NAME, "guards", "speed"),
    sample(guards={"speed": {"min": 1.3}}),
    [
        Field(
            "min",
            kinds.SPEED,
            REQUIRED,
            1.3,
            1.0,
            "how many times as fast as stable's its model must be on the same request, in at least half of"
            " the pairs; two copies of one model differ by a few percent, hence at least 1.1",
        ),
        mode_of(SpeedGuard),
    ],
)

KIND = GuardKind("speed", _read, {SpeedGuard: _write}, (_SECTION,), section("speed"))
