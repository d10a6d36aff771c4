"""Guards on outcomes, simulated on the traffic of today. Pure.

An outcome enters when its request is mature: so long after it that nothing of a step is known before. Labels
enter as their requests do, since nobody knows when they will be told: the time until then comes on top.
"""

import numpy as np

from control.judging.betting import excess_bets
from control.judging.evidence import Evidence, Floats, bets_test
from control.judging.guards.simulation import (
    Behaviour,
    Ints,
    Least,
    Runs,
    SimulatedGuard,
    ToldOutcome,
    Traffic,
    first_tick,
)
from control.judging.outcomes.conversions import conversion_test
from control.judging.outcomes.mean_bets import BETS
from control.judging.verdicts import share
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard

_GAINS = np.array([1.0, 0.0, -1.0])


class SimulatedOutcomes:
    """What happens or does not, in many runs."""

    def __init__(self, guard: OutcomeGuard, of: Runs, told: ToldOutcome) -> None:
        self.guard, self.weights = guard, np.asarray(of.weights)
        worse = -of.canary.worse_outcomes if guard.max_rise is None else of.canary.worse_outcomes
        self.rates = min(told.share * (1.0 + worse), 1.0), told.share
        self.maturity = told.matures_after_seconds * of.traffic.requests_per_second
        self.found = np.zeros((2, of.number, len(of.weights)))  # mature: at the canary, at stable
        self.requests = np.zeros(of.number)
        self.waiting: list[tuple[int, Floats, Floats]] = []  # stage; by run requests until then, and outcomes

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, canary: Ints, stable: Ints, /) -> None:
        """Time passes by requests: those of one second are mature so many requests later."""
        self.requests[runs] += canary + stable
        until, outcomes = np.full(len(self.requests), np.inf), np.zeros((2, len(self.requests)))
        until[runs] = self.requests[runs] + self.maturity
        outcomes[:, runs] = rng.binomial(canary, self.rates[0]), rng.binomial(stable, self.rates[1])
        self.waiting.append((stage, until, outcomes))
        self.waiting = [each for each in self.waiting if self._keeps(*each)]

    def _keeps(self, stage: int, until: Floats, outcomes: Floats) -> bool:
        """Whether any of these still wait; what is mature enters."""
        mature = until <= self.requests
        self.found[:, mature, stage] += outcomes[:, mature]
        until[mature] = np.inf
        return bool(np.isfinite(until).any())

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        """As `SimulatedGuard`."""
        canary, stable = self.found[:, runs, stages]
        higher = self.guard.max_rise is None
        counts = self.weights[stages], canary, stable
        return first_tick(conversion_test(*counts, self.guard.limit, higher_is_better=higher))

    def events(self) -> Floats:
        """Mature outcomes of each run."""
        found: Floats = self.found.sum(axis=(0, 2))
        return found


class SimulatedLabels:
    """Labels that are right or wrong, in many runs."""

    def __init__(self, guard: AccuracyGuard, of: Runs, told: ToldOutcome) -> None:
        self.margin, self.rate = guard.margin, of.traffic.mirror * told.share
        discordant = min(max(told.discordant, of.canary.less_accurate), 1.0)
        lost = (discordant + of.canary.less_accurate) / 2.0
        self.chances = discordant - lost, 1.0 - discordant, lost
        self.labels = np.zeros((of.number, len(of.weights), len(_GAINS)))

    def add(self, rng: np.random.Generator, runs: Ints, stage: int, _canary: Ints, stable: Ints, /) -> None:
        """Mirrored requests of which so many are labelled."""
        self.labels[runs, stage] += rng.multinomial(rng.binomial(stable, self.rate), self.chances)

    def evidence(self, runs: Ints, stages: slice) -> Evidence:
        """As `SimulatedGuard`."""
        units, excess = self.labels[runs, stages].sum(axis=1), _GAINS + self.margin
        harm = bets_test(excess_bets(-excess, 1.0 + self.margin, units, BETS))
        return first_tick(Evidence(harm, bets_test(excess_bets(excess, 1.0 - self.margin, units, BETS))))

    def events(self) -> Floats:
        """Labels of each run."""
        found: Floats = self.labels.sum(axis=(1, 2))
        return found


def simulated_labels(guard: AccuracyGuard, of: Runs) -> SimulatedGuard | None:
    """A guard on a label over many runs; None where `labels_untold` says why."""
    return None if labels_untold(guard, of.traffic) else SimulatedLabels(guard, of, _told(guard, of.traffic))


def simulated_outcomes(guard: OutcomeGuard, of: Runs) -> SimulatedGuard | None:
    """A guard on another outcome over many runs; None where `outcomes_untold` says why."""
    if outcomes_untold(guard, of.traffic):
        return None
    return SimulatedOutcomes(guard, of, _told(guard, of.traffic))


def _told(guard: AccuracyGuard | OutcomeGuard, traffic: Traffic) -> ToldOutcome:
    return traffic.outcomes[guard.outcome]


def labels_untold(guard: AccuracyGuard, traffic: Traffic) -> str:
    """Why nothing can be foretold of labels; empty where it can."""
    told = traffic.outcomes.get(guard.outcome)
    if told is not None and told.graded:
        return f"how far answers are from their {guard.outcome} is not known"
    if told is None:
        return f"how many requests get a {guard.outcome} is not known"
    return "" if traffic.mirror > 0.0 else "nothing is mirrored, and so no label has two answers"


def outcomes_untold(guard: OutcomeGuard, traffic: Traffic) -> str:
    """Why nothing can be foretold of an outcome; empty where it can."""
    told = traffic.outcomes.get(guard.outcome)
    if told is not None and told.graded:
        return f"how amounts of {guard.outcome} are spread is not known"
    return "" if told is not None else f"how often {guard.outcome} comes about is not known"


def labels_harm(least: Least, traffic: Traffic) -> tuple[str, Behaviour]:
    """A canary that is right about so many percent of the labels fewer."""
    behaviour = Behaviour(traffic.error_rate, less_accurate=least.accuracy)
    return f"{share(least.accuracy)} of labels fewer right", behaviour


def outcomes_harm(least: Least, traffic: Traffic) -> tuple[str, Behaviour]:
    """A canary whose outcomes are worse by a share of stable's."""
    behaviour = Behaviour(traffic.error_rate, worse_outcomes=least.outcomes)
    return f"{share(least.outcomes)} worse outcomes", behaviour
