"""What control knows of a kind of guard. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from control.judging.guard_evidence import GuardEvidence, Past, Pooled
from control.judging.guards.simulation import Behaviour, Least, Runs, SimulatedGuard, Traffic
from control.judging.verdicts import GuardVerdict


def _nothing_beside(_found: GuardVerdict, _others: Sequence[GuardVerdict]) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Judged:
    """One kind of guard: weighed, simulated, and in words.

    Args:
        weigh: the evidence on a guard, or in words why there is none; of one that is not counted its verdict.
        simulate: a guard over many runs; None where nothing can be foretold, and then `untold` says why.
        untold: why nothing can be foretold of a guard at this traffic; empty where it can.
        harm: in words and as behaviour, the smallest harm worth catching; None where it foretells none.
        beside: what the verdicts of other guards add to its reason when it is harmful.
        offline: whether rows that both models ran tell all that it asks (`understudy test`).
        part: of alpha, against that of other guards.
    """

    weigh: Callable[[Any, Pooled, Past], GuardEvidence | GuardVerdict | str]
    simulate: Callable[[Any, Runs], SimulatedGuard | None]
    untold: Callable[[Any, Traffic], str]
    harm: Callable[[Least, Traffic], tuple[str, Behaviour]] | None = None
    beside: Callable[[GuardVerdict, Sequence[GuardVerdict]], str] = _nothing_beside
    offline: bool = False
    part: float = 1.0


def foretold(_guard: object, _traffic: Traffic) -> str:
    """`untold` of a kind that can always be simulated."""
    return ""
