"""What clients see: do those of the canary wait longer than those of stable? By slices of arrival time. Pure.

Law: every draw counts. A request is late unless a good answer was handed over within E of its arrival: what
failed, timed out or was abandoned is late. Stable's E is e, its p50 and its p90 from arrival to answer; the
canary's is r e + slack, rounded up to an edge of `router.counting.latency`. What came before fixes e: at the
start of a stage the stages before, at the start of the evidence its first spans, which are not tested. So the
bets of all stages multiply, whatever their edges. Within a slice outcomes may depend on each other in any
way (`control.judging.evidence.span_bets`): queues and pauses of a process, which make many answers late at
once, are one observation. Without the slack a hop more would condemn each model of inline size.

It speaks for harm only: it is about the present place and weight, and not about what the model costs.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from control.judging.evidence import BETS, Floats, span_bets
from control.judging.latency_edges import MIN_BASELINE, slower_than
from control.judging.verdicts import duration
from router.counting.latency import BUCKETS, edge
from router.counting.stage_counts import SPAN_SECONDS, Span, SpanTimes, merged
from router.rollout.guards.latency import ClientsGuard

QUANTILES = (0.50, 0.90)
NAMES = tuple(f"p{100 * quantile:.0f}" for quantile in QUANTILES)
_EDGES = [edge(index) for index in range(BUCKETS + 1)]


class WaitEdges(NamedTuple):
    """For each of `QUANTILES` the edge of `router.counting.latency` from which an answer is late."""

    stable: tuple[int, ...]
    canary: tuple[int, ...]


def wait_edges(baseline: Mapping[int, int], guard: ClientsGuard) -> WaitEdges | None:
    """The edges for good answers of stable (bucket -> answers); None with fewer than `MIN_BASELINE`."""
    total = sum(baseline.values())
    if total < MIN_BASELINE:
        return None
    above = slower_than(baseline) / total
    stable = tuple(int(np.argmax(above <= 1.0 - quantile)) for quantile in QUANTILES)
    late = (guard.max_ratio * edge(index) + guard.slack_seconds for index in stable)
    return WaitEdges(stable, tuple(min(bisect_left(_EDGES, seconds), BUCKETS) for seconds in late))


class Late(NamedTuple):
    """Requests of both roles, and how many of them were late at each of `QUANTILES`."""

    canary: int = 0
    canary_late: tuple[int, ...] = (0,) * len(QUANTILES)
    stable: int = 0
    stable_late: tuple[int, ...] = (0,) * len(QUANTILES)

    def __add__(self, other: "Late") -> "Late":  # type: ignore[override]
        return Late(
            self.canary + other.canary,
            tuple(a + b for a, b in zip(self.canary_late, other.canary_late, strict=True)),
            self.stable + other.stable,
            tuple(a + b for a, b in zip(self.stable_late, other.stable_late, strict=True)),
        )

    @classmethod
    def of(cls, span: Span, waits: SpanTimes, edges: WaitEdges) -> "Late":
        """Of what arrived in a span."""
        return cls(
            span.canary,
            _late(span.canary, waits.canary, edges.canary),
            span.stable,
            _late(span.stable, waits.stable, edges.stable),
        )

    def bets(self) -> Floats:
        """What bets against "no later at the canary" won, if this is a slice; shape (`QUANTILES`, `BETS`)."""
        won: Floats = span_bets(self.canary, self.canary_late, self.stable, self.stable_late).T
        return won


NO_REQUESTS = Late()


def _late(requests: int, waits: Mapping[int, int], edges: tuple[int, ...]) -> tuple[int, ...]:
    """How many had no good answer below each edge; never less than none, whatever a router tells."""
    return tuple(max(requests - sum(n for at, n in waits.items() if at < edge), 0) for edge in edges)


@dataclass(frozen=True, slots=True)
class ClientWaits:
    """One stage.

    Args:
        guard: the ratio, the slack and the slice.
        edges: None until stable has told enough.
        told: waits of stable in this stage, by bucket.
        won: sums of the bets over whole slices; shape (`QUANTILES`, `BETS`).
        late: all that was tested.
        slice_under_way: its number, and what it holds until now.
    """

    guard: ClientsGuard
    edges: WaitEdges | None = None
    told: Mapping[int, int] = field(default_factory=dict)
    won: Floats = field(default_factory=lambda: np.zeros((len(QUANTILES), len(BETS))))
    late: Late = NO_REQUESTS
    slice_under_way: tuple[int, Late] = (0, NO_REQUESTS)

    @classmethod
    def after(cls, guard: ClientsGuard, past: Iterable["ClientWaits"]) -> "ClientWaits":
        """A stage that begins now, after these."""
        told: dict[int, int] = {}
        for stage in past:
            told = merged(told, stage.told)
        return cls(guard, wait_edges(told, guard))

    def taken(self, number: int, span: Span, waits: SpanTimes) -> "ClientWaits":
        """With one more span, in their order; until there are edges, it is for the edges."""
        told = merged(self.told, waits.stable)
        if self.edges is None:
            return replace(self, told=told, edges=wait_edges(told, self.guard))
        place = number * SPAN_SECONDS // self.guard.slice_seconds
        before, held = self.slice_under_way
        won = self.won
        if place != before:
            won, held = won + held.bets(), NO_REQUESTS
        found = Late.of(span, waits, self.edges)
        return replace(
            self, told=told, won=won, late=self.late + found, slice_under_way=(int(place), held + found)
        )

    def all_won(self) -> Floats:
        """The sums of the bets, the slice under way included where it is a whole one already."""
        whole = self.guard.slice_seconds <= SPAN_SECONDS
        return self.won + self.slice_under_way[1].bets() if whole else self.won

    def facts(self, at: int) -> str:
        """What was counted at one of `QUANTILES`, in words."""
        assert self.edges is not None  # there is evidence
        canary, stable = (duration(_EDGES[edges[at]]) for edges in (self.edges.canary, self.edges.stable))
        late = self.late
        return (
            f"{late.canary_late[at]:,} of {late.canary:,} over {canary},"
            f" stable {late.stable_late[at]:,} of {late.stable:,} over {stable}"
        )
