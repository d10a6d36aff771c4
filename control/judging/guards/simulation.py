"""What the kinds of guards are simulated with, for `control.planning.plan`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from control.judging.evidence import Evidence
from control.judging.restarts import within_first_tick

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What stable does today.

    Args:
        requests_per_second: of the rollout's public name, above 0.
        error_rate: share of stable's requests that fail, 0 to 1.
        latency: bucket of `router.counting.latency` -> answers of stable; may be empty.
        mirror: share of stable's requests that the canary runs too, for comparison, 0 to 1.
    """

    requests_per_second: float
    error_rate: float
    latency: Mapping[int, int] = field(default_factory=dict)
    mirror: float = 0.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a canary does.

    Args:
        error_rate: share of its requests that fail, 0 to 1.
        slower: its compute times as a multiple of stable's.
        disagreement: share of comparisons of any output that differ, 0 to 1.
    """

    error_rate: float
    slower: float = 1.0
    disagreement: float = 0.0


class Least(NamedTuple):
    """The smallest harm worth catching: of errors a share, of latency a factor, of agreement a share."""

    errors: float
    slower: float
    agreement: float


class Runs(NamedTuple):
    """What is simulated.

    Args:
        number: of runs.
        weights: of the stages, as fractions.
        traffic: what stable does.
        canary: what the canary does.
    """

    number: int
    weights: Sequence[float]
    traffic: Traffic
    canary: Behaviour


class SimulatedGuard(Protocol):
    """The counts of one guard in many runs."""

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, canary: Ints, stable: Ints, /) -> None:
        """Draw what came of more requests in these runs: so many to the canary and to stable in each."""

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        """The evidence of these stages in these runs; of the runs' shape."""


def first_tick(found: Evidence) -> Evidence:
    """Harm as it is within the first minute; later a canary that was bad from the start is found as soon."""
    return found._replace(harm=within_first_tick(found.harm))
