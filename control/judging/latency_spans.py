"""Compute times of answers, where the canary or stable is behind a URL and no pairs can be run. Pure.

Law: by spans of arrival time, at edges that stable's times before fixed: the share of the canary's timed
answers above r times an edge is held against the share of stable's above the edge. Answers that report no
time are in neither. Outcomes within a span may depend on each other in any way, so pauses and queues of a
process, and times that one side does not tell, make no verdict (`control.judging.evidence.span_bets`); what
differs between the two places, beside the models, does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from control.judging.evidence import BETS, Floats, span_bets
from control.judging.latency_edges import LatencyEdges, slower_than
from control.judging.verdicts import duration
from router.counting.latency import BUCKETS, edge, shift_down, shift_up
from router.counting.stage_counts import SpanTimes


@dataclass(frozen=True, slots=True)
class TimedSpans:
    """What the spans of one evidence, or of one stage of it, came to.

    Args:
        edges: fixed by what came before.
        ratio: r, the tolerance.
        harm: sums of bets, by `edges.harm`.
        safe: sums of bets against the reverse, by `edges.quantiles`.
        canary: timed answers above the edge of each bucket; the first are all.
        stable: the same of stable.
    """

    edges: LatencyEdges
    ratio: float
    harm: Floats
    safe: Floats
    canary: Floats = field(default_factory=lambda: np.zeros(BUCKETS + 1))
    stable: Floats = field(default_factory=lambda: np.zeros(BUCKETS + 1))

    @classmethod
    def none(cls, edges: LatencyEdges, ratio: float) -> "TimedSpans":
        """Without any span."""
        shapes = len(edges.harm), len(edges.quantiles)
        return cls(edges, ratio, *(np.zeros((edges_, len(BETS))) for edges_ in shapes))

    @classmethod
    def all(cls, parts: Iterable["TimedSpans"]) -> "TimedSpans | None":
        """Several stages as one; None of none."""
        whole: TimedSpans | None = None
        for part in parts:
            whole = part if whole is None else whole + part
        return whole

    def __add__(self, other: "TimedSpans") -> "TimedSpans":
        return TimedSpans(
            self.edges,
            self.ratio,
            self.harm + other.harm,
            self.safe + other.safe,
            self.canary + other.canary,
            self.stable + other.stable,
        )

    def after(self, span: SpanTimes) -> "TimedSpans":
        """With one more span."""
        c, s = slower_than(span.canary), slower_than(span.stable)
        harm, safe = np.array(self.edges.harm), np.array(self.edges.quantiles)
        up = np.minimum(harm + shift_up(self.ratio), BUCKETS)
        down = np.minimum(safe + shift_down(self.ratio), BUCKETS)
        won = span_bets(c[0], c[up], s[0], s[harm]), span_bets(s[0], s[safe], c[0], c[down])
        return self + TimedSpans(self.edges, self.ratio, won[0].T, won[1].T, c, s)

    def facts(self, at: int, shift: int) -> str:
        """What was counted at an edge, in words."""
        shifted = min(at + shift, BUCKETS)
        return (
            f"{self.canary[shifted]:,.0f} of {self.canary[0]:,.0f} canary answers took longer than"
            f" {duration(edge(shifted))} against {self.stable[at]:,.0f} of {self.stable[0]:,.0f} at stable"
            f" longer than {duration(edge(at))}"
        )
