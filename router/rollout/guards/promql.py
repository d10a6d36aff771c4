"""Any other name: a value of Prometheus. Pure."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from router.rollout import kinds
from router.rollout.guards.kind import GuardKind
from router.rollout.kinds import duration_text
from router.rollout.reading import MODE, Readers, check_name, fields, without_none
from router.rollout.table import (
    NAME,
    REQUIRED,
    UNSET,
    Field,
    Section,
    any_of,
    default_of,
    mode_of,
    sample,
    section,
)
from router.rollout.values import Mode, Setting
from serving.document import Node


@dataclass(frozen=True, slots=True)
class PromQLGuard:
    """A value of Prometheus that must stay within bounds; the words and defaults are Argo Rollouts'.

    Args:
        name: its key in the document.
        query: PromQL.
        min: least good value, or None.
        max: greatest good value, or None; at least one of the two is set.
        interval_seconds: time between two queries.
        failure_limit: failed measurements that are tolerated; one more is harmful.
        inconclusive_limit: measurements without a value that are tolerated.
        mode: as for `ErrorsGuard`, but observing unless the document says otherwise.
    """

    name: str
    query: str
    min: float | None = None
    max: float | None = None
    interval_seconds: float = 60.0
    failure_limit: int = 0
    inconclusive_limit: int = 0
    mode: Mode = "observe"
    counted: ClassVar[bool] = False
    proves: ClassVar[bool] = True
    units: ClassVar[None] = None

    def can_prove(self, at: Setting) -> bool:  # noqa: ARG002  (a threshold proves nothing)
        """As `Guard`."""
        return False


_PROMQL: Readers = {
    "promql": ("query", kinds.QUERY.read),
    "min": ("min", kinds.QUERY_BOUND.read),
    "max": ("max", kinds.QUERY_BOUND.read),
    "interval": ("interval_seconds", kinds.QUERY_INTERVAL.read),
    "failureLimit": ("failure_limit", kinds.TOLERATED.read),
    "inconclusiveLimit": ("inconclusive_limit", kinds.TOLERATED.read),
    "mode": MODE,
}


def _read(name: str, node: Node) -> list[PromQLGuard]:
    check_name(name, node)
    guard = PromQLGuard(name, **fields(node, ["promql"], _PROMQL))
    if guard.min is None and guard.max is None:
        node.fail("expected min, max or both")
    if guard.min is not None and guard.max is not None and guard.min > guard.max:
        node.entries()["max"].fail(f"less than min, which is {guard.min:g}")
    return [guard]


def _write(guard: PromQLGuard, document: dict[str, Any]) -> None:
    document[guard.name] = without_none(
        promql=guard.query,
        min=guard.min,
        max=guard.max,
        interval=duration_text(guard.interval_seconds),
        failureLimit=guard.failure_limit,
        inconclusiveLimit=guard.inconclusive_limit,
        mode=guard.mode,
    )


_SECTION = Section(
    "value",
    "guards.NAME (a value)",
    "Any other name may be a guard on a value of Prometheus (`UNDERSTUDY_PROMETHEUS`). At least one of `min`"
    " and `max`. It observes unless told to enforce: a threshold has no bound on false alarms.",
    (NAME, "guards", "orders"),
    sample(guards={"orders": {"promql": "sum(rate(orders_total[5m]))", "min": 10, "max": 1000}}),
    [
        Field("promql", kinds.QUERY, REQUIRED, "up", "", "must give one number"),
        Field("min", kinds.QUERY_BOUND, UNSET, 10, "ten", "least good value"),
        Field("max", kinds.QUERY_BOUND, UNSET, 1000, True, "greatest good value"),
        Field(
            "interval",
            kinds.QUERY_INTERVAL,
            default_of(PromQLGuard, "interval_seconds"),
            "30s",
            "10ms",
            "time between two queries",
        ),
        Field(
            "failureLimit",
            kinds.TOLERATED,
            default_of(PromQLGuard, "failure_limit"),
            2,
            -1,
            "values out of bounds that are tolerated; one more is harmful",
        ),
        Field(
            "inconclusiveLimit",
            kinds.TOLERATED,
            default_of(PromQLGuard, "inconclusive_limit"),
            2,
            1.5,
            "queries without a value that are tolerated",
        ),
        dataclasses.replace(mode_of(PromQLGuard), wrong=True),
    ],
    rules=any_of("min", "max"),
)

KIND = GuardKind("", _read, {PromQLGuard: _write}, (_SECTION,), section("value"), told_by="promql")
