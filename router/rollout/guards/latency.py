"""`latency`: what the canary's model computes, and how long its clients wait. Pure."""

from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.kinds import duration_text
from router.rollout.reading import MAX_RATIO, MODE, Readers, fields
from router.rollout.table import (
    NAME,
    REQUIRED,
    UNSET,
    Field,
    Section,
    below,
    default_of,
    mode_of,
    sample,
    section,
)
from router.rollout.values import Guard, Mode, Setting
from serving.document import Node


@dataclass(frozen=True, slots=True)
class LatencyGuard:
    """The canary may be slower than stable by a factor of at most `max_ratio`, 1.1 or more."""

    max_ratio: float
    mode: Mode = "enforce"
    name: ClassVar[str] = "latency"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = True
    units: ClassVar[None] = None

    def can_prove(self, at: Setting) -> bool:
        """As `Guard`: by pairs where both models are here, else by answers to its share."""
        return at.here or at.weight > 0


@dataclass(frozen=True, slots=True)
class ClientsGuard:
    """Clients of the canary may wait longer than those of stable, by so much; beside each `LatencyGuard`.

    Harm only: it says how the canary serves now, in its place and at its weight, not how its model would.

    Args:
        max_ratio: stable's times (p50, p90), that many times as long, 1 or more.
        slack_seconds: and so much longer: what a hop more may cost.
        slice_seconds: what is one observation, a multiple of `router.counting.stage_counts.SPAN_SECONDS`.
        mode: as for `ErrorsGuard`.
    """

    max_ratio: float = 1.5
    slack_seconds: float = 0.005
    slice_seconds: int = 5
    mode: Mode = "enforce"
    name: ClassVar[str] = "latency:clients"
    counted: ClassVar[bool] = True
    proves: ClassVar[bool] = False
    units: ClassVar[None] = None

    def can_prove(self, at: Setting) -> bool:  # noqa: ARG002  (nowhere)
        """As `Guard`."""
        return False


def _read(_name: str, node: Node) -> list[Guard]:
    readers: Readers = {
        "maxRatio": ("max_ratio", kinds.LATENCY_RATIO.read),
        "clients": ("clients", _clients),
        "mode": MODE,
    }
    found = fields(node, ["maxRatio"], readers)
    clients = found.pop("clients", {})
    model = LatencyGuard(**found)
    return [model, ClientsGuard(**{"mode": model.mode, **clients})]


def _clients(node: Node) -> dict[str, Any]:
    readers: Readers = {
        "maxRatio": MAX_RATIO,
        "slack": ("slack_seconds", kinds.SLACK.read),
        "slice": ("slice_seconds", kinds.SLICE.read),
        "mode": MODE,
    }
    return fields(node, [], readers)


def _write(guard: LatencyGuard, document: dict[str, Any]) -> None:
    document["latency"] = {"maxRatio": guard.max_ratio, "mode": guard.mode}


def _write_clients(guard: ClientsGuard, document: dict[str, Any]) -> None:
    document["latency"]["clients"] = {
        "maxRatio": guard.max_ratio,
        "slack": duration_text(guard.slack_seconds),
        "slice": duration_text(guard.slice_seconds),
        "mode": guard.mode,
    }


_LATENCY = Section(
    "latency",
    "guards.latency",
    "",
    (NAME, "guards", "latency"),
    sample(guards={"latency": {"maxRatio": 1.25}}),
    [
        Field(
            "maxRatio",
            kinds.LATENCY_RATIO,
            REQUIRED,
            1.25,
            1.05,
            "how many times stable's compute time its own may take, typically and at p90, p95, p99; two "
            "copies of one model differ by a few percent, hence at least 1.1",
        ),
        Field(
            "clients",
            below("clients"),
            {},
            {"maxRatio": 2},
            2,
            "how much longer its clients may wait; there whether it is written or not",
        ),
        mode_of(LatencyGuard),
    ],
)
_CLIENTS = Section(
    "clients",
    "guards.latency.clients",
    "What clients see, in slices of arrival time: are they more often without a good answer after so many"
    " times stable's p50 and p90, and `slack`? It can take a canary off, and proves nothing.",
    (NAME, "guards", "latency", "clients"),
    sample(guards={"latency": {"maxRatio": 1.25, "clients": {}}}),
    [
        Field(
            "maxRatio",
            kinds.RATIO,
            default_of(ClientsGuard, "max_ratio"),
            2,
            0.5,
            "how many times stable's time, from arrival to answer, its clients may wait",
        ),
        Field(
            "slack",
            kinds.SLACK,
            default_of(ClientsGuard, "slack_seconds"),
            "20ms",
            5,
            "and so much longer: a canary in a process of its own has a hop that an inline stable has not",
        ),
        Field(
            "slice",
            kinds.SLICE,
            default_of(ClientsGuard, "slice_seconds"),
            "10s",
            "7s",
            "what is one observation; longer than the longest pause of a process",
        ),
        Field(
            "mode",
            kinds.MODE,
            UNSET,
            "observe",
            "warn",
            "whether a verdict acts, or is only shown; left out, as latency's",
        ),
    ],
)

KIND = GuardKind(
    "latency",
    _read,
    {LatencyGuard: _write, ClientsGuard: _write_clients},
    (_LATENCY, _CLIENTS),
    section("latency"),
)
