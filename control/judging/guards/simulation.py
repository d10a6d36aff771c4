"""What the kinds of guards are simulated with, for `control.planning.plan`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from control.judging.evidence import Counts, Evidence, bets_test, limit_ratios, limit_test
from control.judging.restarts import within_first_tick

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ToldOutcome:
    """How an outcome is told today.

    Args:
        share: of the requests, that have it, or are labelled, above 0.
        discordant: of a label, the share of which just one of two answers is right.
        matures_after_seconds: when a request counts; of a label 0, since they count as they come.
        graded: whether it is an amount or a loss, of which a share says too little, so that the rest is void.
    """

    share: float
    discordant: float = 0.05
    matures_after_seconds: float = 0.0
    graded: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """What stable does today.

    Args:
        requests_per_second: of the rollout's public name, above 0.
        error_rate: share of stable's requests that fail, 0 to 1.
        latency: bucket of `router.counting.latency` -> answers of stable; may be empty.
        mirror: share of stable's requests that the canary runs too, for comparison, 0 to 1.
        outcomes: by name, those of which it is known how they are told.
    """

    requests_per_second: float
    error_rate: float
    latency: Mapping[int, int] = field(default_factory=dict)
    mirror: float = 0.0
    outcomes: Mapping[str, ToldOutcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a canary does.

    Args:
        error_rate: share of its requests that fail, 0 to 1.
        slower: its compute times as a multiple of stable's.
        disagreement: share of comparisons of any output that differ, 0 to 1.
        worse_outcomes: by which share of stable's its outcomes are worse, 0 to 1.
        less_accurate: of which share of the labels fewer it is right, 0 to 1.
        pays: whether it is as much faster than stable as a guard on speed asks, and some more.
    """

    error_rate: float
    slower: float = 1.0
    disagreement: float = 0.0
    worse_outcomes: float = 0.0
    less_accurate: float = 0.0
    pays: bool = True


class Least(NamedTuple):
    """The smallest harm worth catching.

    Args:
        errors: the share of requests that fail.
        slower: how many times as slow.
        agreement: the share of answers that agree.
        outcomes: by which share of stable's outcomes are worse.
        accuracy: of which share of the labels fewer it is right.
    """

    errors: float
    slower: float
    agreement: float
    outcomes: float = 0.2
    accuracy: float = 0.03


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


def limit_evidence(events: Counts, trials: Counts, limit: float) -> Evidence:
    """A stream against a limit as in a rollout: harm by a grid, which begins anew, proof by the mixture."""
    harm = bets_test(limit_ratios(events, trials, limit))
    return Evidence(harm, limit_test(events, trials, limit).safe)


def first_tick(found: Evidence) -> Evidence:
    """Harm as it is within the first minute; later a canary that was bad from the start is found as soon."""
    return found._replace(harm=within_first_tick(found.harm))
